"""Text forms that round-trip, keys that last, bad values refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.samples import case, machine, measurement
from unetbench.errors import BadInput
from unetbench.records import Case, Choice, Machine, Measurement, Network, Recipe

WORD = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
CHOICE = st.builds(
    lambda name, options: Choice(name, tuple(sorted(options.items()))),
    WORD,
    st.dictionaries(WORD, st.from_regex(r"[a-z0-9.]{1,5}", fullmatch=True), max_size=3),
)


@given(st.builds(Recipe, runtime=CHOICE, precision=WORD, rewrites=st.lists(CHOICE, max_size=3).map(tuple)))
def test_a_recipe_reads_what_it_prints(recipe: Recipe) -> None:
    assert Recipe.parse(str(recipe)) == recipe


@pytest.mark.parametrize(
    "text",
    [
        "",
        "torch_eager",
        "/fp32",
        "torch_eager/",
        "a[b]/fp32",
        "a[b=]/fp32",
        "a]/fp32",
        "a/fp32+",
        "a/fp32+b c",
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Recipe.parse(text)
    assert "\n" not in str(caught.value)


def test_a_network_reads_its_name() -> None:
    assert Network.parse("resnet18/unet", classes=3) == Network("resnet18", classes=3)
    for text in ("", "/unet", "resnet18/", "a/b/c"):
        with pytest.raises(BadInput, match="encoder/decoder"):
            Network.parse(text)


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        ("resnet18/unet[upsampling=nearest]", None, ("resnet18", "unet[upsampling=nearest]")),
        ("smp.unet[resnet18]", None, ("resnet18", "smp.unet")),
        ("smp[encoder=resnet18,architecture=unet]", "smp.unet[resnet18]", ("resnet18", "smp.unet")),
        ("smp.unet[ resnet18 , a=1]", "smp.unet[resnet18,a=1]", ("resnet18", "smp.unet[a=1]")),
        ("unet_2015", None, ("unet_2015", "")),
        ("nnunet[plans=/a/b.json,configuration=2d]", "nnunet[configuration=2d,plans=/a/b.json]", None),
    ],
)
def test_every_form_of_a_network_is_one_network(
    text: str, name: str | None, labels: tuple[str, str] | None
) -> None:
    network = Network.parse(text)
    assert network.name == (name or text)
    assert network == Network.parse(network.name)
    assert network.labels == (labels or (network.name, ""))


@pytest.mark.parametrize(
    "text", ["smp.unet[resnet18", "smp.[a]", "a b", "unet_2015/unet]", "smp.unet[resnet18]/unet", "a[b[c]]"]
)
def test_what_is_no_network_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Network.parse(text)
    assert "\n" not in str(caught.value)


def test_a_network_is_an_encoder_or_a_reference() -> None:
    for wrong in ({}, {"encoder": "resnet18", "reference": "unet_2015"}):
        with pytest.raises(BadInput, match="give one of the two"):
            Network(**wrong)  # type: ignore[arg-type]
    for more in ({"decoder": "semantic_fpn"}, {"decoder_channels": (8, 4)}):
        with pytest.raises(BadInput, match="takes no decoder"):
            Network(reference="unet_2015", **more)  # type: ignore[arg-type]


def test_plans_count_by_their_content(tmp_path: Path) -> None:
    keys = []
    for name, content in (("a.json", "{}"), ("b.json", "{}"), ("c.json", "[]")):
        (tmp_path / name).write_text(content)
        network = Network(reference=f"nnunet[plans={tmp_path / name}]")
        keys.append(replace(case(), network=network).key())
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(BadInput, match=r"plans .* cannot be read"):
        replace(case(), network=Network(reference="nnunet[plans=/none]")).key()


def test_keys_are_pinned_so_that_old_stores_stay_readable() -> None:
    # A field added later, with a default, must not rename these cases.
    assert case().key() == "5f48ce1a8c10ef63"
    assert case(recipe="torch_compile/bf16+reparameterize").key() == "f744001938980a67"


def test_a_key_changes_with_every_field_that_matters() -> None:
    base = case()
    others = [
        replace(base, threads=1),
        replace(base, batch=2),
        replace(base, height_px=256),
        replace(base, recipe=Recipe.parse("torch_eager/bf16")),
        replace(base, network=Network("resnet18", classes=2)),
        replace(base, network=Network("resnet18", seed=1)),
    ]
    assert len({base.key(), *(other.key() for other in others)}) == len(others) + 1


def test_cases_of_one_network_and_input_share_a_network_key() -> None:
    base = case()
    assert base.network_key() == case(recipe="torch_compile/fp32", threads=1).network_key()
    assert base.network_key() != case(height_px=64).network_key()


def test_a_checkpoint_counts_by_its_content(tmp_path: Path) -> None:
    for name, content in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (
        replace(case(), network=Network("resnet18", weights=str(tmp_path / name))).key()
        for name in ("a.pt", "b.pt", "c.pt")
    )
    assert a == b != c
    with pytest.raises(BadInput, match="cannot be read"):
        replace(case(), network=Network("resnet18", weights=str(tmp_path / "none.pt"))).key()


@pytest.mark.parametrize("changes", [{"height_px": 31}, {"width_px": 0}, {"batch": 0}, {"threads": 0}])
def test_impossible_cases_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        case(**changes)
    with pytest.raises(BadInput):
        Network("resnet18", classes=0)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (case(), Case),
        (replace(case(), network=Network("a", decoder_channels=(8, 4), image_size=(64, 32))), Case),
        (replace(case(), network=Network(reference="smp.unet[resnet18]")), Case),
        (measurement(), Measurement),
        (machine(), Machine),
    ],
)
def test_records_survive_json(record: object, kind: type) -> None:
    assert msgspec.json.decode(msgspec.json.encode(record), type=kind) == record


@given(CHOICE)
def test_a_choice_reads_what_it_prints(choice: Choice) -> None:
    assert Choice.parse(str(choice)) == choice


NETWORKS = st.builds(
    Network, WORD, decoder=CHOICE.map(str), classes=st.integers(1, 9), seed=st.integers(0, 9)
) | st.builds(
    lambda choice, classes: Network(reference=str(choice), classes=classes), CHOICE, st.integers(1, 9)
)


@given(NETWORKS)
def test_a_network_reads_what_it_prints(network: Network) -> None:
    assert Network.parse(network.name, classes=network.classes, seed=network.seed) == network


def test_options_are_one_choice_in_any_order() -> None:
    assert Choice.parse("a[x=1,b=2]") == Choice.parse("a[b=2, x=1]")


def test_a_field_at_its_default_is_not_part_of_a_key() -> None:
    assert replace(case(), batch=1, device="cpu").key() == case().key()
    spelled = Network("resnet18", decoder="unet", in_channels=3, weights="random", seed=0)
    assert replace(case(), network=spelled).key() == case().key()


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(BadInput):
        Recipe.parse("torch_compile[freezing=0,freezing=1]/fp32")


@pytest.mark.parametrize("value", ["abc", (), (64, -1), (64, 0), 64])
def test_widths_and_sizes_are_positive_whole_numbers(value: object) -> None:
    with pytest.raises(BadInput, match="positive whole numbers"):
        Network("resnet18", decoder_channels=value)  # type: ignore[arg-type]


def test_a_checkpoint_path_that_no_file_can_have_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        replace(case(), network=Network("resnet18", weights="a\0b.pt")).key()


def test_huge_pages_forbid_comparing_times_where_both_machines_tell() -> None:
    here, there = machine(huge_pages="madvise"), machine(huge_pages="always")
    assert here.differs_from(there) == ("huge_pages",)
    assert here.differs_from(machine()) == ()
