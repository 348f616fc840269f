"""The chart's specification says what was measured, and its files are whole."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from unetbench.errors import BadInput, StoreError
from unetbench.reporting.charts import HEIGHT_PX, WIDTH_PX, throughput_chart, write_png
from unetbench.reporting.labels import text_width
from unetbench.reporting.row import Row

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
REFERENCE = "torch_eager/fp32"

# Encoder: its parameters in millions, images/s of its fastest recipe.
ENCODERS = {
    "mobileone_s0": (2.1, 15.2),
    "mobileone_s1": (4.8, 11.8),
    "mobileone_s2": (7.8, 9.6),
    "mobilenetv4_conv_small.e2400_r224_in1k": (2.5, 16.1),
    "mobilenetv4_conv_medium.e500_r224_in1k": (8.4, 10.1),
    "regnetx_002": (2.3, 14.1),
    "regnetx_004": (4.8, 11.6),
    "regnetx_008": (6.6, 9.9),
    "regnety_002": (2.8, 13.6),
    "regnety_004": (3.9, 12.1),
    "lcnet_100": (1.7, 17.2),
    "lcnet_150": (2.9, 14.4),
    "mobilenetv3_small_100": (1.0, 17.6),
    "mobilenetv3_large_100": (3.0, 13.2),
    "edgenext_x_small": (2.1, 11.2),
    "edgenext_small": (5.3, 8.7),
    "resnet18": (11.2, 7.6),
    "resnet34": (21.3, 5.2),
    "repvgg_a0": (7.8, 9.1),
    "repvgg_a1": (12.8, 6.9),
    "efficientnet_b0": (4.0, 9.9),
    "efficientnet_b1": (6.5, 7.4),
    "ghostnetv2_100": (4.9, 10.9),
    "tinynet_b": (2.5, 12.9),
    "tinynet_c": (1.4, 14.9),
}
RECIPES = ("openvino/fp32+reparameterize", "openvino/bf16", "onnxruntime/fp32+fold_batchnorm")


def row(encoder: str = "resnet18", recipe: str = RECIPES[0], **figures: Any) -> Row:
    measured: dict[str, Any] = {
        "parameters_m": 14.3,
        "encoder_parameters_m": 11.2,
        "images_per_s": 7.6,
        "median_ms": 131.6,
        "peak_mb": 320.0,
    }
    case = {"decoder": "unet", "size": "512x512", "batch": 1, "classes": 1, "threads": 2, "status": "ok"}
    return Row(**{"encoder": encoder, "recipe": recipe} | case | measured | figures)


def sweep() -> list[Row]:
    """Each encoder under a fast recipe and under the reference, and one failure."""
    rows = [row("swin_tiny", status="unsupported", images_per_s=None, peak_mb=None)]
    for place, (encoder, (millions, speed)) in enumerate(ENCODERS.items()):
        figures = {"encoder_parameters_m": millions, "parameters_m": 1.1 * millions + 1.2}
        figures["peak_mb"] = 180.0 + 37 * place % 300
        recipe = RECIPES[place % 3]
        rows.append(row(encoder, recipe, images_per_s=speed, median_ms=1e3 / speed, speedup=2.5, **figures))
        rows.append(row(encoder, REFERENCE, images_per_s=speed / 2.5, median_ms=2.5e3 / speed, **figures))
    return rows


def drawn(rows: list[Row]) -> dict[str, Any]:
    specification = throughput_chart(rows, title="U-Nets on a CPU", subtitle="2 threads · quick").to_dict()
    assert isinstance(specification, dict)
    return specification


def data(specification: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    """The data of a layer, wherever Altair has put them."""
    source = specification["layer"][layer].get("data") or specification["data"]
    values = source["values"] if "values" in source else specification["datasets"][source["name"]]
    assert isinstance(values, list)
    return values


POINTS, NAMES = 3, 5  # places of the layers


def test_one_point_a_network_with_its_fastest_recipe() -> None:
    specification = drawn(sweep())
    points = data(specification, POINTS)
    assert len(points) == len(ENCODERS)
    for point in points:
        assert point["images_per_s"] == ENCODERS[point["network"].removesuffix("/unet")][1]
        assert point["recipe"] in RECIPES
        assert point["reference"] == pytest.approx(point["images_per_s"] / 2.5)
    encoding = specification["layer"][POINTS]["encoding"]
    assert encoding["x"]["scale"]["type"] == encoding["y"]["scale"]["type"] == "log"
    assert encoding["x"]["title"] == "Parameters of the whole network (millions)"
    assert encoding["y"]["title"] == "Throughput (images/s)"
    assert encoding["size"]["title"] == "Peak memory (MB)"
    assert encoding["color"]["title"] == "Encoder parameters (millions)"
    assert encoding["shape"]["scale"]["domain"] == [*RECIPES, f"{REFERENCE}, for comparison"]
    assert {"network", "recipe", "images_per_s"} <= {each["field"] for each in encoding["tooltip"]}
    assert specification["title"]["subtitle"] == ["2 threads · quick"]


def test_every_network_is_named_and_no_names_overlap() -> None:
    specification = drawn(sweep())
    names = data(specification, NAMES)
    assert {name["label"] for name in names} == {encoder.partition(".")[0] for encoder in ENCODERS}
    encoding = specification["layer"][NAMES]["encoding"]
    boxes = [(_pixels(name, encoding), text_width(name["label"], 11.5)) for name in names]
    for ((x1, y1), width1), ((x2, y2), width2) in combinations(boxes, 2):
        assert abs(x1 - x2) >= (width1 + width2) / 2 or abs(y1 - y2) >= 11.5
    for (x, y), width in boxes:
        assert width / 2 <= x <= WIDTH_PX - width / 2 and 6 <= y <= HEIGHT_PX - 6


def _pixels(name: dict[str, Any], encoding: dict[str, Any]) -> tuple[float, float]:
    """Where Vega-Lite will draw a name, worked out apart from the code under test."""
    from math import log

    shares = []
    for axis in "xy":
        low, high = encoding[axis]["scale"]["domain"]
        shares.append(log(name[axis] / low) / log(high / low))
    return shares[0] * WIDTH_PX, (1 - shares[1]) * HEIGHT_PX


def labels(rows: list[Row]) -> set[str]:
    return {name["label"] for name in data(drawn(rows), NAMES)}


def test_a_tag_is_kept_where_the_bare_name_is_not_unique() -> None:
    assert labels([row("resnet18.a1_in1k")]) == {"resnet18"}
    assert labels([row("resnet18.a1_in1k"), row("resnet18.a2_in1k")]) == {
        "resnet18.a1_in1k",
        "resnet18.a2_in1k",
    }


def test_names_say_what_else_differs() -> None:
    assert labels([row(), row(decoder="semantic_fpn")]) == {"resnet18/unet", "resnet18/semantic_fpn"}
    assert labels([row(), row(size="256x256")]) == {"resnet18 @512x512", "resnet18 @256x256"}
    assert labels([row(), row(threads=4)]) == {"resnet18, 2 threads", "resnet18, 4 threads"}


def test_a_whole_network_has_its_own_name() -> None:
    rows = [row("resnet18.a1_in1k", decoder="unet"), row("torchvision.fcn_resnet50", decoder="")]
    assert labels(rows) == {"resnet18/unet", "torchvision.fcn_resnet50"}


def test_the_reference_is_not_compared_with_itself_nor_across_sessions() -> None:
    (alone,) = data(drawn([row(recipe=REFERENCE)]), POINTS)
    assert alone["reference"] is None
    (apart,) = data(drawn([row(session=2), row(recipe=REFERENCE, images_per_s=3.0, session=1)]), POINTS)
    assert apart["reference"] is None


def test_sixty_of_many_networks_are_named_and_the_chart_says_so() -> None:
    many = [row(f"net{place}", parameters_m=2 + place, images_per_s=90.0 - place) for place in range(70)]
    specification = drawn(many)
    assert len(data(specification, POINTS)) == 70
    assert len(data(specification, NAMES)) == 60
    assert specification["title"]["subtitle"][-1] == "60 of 70 networks are named."


@pytest.mark.parametrize("rows", [[], [row(status="timeout", images_per_s=None)], [row(parameters_m=None)]])
def test_nothing_to_draw(rows: list[Row]) -> None:
    with pytest.raises(BadInput, match="nothing to draw: no case has a measurement yet; run the suite first"):
        throughput_chart(rows, title="U-Nets", subtitle="")


def test_png_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "throughput.png"
    write_png(throughput_chart(sweep(), title="U-Nets on a CPU", subtitle="2 threads"), path)
    content = path.read_bytes()
    assert content.startswith(PNG_SIGNATURE)
    assert int.from_bytes(content[16:20]) > 2 * WIDTH_PX  # twice the chart and its margins
    assert [each.name for each in path.parent.iterdir()] == ["throughput.png"]


def test_a_single_row_and_zero_figures_are_drawn(tmp_path: Path) -> None:
    one = row(peak_mb=0.0, encoder_parameters_m=0.0)
    write_png(throughput_chart([one], title="One", subtitle=""), tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(PNG_SIGNATURE)


@pytest.mark.parametrize("name", ["</script><b>", 'it\'s "quoted"', "datum['x']", "a\\nb {signal}", "é网"])
def test_odd_names_are_text_and_nothing_else(name: str, tmp_path: Path) -> None:
    chart = throughput_chart([row(name), replace(row(), recipe=name)], title=name, subtitle=name)
    assert name in {point["label"] for point in data(json.loads(chart.to_json()), POINTS)}
    write_png(chart, tmp_path / "odd.svg")
    texts = [element.text for element in ElementTree.parse(tmp_path / "odd.svg").iter() if element.text]
    assert texts.count(name) >= 4  # title, subtitle, legend and label, as they were given


def test_other_suffixes_and_unwritable_places_are_told(tmp_path: Path) -> None:
    chart = throughput_chart([row()], title="One", subtitle="")
    with pytest.raises(BadInput, match=r"neither \.png nor \.svg"):
        write_png(chart, tmp_path / "chart.jpeg")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        write_png(chart, tmp_path / "file" / "chart.svg")


def test_importing_charts_imports_no_altair() -> None:
    code = (
        "import sys, unetbench.reporting.charts; sys.exit('altair' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
