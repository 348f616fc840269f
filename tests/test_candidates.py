"""The search space: every installed runtime, only what the machine has, named parts only."""

from __future__ import annotations

import pytest

from unetbench import candidates, machine, parts
from unetbench.errors import BadInput
from unetbench.records import REFERENCE
from unetbench.suite import checked_recipe


def test_every_installed_runtime_and_precision_is_tried_and_every_recipe_can_be_named() -> None:
    found = candidates.recipes()
    assert found[0] == REFERENCE
    assert len(set(found)) == len(found)
    assert all(checked_recipe(str(recipe)) == recipe for recipe in found)
    tried = {(recipe.runtime.name, recipe.precision) for recipe in found}
    for name in parts.names("runtime"):
        part = parts.find("runtime", name)
        for precision in part.constants["PRECISIONS"]:
            possible = not part.missing and (precision != "bf16" or machine.bf16_instructions())
            assert ((name, precision) in tried) == bool(possible)


def test_bf16_is_tried_only_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for sets, tried in (((), False), (("amx_bf16",), True)):
        monkeypatch.setattr(machine, "bf16_instructions", lambda sets=sets: sets)
        assert any(recipe.precision == "bf16" for recipe in candidates.recipes()) == tried


def test_a_layout_is_tried_only_where_it_reaches_the_kernels() -> None:
    with_layout = {r.runtime.name for r in candidates.recipes() if "channels_last" in str(r)}
    assert with_layout == {"torch_eager", "torch_compile"}


def test_two_runtimes_are_tried_where_both_are_asked_for() -> None:
    two = [str(recipe) for recipe in candidates.recipes() if len(recipe.runtimes) > 1]
    assert "onnxruntime[spinning=0]>mnn[winograd=1]/fp32+reparameterize+fold_head" in two
    assert all(checked_recipe(text) for text in two)
    assert not any(len(recipe.runtimes) > 1 for recipe in candidates.recipes(["openvino"]))
    assert any(len(recipe.runtimes) > 1 for recipe in candidates.recipes(["openvino", "mnn"]))


def test_a_recipe_has_the_name_that_stores_know_it_by() -> None:
    found = {
        str(recipe) for recipe in candidates.recipes(["mnn", "ncnn"]) if "fold_batchnorm" not in str(recipe)
    }
    for name in ("mnn", "mnn[winograd=1]", "ncnn", "ncnn[winograd=4]"):
        assert f"{name}/fp32+reparameterize+fold_head" in found
    assert not [text for text in found if "winograd=3" in text], "a default is not written out"


def test_the_search_can_be_narrowed() -> None:
    found = candidates.recipes(["openvino"], ["int8"])
    assert {(r.runtime.name, r.precision) for r in found[1:]} == {("openvino", "int8")}
    with pytest.raises(BadInput, match=r"unknown runtime 'openvin'"):
        candidates.recipes(["openvin"])
    with pytest.raises(BadInput, match=r"unknown precision 'int4'.*int8"):
        candidates.recipes([], ["int4"])
    with pytest.raises(BadInput, match="no recipe is left"):
        candidates.recipes(["ncnn"], ["int8"])
