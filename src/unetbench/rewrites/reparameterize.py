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
from unetbench.rewrites._ghost import hooked

TOLERANCE = 1e-12  # relative, in fp64: sums of kernels, and each batch norm's 1/√(variance + ε)
_METHODS = ("fuse", "reparameterize", "switch_to_deploy")  # in the order in which timm asks


def offered(network: nn.Module) -> int:
    """Return how many modules say that they can be folded."""
    return len(_blocks(network))


def why_none(network: nn.Module) -> str:
    """Return why no module can be folded."""
    return f"no module of it offers {', '.join(_METHODS)}"


def apply(network: nn.Module) -> nn.Module:
    """Fold what can be folded; a network without such modules stays as it is.

    In fp64, and then back: branches may cancel, and what their sums lose in fp32 no run gets back.

    Raises: Unsupported where a block is listened to, is in training, or is not what timm's code takes it for.
    """
    blocks = _blocks(network)
    if not blocks:
        return network
    for name, block in blocks.items():
        _refuse(name, block)
    kinds = {each.dtype for each in (*network.parameters(), *network.buffers()) if each.is_floating_point()}
    own = kinds.pop() if len(kinds) == 1 else None  # of several each stays what it is
    default = torch.get_default_dtype()
    try:
        # Some of timm's branches fold into a new convolution of that type.
        torch.set_default_dtype(torch.float64 if own else default)
        folded: nn.Module = reparameterize_model(network.double() if own else network, inplace=True)
        folded = folded.to(own) if own else folded
    except (AttributeError, TypeError) as error:  # timm's code reads the batch norms of each branch
        raise Unsupported(
            f"reparameterize cannot read the batch norms of this network's branches ({error}): put it before "
            "fold_batchnorm, or leave it out."
        ) from error
    finally:
        torch.set_default_dtype(default)
    return folded


def _blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Return the modules with such a method, by name; a submodule of that name is none."""
    return {
        name: module
        for name, module in network.named_modules()
        if any(
            callable(method := getattr(module, each, None)) and not isinstance(method, nn.Module)
            for each in _METHODS
        )
    }


def _refuse(name: str, block: nn.Module) -> None:
    inside = list(block.modules())
    if any(hooked(module) for module in inside):
        raise Unsupported(
            f"reparameterize would lose the hooks on {name or 'the network'}: remove them, or leave it out."
        )
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in inside):
        raise Unsupported(f"reparameterize needs {name or 'the network'} in evaluation: call eval() first.")
