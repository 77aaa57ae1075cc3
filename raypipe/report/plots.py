"""Plots as inline SVG, without scripts or outside files."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

INK, GRID, BLUE, ORANGE, GREEN = "#1f2933", "#e4e7eb", "#2f6fb7", "#d9822b", "#3d8b5f"


def axes_of(width: float, height: float) -> tuple[Any, Any]:
    """A figure of that many inches and its axes, in the look of all plots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "raypipe",
            "font.size": 10,
            "text.parse_math": False,
            "axes.edgecolor": GRID,
            "text.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def as_svg(figure: Any) -> Markup:
    """The figure as an <svg> element; matplotlib escapes the texts in it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def short(label: str, width: int = 34) -> str:
    """A label that fits beside a plot."""
    clean = " ".join(label.split())
    return clean if len(clean) <= width else clean[: width - 1] + "…"


def bars(values: dict[str, float], unit: str) -> Markup:
    """Horizontal bars with their numbers."""
    figure, axes = axes_of(7.5, 0.5 + 0.3 * max(1, len(values)))
    names = [short(name) for name in values]
    drawn = axes.barh(range(len(names)), list(values.values()), color=BLUE)
    axes.bar_label(drawn, fmt="{:,.4g}", padding=3)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    return as_svg(figure)


def class_sizes(before: Sequence[int], after: Sequence[int]) -> Markup:
    """Class sizes before and after, classes sorted by size before."""
    figure, axes = axes_of(7.5, 2.8)
    order = np.argsort(-np.asarray(before), kind="stable")
    edges = np.arange(len(before) + 1) + 0.5
    axes.stairs(np.asarray(before)[order], edges, color=ORANGE, label="in")
    axes.stairs(np.asarray(after)[order], edges, color=BLUE, fill=True, label="kept")
    axes.set_xlabel("class, largest first")
    axes.set_ylabel("rows")
    if max(before) > 50 * max(1, min(before)):  # on an even scale the small classes would be flat
        axes.set_yscale("symlog", linthresh=1)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylabel("rows, logarithmic")
    axes.legend(frameon=False, loc="upper right")
    return as_svg(figure)


def histogram(edges: Sequence[int], before: Sequence[int], after: Sequence[int], unit: str) -> Markup:
    """Lengths of texts before and after on a logarithmic axis; bins hold whole numbers, the first also 0."""
    figure, axes = axes_of(7.5, 2.4)
    bounds = np.maximum(np.asarray(edges, float), 0.5)
    axes.stairs(before, bounds, color=ORANGE, fill=True, alpha=0.45, label="in")
    axes.stairs(after, bounds, color=BLUE, linewidth=1.6, label="kept")
    used = np.flatnonzero(before)
    axes.set_xscale("log")
    low, high = (bounds[used[0]], bounds[used[-1] + 1]) if len(used) else (0.5, 1.0)
    axes.set_xlim(low, high)
    marks = [m * 10**e for e in range(10) for m in (1, 2, 5) if low <= m * 10**e <= high]
    axes.set_xticks(marks, [f"{mark:,}" for mark in marks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(unit)
    axes.set_ylabel("rows")
    axes.legend(frameon=False)
    return as_svg(figure)


def conflicts(pairs: Sequence[tuple[str, str, int]]) -> Markup:
    """Heat map of labels that conflict, both ways round; the labels in order of their conflicts."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    totals: dict[str, int] = {}
    for first, second, count in pairs:
        totals[first] = totals.get(first, 0) + count
        totals[second] = totals.get(second, 0) + count
    names = sorted(totals, key=lambda name: (-totals[name], name))
    place = {name: i for i, name in enumerate(names)}
    cells = [(place[a], place[b], n) for first, second, n in pairs for a, b in ((first, second), (second, first))]
    side = 2.2 + 0.2 * len(names)
    figure, axes = axes_of(side, side)
    squares = PatchCollection([Rectangle((x - 0.5, y - 0.5), 1, 1) for x, y, _ in cells], cmap="Oranges")
    squares.set_array(np.array([n for *_, n in cells]))
    most = max(n for *_, n in cells)
    squares.set_clim(0, 1.4 * most)  # the darkest orange still bears a number
    axes.add_collection(squares)
    for x, y, n in cells:
        axes.text(x, y, str(n), ha="center", va="center", fontsize=6)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
    ticks = [short(name, 28) for name in names]
    axes.set_xticks(range(len(names)), ticks, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), ticks, fontsize=7)
    return as_svg(figure)


def thresholds(entries: Sequence[dict[str, Any]]) -> Markup:
    """Rows that each threshold removes, and how many of them disagree with their witness on the label."""
    figure, axes = axes_of(7.5, 3.0)
    x = np.arange(len(entries))
    removed = axes.bar(x, [e["removed"] for e in entries], color=BLUE, width=0.75, label="removed")
    axes.bar(x, [e["label_disagreements"] for e in entries], color=ORANGE, width=0.75, label="with another label")
    axes.bar_label(removed, [f"{e['share']:.1%}" for e in entries], padding=2, fontsize=8)
    axes.set_xticks(x, [f"{e['threshold']:.2f}" for e in entries])
    axes.set_xlabel("threshold")
    axes.set_ylabel("rows, exact duplicates apart")
    axes.legend(frameon=False)
    return as_svg(figure)


def flow(rows_in: int, removed: dict[str, int], kept: dict[str, int]) -> Markup:
    """From the raw rows down to the splits: what each reason takes away, beside what is left."""
    steps = [("raw rows", 0, rows_in, BLUE)]
    left = rows_in
    for reason, rows in removed.items():
        left -= rows
        steps.append((reason, left, rows, ORANGE))
    start = 0
    for split, rows in kept.items():
        steps.append((split, start, rows, GREEN))
        start += rows
    figure, axes = axes_of(7.5, 0.6 + 0.3 * len(steps))
    for place, (_, begin, rows, colour) in enumerate(steps):
        drawn = axes.barh(place, rows, left=begin, color=colour)
        sign = "−" if colour == ORANGE else ""
        axes.bar_label(drawn, [f"{sign}{rows:,} ({rows / max(rows_in, 1):.1%})"], padding=3, fontsize=8)
    axes.set_yticks(range(len(steps)), [name for name, *_ in steps])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * max(rows_in, 1))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("rows")
    return as_svg(figure)


Point = tuple[float, float, float, float]  # x, y, and the interval of y (y twice where it has none)


def curve(series: dict[str, list[Point]], x: str, y: str, marked: float | None = None) -> Markup:
    """Lines through points with their intervals; a vertical line where ``marked``."""
    figure, axes = axes_of(7.5, 2.6)
    if marked is not None:
        axes.axvline(marked, color=GRID, linewidth=5, label="weights kept")
    for (name, points), colour in zip(series.items(), (BLUE, ORANGE, GREEN), strict=False):
        if points:
            at, value, low, high = zip(*points, strict=True)
            axes.plot(at, value, color=colour, marker="o", markersize=3, label=name)
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=GRID)
    if sum(map(bool, series.values())) > 1 or marked is not None:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return as_svg(figure)


def rates(points: Sequence[tuple[float, float, float, float]]) -> Markup:
    """Best macro-F1 with its interval by learning rate, on a logarithmic axis  # (rate, value, low, high) each."""
    figure, axes = axes_of(7.5, 2.8)
    for rate, value, low, high in points:
        axes.plot([rate, rate], [low, high], color=BLUE, linewidth=1.2)
        axes.plot(rate, value, color=BLUE, marker="o", markersize=5)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("macro-F1 on validation")
    axes.grid(color=GRID)
    return as_svg(figure)


def many_curves(series: dict[str, list[tuple[float, float]]]) -> Markup:
    """A line for each trial by epoch."""
    from matplotlib import colormaps

    figure, axes = axes_of(7.5, 3.6)
    shades = colormaps["viridis"].resampled(max(2, len(series)))
    for number, (name, points) in enumerate(series.items()):
        axes.plot(*zip(*points, strict=True), color=shades(number), marker="o", markersize=3, label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel("macro-F1 on validation")
    axes.grid(color=GRID)
    axes.legend(frameon=False, fontsize=7, ncols=1 + len(series) // 12, title="trial: rate", title_fontsize=7)
    return as_svg(figure)
