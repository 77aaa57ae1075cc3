"""The plots of an evaluation, as inline SVG."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from raypipe.report.plots import BLUE, GREEN, GRID, ORANGE, as_svg, axes_of

CONFUSED = 24  # classes of the heat map: as many as can be read
CURVE_POINTS = 400  # of the coverage curve, whatever the number of rows
DARK = "#a34a00"  # numbers on a pale blue
MARGIN_BINS = 60  # of the histogram of an audit, or one more
MARKED = (0.5, 0.8, 0.9, 0.95)  # confidences marked on it


def intervals(groups: dict[str, dict[str, tuple[float, float, float]]], x: str) -> Markup:
    """Points with their 95 % intervals, a line for each name, a colour for each group."""
    names = list(dict.fromkeys(name for estimates in groups.values() for name in estimates))
    figure, axes = axes_of(7.5, 0.7 + 0.2 * max(1, len(names)) * (len(groups) + 0.6))
    for number, ((group, estimates), colour) in enumerate(zip(groups.items(), (BLUE, ORANGE), strict=False)):
        shift = 0.28 * (number - (len(groups) - 1) / 2)
        for name, (value, low, high) in estimates.items():
            place = names.index(name) + shift
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot([value], [place], "o", color=colour, label=group if name == names[0] else None)
            axes.annotate(
                f"{value:.3f} [{low:.3f}, {high:.3f}]",
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
            )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.grid(axis="x", color=GRID)
    axes.set_xlabel(x)
    if len(groups) > 1:
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return as_svg(figure)


def confused_pairs(matrix: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """True class, predicted class and rows of the errors that occur most, most first."""
    off = matrix - np.diag(np.diag(matrix))
    places = np.argsort(-off, axis=None, kind="stable")[:most]
    return [(*divmod(int(p), len(matrix)), int(off.flat[p])) for p in places if off.flat[p] > 0]


def confusion(matrix: np.ndarray, names: list[str]) -> Markup:
    """Heat map of the classes that are confused most, as shares of each true class, with the rows as numbers.

    Classes enter in the order of the most frequent errors, so that those which are confused stand beside each other.
    """
    pairs = confused_pairs(matrix, len(matrix) ** 2)
    chosen = list(dict.fromkeys(c for true, predicted, _ in pairs for c in (true, predicted)))[:CONFUSED]
    chosen = chosen or list(range(min(len(matrix), CONFUSED)))
    part = matrix[np.ix_(chosen, chosen)]
    share = part / np.maximum(matrix[chosen].sum(axis=1, keepdims=True), 1)
    side = 2.4 + 0.28 * len(chosen)
    figure, axes = axes_of(side + 0.8, side)
    drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(part):
        if count:
            colour = "white" if share[row, column] > 0.55 else DARK if row != column else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=6, color=colour)
    ticks = [_middle(names[c]) for c in chosen]
    axes.set_xticks(range(len(chosen)), ticks, rotation=90, fontsize=7)
    axes.set_yticks(range(len(chosen)), ticks, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, shrink=0.5, label="share of the true class")
    return as_svg(figure)


def reliability(series: dict[str, Sequence[dict[str, Any]]]) -> Markup:
    """Accuracy against confidence by bins; the diagonal is perfect calibration, a larger point has more rows."""
    figure, axes = axes_of(4.6, 3.8)
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=2)
    for (name, bins), colour in zip(series.items(), (ORANGE, BLUE)[-len(series) :], strict=True):
        rows = np.array([b["rows"] for b in bins])
        x, y = ([b[key] for b in bins] for key in ("confidence", "accuracy"))
        axes.plot(x, y, color=colour, linewidth=1)
        axes.scatter(x, y, s=8 + 110 * rows / rows.max(), color=colour, alpha=0.75, label=name, linewidth=0)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.03, 1.03))
    if len(series) > 1:
        legend = axes.legend(frameon=False, loc="upper left")
        for handle in legend.legend_handles:
            handle.set_sizes([40])
    return as_svg(figure)


def coverage(confidence: np.ndarray, correct: np.ndarray) -> Markup:
    """Accuracy of the surest rows against their share, from the surest row to all of them."""
    order = np.argsort(-confidence, kind="stable")
    rows = len(order)
    accuracy = np.cumsum(correct[order]) / np.arange(1, rows + 1)
    places = np.unique(np.linspace(0, rows - 1, min(rows, CURVE_POINTS)).astype(int))
    places = places[places >= min(rows - 1, 19)]  # the first few rows say nothing yet
    figure, axes = axes_of(4.6, 3.8)
    axes.plot((places + 1) / rows, accuracy[places], color=BLUE)
    lowest = accuracy[places].min()
    for least in MARKED:
        count = int((confidence >= least).sum())
        if count >= 20:
            axes.plot([count / rows], [accuracy[count - 1]], "o", color=ORANGE)
            axes.annotate(
                f"≥ {least:g}",
                (count / rows, accuracy[count - 1]),
                xytext=(3, 6),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set(xlabel="share of rows answered", ylabel="accuracy of those", xlim=(0, 1.02))
    axes.set_ylim(max(0.0, lowest - 0.05), 1.01)
    axes.grid(color=GRID)
    return as_svg(figure)


def scores(confidence: np.ndarray, correct: np.ndarray, bins: int = 25) -> Markup:
    """How sure the model was, where it was right and where it was wrong."""
    figure, axes = axes_of(7.5, 2.6)
    parts = [confidence[correct], confidence[~correct]]
    axes.hist(parts, bins=np.linspace(0, 1, bins + 1), stacked=True, color=[BLUE, ORANGE], label=["right", "wrong"])
    axes.set(xlabel="confidence", ylabel="rows", xlim=(0, 1))
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return as_svg(figure)


def lengths(groups: Sequence[dict[str, Any]]) -> Markup:
    """Accuracy with its interval for rows of like length."""
    figure, axes = axes_of(7.5, 2.6)
    x = np.arange(len(groups))
    value, low, high = (np.array([g["accuracy"][part] for g in groups]) for part in ("value", "low", "high"))
    axes.errorbar(x, value, [value - low, high - value], fmt="o", color=GREEN, capsize=3)
    spans = [(g["tokens_from"], g["tokens_to"]) for g in groups]
    axes.set_xticks(x, [f"{a}" if a == b else f"{a} to {b}" for a, b in spans])
    axes.set(xlabel="tokens", ylabel="accuracy", xlim=(-0.5, len(groups) - 0.5))
    axes.set_ylim(max(0.0, low.min() - 0.05), min(1.02, high.max() + 0.05))
    axes.grid(axis="y", color=GRID)
    return as_svg(figure)


def _middle(label: str, width: int = 30) -> str:
    """A label that fits, cut in its middle: the labels of a set often begin alike."""
    clean = " ".join(label.split())
    if len(clean) <= width:
        return clean
    half = (width - 1) // 2
    return f"{clean[: width - 1 - half]}…{clean[-half:]}"


def margins(margin: np.ndarray) -> Markup:
    """How many rows have which margin; below 0 another label is likelier."""
    figure, axes = axes_of(7.5, 2.6)
    low, high = min(margin.min(), -1.0), max(margin.max(), 1.0)
    width = (high - low) / MARGIN_BINS
    edges = width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)  # so that 0 is one of them
    counts = np.histogram(margin, edges)[0]
    left = edges[1:] <= 0
    for side, colour, name in (
        (left, ORANGE, "another label is likelier"),
        (~left, BLUE, "the label is the likeliest"),
    ):
        axes.bar(edges[:-1][side], counts[side], np.diff(edges)[side], align="edge", color=colour, label=name)
    axes.set_xlabel("margin: log-odds of the label against the likeliest other")
    axes.set_ylabel("rows")
    axes.legend(frameon=False)
    return as_svg(figure)
