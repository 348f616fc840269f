"""A suite is data: expanded breadth-first, and every name checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from unetbench.errors import BadInput
from unetbench.records import REFERENCE
from unetbench.suite import (
    Suite,
    check_encoder,
    checked_recipe,
    network_text,
    overridden,
    parse_size,
    read_suite,
)

SHIPPED = Path(__file__).parents[1] / "benchmarks" / "unet_decoder"


def test_the_shipped_suite_is_25_encoders_under_five_recipes_breadth_first() -> None:
    cases = read_suite(SHIPPED).cases(threads=2)
    assert len(cases) == 125
    assert [case.recipe for case in cases[:25]] == [REFERENCE] * 25
    assert [case.network for case in cases[:25]] * 4 == [case.network for case in cases[25:]]
    assert {(case.height_px, case.width_px, case.batch, case.network.classes) for case in cases} == {
        (512, 512, 1, 1)
    }


def test_all_networks_of_a_suite_take_its_channels() -> None:
    suite = Suite(encoders=("resnet18",), networks=("unet_2015",), in_channels=1)
    assert [case.network.in_channels for case in suite.cases(threads=1)] == [1, 1]
    assert overridden(suite, {"in_channels": 4}).in_channels == 4
    assert Suite(encoders=("resnet18",)).cases(threads=1)[0].network.in_channels == 3


def test_a_suite_is_read_from_its_folder_or_its_file() -> None:
    assert read_suite(SHIPPED) == read_suite(SHIPPED / "suite.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("encodrs = []", "unknown suite key 'encodrs': did you mean encoders"),
        ("encoders = 'resnet18'", "takes a list of strings"),
        ("encoders = [1]", "takes a list of strings"),
        ("batch = '1'", "takes a whole number"),
        ("batch = true", "takes a whole number"),
        ("title = 3", "takes a string"),
        ("decoder_channels = ['a']", "takes a list of whole numbers"),
        ("encoders = [", "is not TOML"),
        (f"batch = {'9' * 5000}", "is not TOML"),
    ],
)
def test_a_malformed_suite_says_what_and_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "suite.toml").write_text(text)
    with pytest.raises(BadInput, match=r"^(?!.*\n)") as caught:
        read_suite(tmp_path)
    assert said in str(caught.value)
    assert "suite.toml" in str(caught.value)


def test_a_suite_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_suite(tmp_path / "nowhere")
    (tmp_path / "suite.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="is not TOML"):
        read_suite(tmp_path)


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"encoders": ("resnet81",)}, "did you mean resnet18"),
        ({"encoders": ("resnet18.a1_in2k",)}, "did you mean a1_in1k"),
        ({"decoders": ("unett",)}, "did you mean unet"),
        ({"recipes": ("torch_eager/fp16",)}, "unknown precision 'fp16'"),
        ({"recipes": ("torch_eagr/fp32",)}, "did you mean torch_eager"),
        ({"recipes": ("torch_eager/fp32+reparametrize",)}, "did you mean reparameterize"),
        ({"recipes": ("torch_compile[freezin=1]/fp32",)}, "did you mean freezing"),
        ({"recipes": ("torch_compile[freezing=2]/fp32",)}, "unknown value of torch_compile[freezing]"),
        ({"networks": ("resnet18",)}, "encoder/decoder"),
        ({"encoders": (), "networks": ()}, "names no network"),
        ({"decoders": ("unet[upsampling=biliner]",)}, "did you mean bilinear"),
        ({"decoders": ("semantic_fpn[chanels=64]",)}, "did you mean channels"),
        ({"decoders": ("semantic_fpn[channels=0]",)}, "unknown value of semantic_fpn[channels] '0'"),
        ({"networks": ("unet_2016",)}, "did you mean unet_2015"),
        ({"networks": ("unet_2015[padding=valit]",)}, "did you mean valid"),
        ({"networks": ("smp.unt[resnet18]",)}, "did you mean unet"),
        ({"networks": ("smp.unet[resnt18]",)}, "did you mean resnet18"),
        ({"networks": ("smp.unet[tu-resnt18]",)}, "unknown encoder 'resnt18': did you mean resnet18"),
        ({"networks": ("unet_2015",), "weights": "pretrained"}, "no pretrained weights here"),
        ({"networks": ("nnunet[dimensions=3]",)}, "3D network: it takes volumes"),
        ({"networks": ("nnunet[dimensions=3]/unet",)}, "is a whole network, which takes no decoder"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(axes: dict[str, tuple[str, ...]], said: str) -> None:
    given = {"encoders": ("resnet18",)} | axes
    with pytest.raises(BadInput) as caught:
        Suite(**given).cases(threads=1)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "networks"), [("fpn_decoder", 25), ("decoders", 42), ("references", 11), ("smp_unet", 16)]
)
def test_the_shipped_suites_of_networks_name_what_there_is(folder: str, networks: int) -> None:
    cases = read_suite(SHIPPED.parent / folder).cases(threads=2)
    assert len({case.network for case in cases}) == networks
    if folder == "fpn_decoder":
        assert read_suite(SHIPPED.parent / folder).encoders == read_suite(SHIPPED).encoders


def test_an_encoder_alone_stands_for_its_unet() -> None:
    assert network_text("resnet18") == "resnet18/unet"
    for text in ("resnet18/semantic_fpn", "unet_2015", "smp.fpn[resnet18]", "nnunet[plans=a.json]"):
        assert network_text(text) == text


def test_given_axes_replace_the_suites() -> None:
    suite = Suite(encoders=("resnet18", "resnet34"), networks=("resnet50/unet",))
    assert overridden(suite, {"encoders": ("lcnet_100",), "batch": None}).encoders == ("lcnet_100",)
    assert overridden(suite, {"encoders": ("lcnet_100",)}).networks == ()
    assert overridden(suite, {"networks": ("lcnet_100/unet",)}).encoders == ()
    assert overridden(suite, {"encoders": (), "classes": 3}).encoders == suite.encoders
    assert overridden(suite, {"classes": 3}).cases(1)[0].network.classes == 3


def test_widths_hold_for_networks_named_whole_too() -> None:
    suite = Suite(networks=("resnet18/unet", "unet_2015"), decoder_channels=(64, 32, 16, 8))
    named, reference = (each.network for each in suite.cases(threads=1))
    assert named.decoder_channels == (64, 32, 16, 8)
    assert reference.decoder_channels is None, "it has its own"


def test_a_decoder_that_no_encoder_is_left_for_is_refused() -> None:
    suite = Suite(networks=("smp.unet[resnet18]",))
    for axes in (
        {"decoders": ("semantic_fpn",)},
        {"decoders": ("semantic_fpn",), "networks": ("resnet18/unet",)},
    ):
        with pytest.raises(BadInput, match="--decoder semantic_fpn goes with encoders, and none is left"):
            overridden(suite, axes)
    assert overridden(suite, {"decoders": ("semantic_fpn",), "encoders": ("resnet18",)}).decoders == (
        "semantic_fpn",
    )


def test_a_case_named_twice_is_measured_once() -> None:
    assert len(Suite(encoders=("resnet18", "resnet18"), networks=("resnet18/unet",)).cases(1)) == 1


def test_sizes() -> None:
    assert parse_size("512") == (512, 512)
    assert parse_size("480x640") == parse_size("480X640") == parse_size("480×640") == (480, 640)
    for text in ("31", "0", "-5", "512x", "x", "1x2x3", "a", "", "512x31", "99999", "5.5"):
        with pytest.raises(BadInput, match="size"):
            parse_size(text)


def test_encoders_are_known_with_and_without_a_tag() -> None:
    check_encoder("mobilenetv4_conv_small")
    check_encoder("mobilenetv4_conv_small.e2400_r224_in1k")


def test_a_recipe_may_carry_options() -> None:
    assert str(checked_recipe("torch_compile[freezing=1]/fp32+reparameterize")).startswith(
        "torch_compile[freezing=1]"
    )


def test_every_axis_multiplies_and_the_recipe_turns_slowest() -> None:
    suite = Suite(
        encoders=("resnet18", "resnet34"),
        recipes=("torch_eager/fp32", "torch_eager/bf16"),
        sizes=("64", "96x64"),
    )
    cases = suite.cases(threads=3)
    assert len(cases) == len(set(cases)) == 8
    assert [case.recipe.precision for case in cases] == ["fp32"] * 4 + ["bf16"] * 4
    assert [(case.height_px, case.width_px) for case in cases[:4]] == [(64, 64)] * 2 + [(96, 64)] * 2
    assert {case.threads for case in cases} == {3}


@pytest.mark.parametrize("axes", [{"recipes": ()}, {"sizes": ()}])
def test_a_suite_that_names_nothing_to_run_is_refused(axes: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(BadInput):
        Suite(encoders=("resnet18",), **axes).cases(threads=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["size", "depth"])
def test_absurd_input_is_refused_too(tmp_path: Path, kind: str) -> None:
    (tmp_path / "suite.toml").write_text("encoders = " + "[" * 3000 + "]" * 3000)
    with pytest.raises(BadInput):
        parse_size("9" * 5000) if kind == "size" else read_suite(tmp_path)
