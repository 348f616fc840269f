"""Fold batch norms in eval mode into the convolutions that feed them, timm's norm-activations included.

y = γ (W x − μ) / √(σ² + ε) + β is one convolution with W γ / √(σ² + ε) and its own bias. What feeds what is
seen in a run on meta tensors: a convolution whose output something else takes too keeps its batch norm.
Source: Jacob et al., Quantization and Training, CVPR 2018, arXiv 1712.05877, section 3.2.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unetbench.rewrites._ghost import hooked, links

TOLERANCE = 1e-12  # relative, in fp64: the same products, scaled once
# Exactly these: a subclass may compute its weight anew at each run, as weight standardisation does.
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


def offered(network: nn.Module) -> int:
    """Return how many batch norms directly follow a convolution that nothing else reads."""
    return len(_pairs(network))


def why_none(network: nn.Module) -> str:
    """Return why no batch norm can be folded."""
    norms = sum(1 for module in network.modules() if type(module) in _NORMS)
    if not norms:
        return "it has no batch norm"
    return (
        f"none of its {norms} batch norms can be folded: each must be in evaluation, without hooks, and "
        "alone behind a plain convolution"
    )


def apply(network: nn.Module) -> nn.Module:
    """Fold what can be folded; an activation that was part of the norm stays in its place."""
    for convolution, norm in _pairs(network):
        folded: Any = network.get_submodule(norm)
        _fold(network.get_submodule(convolution), folded)
        rest = folded.act if isinstance(folded, BatchNormAct2d) else nn.Identity()
        network.set_submodule(norm, rest)
    return network


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    norms = [module for module in network.modules() if type(module) in _NORMS]
    if not norms:
        return []
    owners = Counter(id(parameter) for each in network.modules() for parameter in each._parameters.values())
    return [
        (convolution, norm)
        for convolution, norm in links(network)
        if _foldable(network.get_submodule(convolution), network.get_submodule(norm), owners)
    ]


def _foldable(convolution: nn.Module, norm: nn.Module, owners: Counter[int]) -> bool:
    return (
        type(convolution) in _CONVOLUTIONS
        and type(norm) in _NORMS
        and owners[id(convolution.weight)] == 1
        and not parametrize.is_parametrized(convolution)
        and not (norm.training or hooked(convolution) or hooked(norm))
        and norm.running_mean is not None
    )


@torch.no_grad()
def _fold(convolution: Any, norm: Any) -> None:
    """Scale the weight and give the bias, computed in fp64 and rounded once."""
    scale = norm.running_var.double().add(norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.weight is not None:  # either may be left out
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double()
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if convolution.bias is not None:
        shift = shift + convolution.bias.double() * scale
    weight: Tensor = convolution.weight
    scaled = weight.double() * _per_output(scale, convolution)
    convolution.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=weight.requires_grad)
    convolution.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=weight.requires_grad)


def _per_output(scale: Tensor, convolution: Any) -> Tensor:
    """Shape a factor per output channel as the weight has it: (out, in, h, w), transposed (in, out, h, w)."""
    if not convolution.transposed:
        return scale.reshape(-1, 1, 1, 1)
    grouped = scale.reshape(convolution.groups, 1, -1)  # (groups, 1, out / groups)
    inputs = convolution.in_channels // convolution.groups
    return grouped.expand(-1, inputs, -1).reshape(convolution.in_channels, -1, 1, 1)
