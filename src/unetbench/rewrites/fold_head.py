"""Fold the 1×1 head into the linear layer before it: the full-resolution map between them disappears.

With Up the last up-convolution, head(Up(x)) is one up-convolution with W = W_head · W_up and
b = b_head + W_head · b_up. An upsampling between a convolution and the head works on each channel alone, with weights
that add up to one: the head goes before it, constants too. Where anything else stands between there is nothing to fold.
Source: own; the seed is the structural re-parametrisation of RepVGG (Ding et al. 2021, arXiv 2101.03697).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from unetbench.rewrites._ghost import hooked, links

TOLERANCE = 1e-12  # relative, in fp64: a product of two weights
_HEAD = "head"


def offered(network: nn.Module) -> int:
    """Return 1 where the head's only input is a convolution's or up-convolution's output, upsampled or not, else 0."""
    return int(_layer_before(network) is not None)


def why_none(network: nn.Module) -> str:
    """Return why there is nothing to fold the head into."""
    head = getattr(network, _HEAD, None)
    if type(head) is not nn.Conv2d or not _pointwise(head):
        return "it has no plain 1×1 convolution named head"
    return "no plain convolution whose map the head alone reads stands directly before it"


@torch.no_grad()
def apply(network: nn.Module) -> nn.Module:
    """Put the product in the head's place, before the upsampling that stood there, and nothing where those were."""
    found = _layer_before(network)
    if found is None:
        return network
    name, upsampling = found
    before: Any = network.get_submodule(name)
    head: Any = network.get_submodule(_HEAD)
    matrix = head.weight[:, :, 0, 0].double()  # (classes, width)
    spec = "oc,ichw->iohw" if before.transposed else "oc,cihw->oihw"
    weight = torch.einsum(spec, matrix, before.weight.double())
    bias = torch.zeros(head.out_channels, dtype=torch.float64, device=weight.device)
    for own in (head.bias, None if before.bias is None else matrix @ before.bias.double()):
        bias = bias if own is None else bias + own.double()
    kind = nn.ConvTranspose2d if before.transposed else nn.Conv2d
    folded = kind(
        before.in_channels,
        head.out_channels,
        before.kernel_size,
        stride=before.stride,
        padding=before.padding,
        dilation=before.dilation,
        padding_mode=before.padding_mode,
        device="meta",
    )
    folded.weight = nn.Parameter(weight.to(before.weight.dtype))
    folded.bias = nn.Parameter(bias.to(before.weight.dtype))
    network.set_submodule(name, nn.Identity())
    if upsampling is None:
        network.set_submodule(_HEAD, folded.eval())
    else:
        raised = network.get_submodule(upsampling)
        network.set_submodule(upsampling, nn.Identity())
        network.set_submodule(_HEAD, nn.Sequential(folded, raised).eval())
    return network


def _layer_before(network: nn.Module) -> tuple[str, str | None] | None:
    """The layer before the head, and the upsampling that stands between them, if one does."""
    head = getattr(network, _HEAD, None)
    if type(head) is not nn.Conv2d or not _pointwise(head) or hooked(head):
        return None
    producers = {consumer: producer for producer, consumer in links(network, nn.Upsample)}
    name, upsampling = producers.get(_HEAD), None
    if name is not None and type(raised := network.get_submodule(name)) is nn.Upsample and not hooked(raised):
        name, upsampling = producers.get(name), name
    if name is None or hooked(before := network.get_submodule(name)):
        return None
    linear = type(before) in (nn.Conv2d, nn.ConvTranspose2d) and _plain(before)
    return (name, upsampling) if linear else None


def _pointwise(head: nn.Conv2d) -> bool:
    return (
        head.kernel_size == (1, 1) and head.stride == (1, 1) and head.padding == (0, 0) and head.groups == 1
    )


def _plain(layer: Any) -> bool:
    return layer.groups == 1 and not any(getattr(layer, "output_padding", (0,)))
