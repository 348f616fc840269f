"""Balance what gives a network's logits, so that an untrained network answers something everywhere.

No network is changed but for the values of those weights; where none can be found, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_LEAST_SHARE = 0.2  # of an equal share: every class occurs on at least this part of the pixels
_STEPS = 200
_MOST_HEADS = 2  # convolutions whose sum the logits are: LR-ASPP has two
_SAME = 1e-3  # relative, of fp32: the logits are linear in the head, or it is not the head


def balance(heads: Sequence[nn.Conv2d], answer: Callable[[], Tensor]) -> Tensor:
    """Scale heads so that logits have unit spread, and shift the last so that every class occurs.

    Return the logits that they must then give.
    Shapes: answer (B, classes, H, W) -> (classes, pixels).
    """
    for head in heads:
        assert head.bias is not None
        head.bias.zero_()
    logits = answer().movedim(1, 0).flatten(1)  # (classes, pixels)
    spread = logits.std(dim=1).clamp_min(torch.finfo(logits.dtype).tiny)
    for head in heads:
        head.weight.div_(spread.reshape(-1, 1, 1, 1))
    logits = logits / spread[:, None]
    shift = _shift(logits)
    heads[-1].bias.copy_(shift)  # type: ignore[union-attr]
    return logits + shift[:, None]


def balance_whole(model: nn.Module, images: Tensor) -> bool:
    """Find the convolutions that give the logits of a whole network and balance them; False where none do.

    What gives the logits is found by what it does: after it is scaled and shifted the logits are as foretold.
    Shapes: images (B, C, H, W).
    """
    one = images[:1]  # enough to see what runs, and whether it was foretold
    called = _called(model, one)
    for count in range(1, min(_MOST_HEADS, len(called)) + 1):
        heads = called[-count:]
        before = [(head.weight.clone(), head.bias.clone()) for head in heads]  # type: ignore[union-attr]
        foretold = balance(heads, lambda: model(images))
        found = model(one).movedim(1, 0).flatten(1)
        if torch.allclose(found, foretold[:, : found.shape[1]], rtol=_SAME, atol=_SAME):
            return True
        for head, (weight, bias) in zip(heads, before, strict=True):
            head.weight.copy_(weight)
            head.bias.copy_(bias)  # type: ignore[union-attr]
    return False


def _called(model: nn.Module, image: Tensor) -> list[nn.Conv2d]:
    """The convolutions with a bias and as many outputs as classes, in the order in which they run."""
    called: list[nn.Conv2d] = []

    def note(module: Any, _given: Any, _output: Any) -> None:
        called.append(module)

    handles = [
        each.register_forward_hook(note)
        for each in model.modules()
        if isinstance(each, nn.Conv2d) and each.bias is not None
    ]
    try:
        classes = model(image).shape[1]
    finally:
        for handle in handles:
            handle.remove()
    return [each for each in dict.fromkeys(called) if each.out_channels == classes]


def _shift(logits: Tensor) -> Tensor:
    """Shapes: logits (classes, pixels) -> (classes,)."""
    if len(logits) == 1:
        return -logits.median()[None]  # the mask is logit > 0
    shift = -logits.mean(dim=1)
    fair = 1.0 / len(logits)
    for _ in range(_STEPS):
        winners = (logits + shift[:, None]).argmax(dim=0)
        share = torch.bincount(winners, minlength=len(logits)) / winners.numel()
        if share.min() >= _LEAST_SHARE * fair:
            break
        shift += 0.5 * (fair - share) / fair * fair**0.5
    return shift
