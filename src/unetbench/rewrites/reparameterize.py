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
    """Fold what can be folded; a network without such modules stays as it is.

    In fp64, and then back: branches may cancel, and what their sums lose in fp32 no run gets back.
    """
    if not offered(network):
        return network
    kinds = {each.dtype for each in (*network.parameters(), *network.buffers()) if each.is_floating_point()}
    own = kinds.pop() if len(kinds) == 1 else None  # of several each stays what it is
    default = torch.get_default_dtype()
    try:
        # Some of timm's branches fold into a new convolution of that type.
        torch.set_default_dtype(torch.float64 if own else default)
        folded: nn.Module = reparameterize_model(network.double() if own else network, inplace=True)
        folded = folded.to(own) if own else folded
    except AttributeError as error:  # timm's code reads the statistics of batch norms that are gone
        raise Unsupported(
            f"reparameterize finds branches without their batch norms ({error}): put it before fold_batchnorm."
        ) from error
    finally:
        torch.set_default_dtype(default)
    return folded
