"""A plans.json is data: read, capped, compared with what is known; nothing in it is imported."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetbench.errors import BadInput
from unetbench.plans import architecture
from unetbench.suite import Suite


def plans(kind: str = "PlainConvUNet") -> dict[str, Any]:
    """A small plan in the form that nnU-Net 2.5 writes."""
    per_stage = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    arguments = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3], [3, 3], [3, 3]],
        "strides": [[1, 1], [2, 2], [2, 2]],
        per_stage: [1, 2, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    described = {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    volumes = deepcopy(described)
    volumes["arch_kwargs"] |= {  # type: ignore[operator]
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    }
    return {
        "dataset_name": "Dataset001_Test",
        "configurations": {
            "2d": {"batch_size": 12, "patch_size": [64, 64], "architecture": described},
            "3d_fullres": {"batch_size": 2, "architecture": volumes},
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        },
    }


def plans_file(folder: Path, content: Any) -> Path:
    path = folder / "plans.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_a_configuration_is_read(kind: str, tmp_path: Path) -> None:
    path = str(plans_file(tmp_path, plans(kind)))
    found = architecture(path, "2d")
    assert (found.network, found.dimensions) == (kind, 2)
    assert found.arguments["conv_op"] == "Conv2d"
    assert found.arguments["dropout_op"] is None
    assert found.arguments["features_per_stage"] == [4, 8, 8]
    inherited = architecture(path, "3d_cascade_fullres")
    assert inherited == architecture(path, "3d_fullres")
    assert inherited.dimensions == 3


def _set(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        place = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


ARCHITECTURE = ("configurations", "2d", "architecture")
ARGUMENTS = (*ARCHITECTURE, "arch_kwargs")
WRONG = [
    (_set("configurations", value=[]), "hold no configurations"),
    (_set("configurations", "2d", value=None), "unknown configuration '2d'"),
    (_set("configurations", "2d", "inherits_from", value="2d"), "inherits from itself"),
    (_set("configurations", "2d", "inherits_from", value=["2d"]), "unknown configuration"),
    (_set(*ARCHITECTURE, value=None), "has no architecture"),
    (_set(*ARCHITECTURE, "network_class_name", value="os.system"), "unknown class for network_class_name"),
    (_set(*ARCHITECTURE, "network_class_name", value="evil.PlainConvUNet"), "unknown class"),
    (_set(*ARCHITECTURE, "network_class_name", value=None), "unknown class"),
    (
        _set(*ARCHITECTURE, "network_class_name", value="nnunetv2.network.PlainConvUnet"),
        "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    ),
    (_set(*ARGUMENTS, "conv_op", value="torch.nn.Linear"), "unknown class for conv_op"),
    (_set(*ARGUMENTS, "conv_op", value="torch.nnx.Conv2d"), "unknown class for conv_op"),
    (_set(*ARGUMENTS, "conv_op", value=None), "lack conv_op"),
    (_set(*ARGUMENTS, "nonlin", value="subprocess.Popen"), "unknown class for nonlin"),
    (_set(*ARGUMENTS, "n_stagess", value=3), "did you mean n_stages"),
    (_set(*ARGUMENTS, "n_stages", value=10**9), "whole numbers of 1 to 4096"),
    (_set(*ARGUMENTS, "n_stages", value="3"), "whole numbers of 1 to 4096"),
    (_set(*ARGUMENTS, "features_per_stage", value=[4, -8, 8]), "whole numbers of 1 to 4096"),
    (_set(*ARGUMENTS, "nonlin_kwargs", value={"inplace": "__import__('os')"}), "names with numbers"),
    (_set(*ARGUMENTS, "norm_op_kwargs", value=[1]), "names with numbers"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_not_known_is_refused_in_a_line(
    change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    content = plans()
    change(content)
    path = plans_file(tmp_path, content)
    before = set(sys.modules)
    for read in (
        lambda: architecture(str(path), "2d"),
        lambda: Suite(networks=(f"nnunet[plans={path}]",)).cases(1),  # before anything runs
    ):
        with pytest.raises(BadInput) as caught:
            read()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert set(sys.modules) == before


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 100_000, '{"configurations": 1}', "\udcff"])
def test_what_is_no_plan_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "plans.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match="nnU-Net v2"):
        architecture(str(path), "2d")


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, Path("a\0b")):
        with pytest.raises(BadInput, match="cannot be read"):
            architecture(str(path), "2d")
    large = plans_file(tmp_path, " " * (1 << 20) + json.dumps(plans()))
    with pytest.raises(BadInput, match="larger than 1 MB"):
        architecture(str(large), "2d")


def test_a_3d_configuration_is_no_case_of_images(tmp_path: Path) -> None:
    path = plans_file(tmp_path, plans())
    (case,) = Suite(networks=(f"nnunet[plans={path}]",)).cases(1)
    assert case.network.reference == f"nnunet[plans={path}]"
    for text in (f"nnunet[plans={path},configuration=3d_fullres]", "nnunet[dimensions=3]"):
        with pytest.raises(BadInput, match="3D network: it takes volumes"):
            Suite(networks=(text,)).cases(1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([ARCHITECTURE, ARGUMENTS, (*ARGUMENTS, "strides"), (*ARGUMENTS, "norm_op")]), JSON)
def test_whatever_stands_in_it_the_answer_is_a_network_or_a_line(keys: tuple[str, ...], value: Any) -> None:
    import tempfile

    content = plans()
    _set(*keys, value=value)(content)
    with tempfile.TemporaryDirectory() as folder:
        path = plans_file(Path(folder), content)
        try:
            found = architecture(str(path), "2d")
        except BadInput as error:
            assert "\n" not in str(error)
        else:
            assert found.network == "PlainConvUNet"
