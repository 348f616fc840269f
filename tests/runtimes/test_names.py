"""Names that tell an operation's module, and whose the time of operations is that have none."""

from __future__ import annotations

from unetbench.runtimes._names import by_module, names, of_module


def test_inputs_and_outputs_are_numbered() -> None:
    assert names("input", 2) == ["input_0", "input_1"]


def test_time_is_of_the_module_that_a_name_tells() -> None:
    convolution = of_module("encoder.conv1", "node_Conv_1")
    ran = [
        (["input_0/fq_output_0"], 1),  # a change of what follows
        (["conv_reorder", f"{convolution}/fq_output_0"], 10),  # runtimes append to names
        (["Multiply_7", of_module("head", "node_Conv_2"), of_module("decoder", "node_add")], 100),
        ([convolution], 1000),
        ([], 10_000),
    ]
    assert by_module(ran) == {"encoder.conv1": 1011, "head": 100, "": 10_000}


def test_of_no_module_is_the_networks_own() -> None:
    assert by_module([([of_module("", "node_Resize")], 5)]) == {"": 5}
    assert by_module([]) == {"": 0}
