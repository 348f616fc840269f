"""U-Net++: between the encoder and the decoder of a U-Net lie convolutions on nested, dense skips.

The last map is that of the finest level; there is no convolution at full resolution.
Source: Zhou et al., UNet++, DLMIA 2018, arXiv 1807.10165, without deep supervision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unetbench.errors import BadInput
from unetbench.networks.decoders._pyramid import convolution, sized_like

_WIDTHS = (32, 64, 128, 256)  # of the levels, finest first: those of `unet`


class Decoder(nn.Module):
    """The decoder: node (i, j) sees all nodes of its level before it, and the one below them.

    Shapes: [(B, Cᵢ, H/sᵢ, W/sᵢ)], finest first -> (B, out_channels, H/s₀, W/s₀).
    Raises: BadInput where `decoder_channels` has not one width for each level but the deepest.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        *,
        decoder_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        levels = len(channels) - 1  # the deepest has no node of its own
        widths = tuple(reversed(decoder_channels)) if decoder_channels else _widths(channels)
        if len(widths) != levels:
            raise BadInput(
                f"decoder_channels {tuple(widths)} do not fit: give {levels} widths, one for each level of this "
                "encoder but its deepest, the coarsest first."
            )
        self.columns = nn.ModuleList()
        before = list(channels)  # widths of the nodes of the column before
        for column in range(1, levels + 1):
            nodes = []
            for level in range(levels + 1 - column):
                dense = channels[level] + (column - 1) * widths[level]
                below = before[level + 1]
                nodes.append(
                    nn.Sequential(
                        convolution(dense + below, widths[level]), convolution(widths[level], widths[level])
                    )
                )
            self.columns.append(nn.ModuleList(nodes))
            before = list(widths[: len(nodes)])
        self.out_channels, self.out_stride = widths[0], strides[0]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        # Of each level, its nodes so far. By number: a trace of this forward knows no lengths.
        rows = [[features[level]] for level in range(len(self.columns) + 1)]
        for column, nodes in enumerate(self.columns):
            for level, node in enumerate(nodes.children()):
                below = sized_like(rows[level + 1][column], rows[level][0], mode="nearest")
                rows[level].append(node(torch.cat([*rows[level], below], dim=1)))  # (B, width, Hᵢ, Wᵢ)
        return rows[0][-1]


def _widths(channels: Sequence[int]) -> tuple[int, ...]:
    """Widths of the levels, finest first: doubling, and never more than the encoder's own scale."""
    levels = len(channels) - 1
    widest = max(channels)
    steps = [min(len(_WIDTHS) - 1, len(_WIDTHS) - levels + level) for level in range(levels)]
    return tuple(
        max(1, min(_WIDTHS[max(0, step)], widest // 2 ** (levels - 1 - level)))
        for level, step in enumerate(steps)
    )
