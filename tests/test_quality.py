"""How good a network is thought to be: published figures of its encoder, or the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from unetbench.errors import BadInput
from unetbench.quality import from_csv, published


def test_the_published_accuracy_is_of_the_tag_or_of_the_best_one() -> None:
    best, tagged = published("resnet18/unet"), published("resnet18.tv_in1k/unet")
    assert best is not None
    assert tagged is not None
    assert best.value > tagged.value
    assert "fb_swsl_ig1b_ft_in1k, 224 px" in best.told  # it says whose figure it is
    assert "top-1 69.8 %" in tagged.told
    assert published("resnet18.no_such_tag/unet") is None


def test_the_shipped_table_says_where_it_is_from() -> None:
    table = Path(__file__).parents[1] / "src" / "unetbench" / "data" / "imagenet.tsv"
    first = table.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ImageNet-1k")
    assert "timm" in first
    assert "taken 20" in first


def test_your_own_figures_are_of_networks_or_encoders(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("network,dice\nresnet18/unet,0.81\nmobileone_s0,0.78\n\n")
    quality = from_csv(path)
    whole, encoder = quality("resnet18/unet"), quality("mobileone_s0.apple_in1k/unet")
    assert whole is not None
    assert encoder is not None
    assert (whole.value, encoder.value) == (0.81, 0.78)
    assert quality("resnet34/unet") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resnet18,good\nresnet34,bad\n", "line 2"),
        ("resnet18,0.5,0.6\n", "line 1"),
        ("resnet18,nan\nresnet34,nan\n", "line 2"),
        ("", "names no network"),
        ("\x00\n" * 600_000, "1 MiB"),
    ],
)
def test_what_is_no_such_table_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=said):
        from_csv(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        from_csv(tmp_path / "none.csv")
