"""Fold the training-time branches of RepVGG, MobileOne and their kin into plain convolutions.

Acts on every timm module that offers `reparameterize`, `fuse` or `switch_to_deploy`.
Source: Ding et al., RepVGG, CVPR 2021, arXiv 2101.03697; Vasu et al., MobileOne, CVPR 2023,
arXiv 2206.04040; the folding itself is timm's.
"""

from __future__ import annotations

import torch
from timm.utils.model import reparameterize_model
from torch import nn

from unetbench.errors import Unsupported

TOLERANCE = 1e-12  # relative, in fp64: sums of kernels, and each batch norm's 1/√(variance + ε)
_METHODS = ("fuse", "reparameterize", "switch_to_deploy")  # in the order in which timm asks


def offered(network: nn.Module) -> int:
    """Return how many modules say that they can be folded."""
    return sum(1 for module in network.modules() if any(hasattr(module, name) for name in _METHODS))


def apply(network: nn.Module) -> nn.Module:
    """Fold what can be folded; a network without such modules stays as it is."""
    own = next((each.dtype for each in network.parameters() if each.is_floating_point()), torch.float32)
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(own)  # some of timm's branches fold into a new convolution of that type
        folded: nn.Module = reparameterize_model(network, inplace=True)
    except AttributeError as error:  # timm's code reads the statistics of batch norms that are gone
        raise Unsupported(
            f"reparameterize finds branches without their batch norms ({error}): put it before fold_batchnorm."
        ) from error
    finally:
        torch.set_default_dtype(default)
    return folded
