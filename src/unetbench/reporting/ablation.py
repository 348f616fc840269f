"""Rows to the table of recipes against networks: what each change brings, and what the fastest form gains.

It compares nothing that was measured under other conditions: every ratio is within one network's rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, fsum, log
from typing import Any, Final

from unetbench.records import REFERENCE, Recipe
from unetbench.reporting.charts import heading
from unetbench.reporting.gains import (
    AS_IT_COMES,
    USUAL,
    Gain,
    counts_as_fp32,
    fastest,
    gain,
    gains,
    is_reference,
    is_usual,
)
from unetbench.reporting.row import Row
from unetbench.reporting.standing import NONE, Standings
from unetbench.reporting.table import milliseconds

_TIMM_IN_SMP = "tu-"
_MARKS: Final = {"exact": "", "near": " ≈", "approximate": " ~"}
_ACROSS = 12  # networks beside each other, at most
_LEGEND = (
    "Median ms of a run; **bold**: the fastest whose answer is exact or near. ≈ near: error over twice that of "
    "eager fp32, at most 1e-3; ~ approximate, as int8 is: its speed is no match for the others'. × eager: "
    "geometric mean of the speed-ups over torch_eager/fp32, on the networks where both have a time: those of fewer are "
    "marked, and no match for the others. The fastest is "
    "so by its median: near ties may change places when measured again."
)

_Texts = Mapping[tuple[str, str], str]  # of a table's cells, by recipe and network


def is_ablation(rows: Sequence[Row]) -> bool:
    """Return whether several recipes were measured on several networks, all else being equal, and one is the reference."""
    recipes, networks = {row.recipe for row in rows}, {row.network for row in rows}
    conditions = {(row.size, row.batch, row.classes, row.channels, row.threads) for row in rows}
    compared = any(row.speedup for row in rows if not is_reference(row))
    return len(recipes) > 2 and len(networks) > 1 and len(conditions) == 1 and compared


def table(rows: Sequence[Row], said: Standings = NONE, *, notes: Sequence[str] = ()) -> str:
    """Return the recipes, slowest first, against the networks, and what the fastest forms gain, in Markdown.

    What paired blocks say of two recipes stands in the place of the ratio of their medians. The notes come last.
    """
    networks = {row.network: row.short_network for row in sorted(rows, key=lambda row: row.encoder)}
    cells = {(row.recipe, row.network): row for row in rows}
    winners = {network: fastest(rows, network, counts_as_fp32) for network in networks}
    speedups = {recipe: _speedups(rows, recipe) for recipe in {row.recipe for row in rows}}
    ordered = sorted(
        speedups, key=lambda recipe: (recipe != str(REFERENCE), _mean(speedups[recipe]) or 0.0, recipe)
    )
    most = max(map(len, speedups.values()))
    means = {recipe: _mean_text(found, most) for recipe, found in speedups.items()}
    texts = {
        (recipe, network): _cell(cells.get((recipe, network)), winners[network])
        for recipe in ordered
        for network in networks
    }
    lines = (_by_network if len(networks) > len(ordered) else _by_recipe)(ordered, networks, texts, means)
    parts = [lines, [_LEGEND], _gain_lines(rows, networks, said), _other_lines(rows, networks)]
    parts += [[note] for note in notes]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _by_recipe(
    recipes: Sequence[str], networks: Mapping[str, str], texts: _Texts, means: Mapping[str, str]
) -> list[str]:
    lines = [
        "| recipe | " + " | ".join(networks.values()) + " | × eager |",
        "|---|" + "---:|" * (len(networks) + 1),
    ]
    for recipe in recipes:
        shown = " | ".join(texts[recipe, network] for network in networks)
        lines.append(f"| {recipe} | {shown} | {means[recipe]} |")
    return lines


def _by_network(
    recipes: Sequence[str], networks: Mapping[str, str], texts: _Texts, means: Mapping[str, str]
) -> list[str]:
    """The same, turned: a page is no wider than its recipes where there are more networks."""
    lines = ["| network | " + " | ".join(recipes) + " |", "|---|" + "---:|" * len(recipes)]
    for network, short in networks.items():
        lines.append(f"| {short} | " + " | ".join(texts[recipe, network] for recipe in recipes) + " |")
    lines.append("| × eager | " + " | ".join(means[recipe] for recipe in recipes) + " |")
    return lines


def _mean_text(ratios: Sequence[float], most: int) -> str:
    """A geometric mean, and of how many where others are of more: these are no match for each other."""
    if not ratios:
        return ""
    return f"{_mean(ratios):.2f}" + (f" ({len(ratios)} of {most})" if len(ratios) < most else "")


def _named(row: Row) -> str:
    lost = f" ({row.agreement:.2%})" if row.measured_class == "approximate" else ""
    return f"{row.recipe}{_MARKS.get(row.measured_class, '')}{lost}"


def _gain_lines(rows: Sequence[Row], networks: Mapping[str, str], said: Standings) -> list[str]:
    kinds: Mapping[str, Callable[[Row], bool]] = {
        "fastest exact or near": counts_as_fp32,
        "fastest exact": lambda row: row.measured_class == "exact",
        "fastest, approximate too": lambda row: True,
    }
    lines = ["| network | " + " | ".join(f"{kind} | × eager | × usual" for kind in kinds) + " |"]
    lines.append("|---|" + "---|---:|---:|" * len(kinds))
    found: dict[str, dict[str, tuple[Gain | None, Gain | None]]] = {}
    columns: list[list[Gain]] = [[] for _ in range(2 * len(kinds))]
    for place, (kind, ours) in enumerate(kinds.items()):
        over_eager = gains(rows, networks, ours=ours, theirs=is_reference, said=said)
        over_usual = gains(rows, networks, ours=ours, theirs=is_usual, said=said)
        found[kind] = {network: (over_eager.get(network), over_usual.get(network)) for network in networks}
        columns[2 * place] = list(over_eager.values())
        columns[2 * place + 1] = list(over_usual.values())
    gaining = {network for kind in kinds for network, gains_ in found[kind].items() if any(gains_)}
    if not gaining:
        return []
    for network, short in networks.items():
        if network not in gaining:
            continue  # it was measured without a reference: nothing is compared
        cells = []
        for kind in kinds:
            eager, usual = found[kind][network]
            cells += [_named(eager.ours) if eager else "", str(eager or ""), str(usual or "")]
        lines.append(f"| {short} | {' | '.join(cells)} |")
    means = [_mean_text([each.ratio for each in column], len(gaining)) for column in columns]
    means = [f"**{text}**" if text else "" for text in means]
    together = [text for pair in zip(means[::2], means[1::2], strict=True) for text in ("", *pair)]
    lines.append(f"| geometric mean | {' | '.join(together)} |")
    return [
        *lines,
        "",
        _usual_text([row for row in rows if row.network in gaining])
        + (" In brackets: intervals over paired blocks, which hold together at 99 %." if said.pairs else "")
        + " After ~: the pixels that keep their class.",
    ]


def _usual_text(rows: Sequence[Row]) -> str:
    """Say what counts as usual here: which of them have a time, and on how many networks where not on all."""
    networks = len({row.network for row in rows})
    timed = {
        (Recipe.parse(row.recipe).runtime.name, row.network)
        for row in rows
        if row.status == "ok" and is_usual(row)
    }
    on = Counter(name for name, _ in timed)
    there = [
        f"{name} (on {on[name]} of {networks})" if on[name] < networks else name for name in USUAL if on[name]
    ]
    lacking = [name for name in USUAL if not on[name]]
    if not there:
        return f"× usual: no time here, since none of {', '.join(USUAL)} was measured in fp32 as it comes."
    return (
        f"× usual: over the fastest of {', '.join(there)} in fp32 with "
        f"{' and '.join(sorted(AS_IT_COMES))} at most"
        + (f"; of {' and '.join(lacking)} there is no time here." if lacking else ".")
    )


def _other_lines(rows: Sequence[Row], networks: Mapping[str, str]) -> list[str]:
    """Our fastest exact or near form against smp's U-Net on the same encoder, as people run that; in Markdown."""
    found = []
    for network in networks:
        encoder, _, decoder = network.partition("/")
        own = f"{encoder.removeprefix(_TIMM_IN_SMP)}/unet"
        if decoder != "smp.unet" or own not in networks:
            continue
        ours, theirs = fastest(rows, own, counts_as_fp32), fastest(rows, network, is_usual)
        if ours and theirs and (gained := gain(ours, theirs)):
            found.append(gained)
    if not found:
        return []
    lines = [
        "| encoder | our U-Net, fastest exact or near | ms | smp.unet, fastest usual | ms | × |",
        "|---|---|---:|---|---:|---:|",
    ]
    lines += [
        f"| {each.ours.short_network} | {each.ours.recipe} | {milliseconds(each.ours.alone_ms)} "
        f"| {each.theirs.recipe} | {milliseconds(each.theirs.alone_ms)} | {each} |"
        for each in found
    ]
    return [
        *lines,
        f"| geometric mean | | | | | **{_mean_text([each.ratio for each in found], len(found))}** |",
        "",
        "Two networks, not one in two forms: medians of processes minutes apart.",
    ]


def _speedups(rows: Iterable[Row], recipe: str) -> list[float]:
    return [row.speedup for row in rows if row.recipe == recipe and row.speedup]


def _mean(ratios: Sequence[float]) -> float | None:
    return exp(fsum(map(log, ratios)) / len(ratios)) if ratios else None


def _cell(row: Row | None, winner: Row | None) -> str:
    if row is None:
        return ""
    if row.status != "ok" or row.median_ms is None:
        return row.status
    text = f"{milliseconds(row.median_ms)}{_MARKS.get(row.measured_class, '')}"
    return f"**{text}**" if row is winner else text


def heatmap(rows: Sequence[Row], *, title: str, subtitle: str) -> Any:
    """Return the chart of speed-ups over torch_eager/fp32: recipes against networks, colour and number.

    Many networks stand below each other, so that the numbers can be read where a page has no more than its width.
    """
    import altair as alt

    points: list[dict[str, Any]] = [
        {"recipe": row.recipe, "network": row.short_network, "speedup": row.speedup,
         "text": f"{row.speedup:.2f}" + _MARKS.get(row.measured_class, "")}
        for row in rows if row.speedup and not is_reference(row)
    ]  # fmt: skip
    means = {
        recipe: _mean(_speedups(rows, recipe)) or 0.0 for recipe in {point["recipe"] for point in points}
    }
    order = sorted(means, key=means.__getitem__, reverse=True)
    networks = sorted({point["network"] for point in points})
    axes = [("network", networks), ("recipe", order)]
    (across, columns), (down, lines) = axes if len(networks) <= _ACROSS else axes[::-1]
    base = alt.Chart(alt.InlineData(values=points)).encode(
        x=alt.X(
            f"{across}:N",
            title=None,
            sort=columns,
            axis=alt.Axis(orient="top", labelAngle=-30, labelLimit=480),
        ),
        y=alt.Y(f"{down}:N", title=None, sort=lines, axis=alt.Axis(labelLimit=480)),
    )
    scale = alt.Scale(type="log", scheme="viridis")
    legend = alt.Legend(
        title="× torch_eager/fp32", format=".3~g"
    )  # where no tick is round, the ends are shown
    boxes = base.mark_rect().encode(color=alt.Color("speedup:Q", scale=scale, legend=legend))
    middle = exp(fsum(log(point["speedup"]) for point in points) / len(points))
    ink = alt.condition(f"datum.speedup > {middle}", alt.value("#111"), alt.value("#fff"))
    numbers = base.mark_text(fontSize=11).encode(text="text:N", color=ink)
    untold = [  # why a cell has no number: never a hole
        {"recipe": row.recipe, "network": row.short_network, "text": row.status}
        for row in rows
        if row.status != "ok" and row.recipe in means and row.short_network in networks
    ]
    layers = [boxes, numbers]
    if untold:
        reasons = base.properties(data=alt.InlineData(values=untold))
        layers.append(reasons.mark_text(fontSize=9, color="#6b7280").encode(text="text:N"))
    size = {"width": 70 * len(columns), "height": 26 * len(lines)}
    return alt.layer(*layers).properties(**size, title=heading(title, subtitle))
