"""Results as tables in the terminal, on standard error."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

PAIRS = 5  # pairs of labels that an audit shows
WIDTH = 80  # columns that every table fits, also where standard error is a file


def _show(title: str, columns: list[str], rows: list[list[str]], numbers: bool = True) -> None:
    """One table; all columns but the first are numbers, or none is."""
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if numbers and number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(stderr=True)
    console.width = max(console.width, WIDTH)
    console.print(table)


def prepare_table(report: dict[str, Any]) -> None:
    """Rows in, removed by reason, and kept."""
    rows = [["rows in", f"{report['rows_in']:,}"]]
    rows += [[f"  {reason}", f"-{count:,}"] for reason, count in report["removed"].items()]
    if report["corrections"]:
        rows += [["given another label by --corrections", f"{report['corrections']['rows_relabelled']:,}"]]
    rows += [[f"kept ({split})", f"{report['splits'][split]:,}"] for split in ("train", "test")]
    if report["previous"]:
        for split in ("train", "test"):
            kept, left = report["previous"][f"{split}_kept"], sum(report["previous"][f"{split}_left"].values())
            rows += [[f"  of {kept + left:,} earlier {split} rows, on the same side", f"{kept:,}"]]
    rows += [["classes", f"{sum(c['train'] > 0 for c in report['classes'].values()):,}"]]
    rows += [[f"kept that look private ({kind})", f"{n:,}"] for kind, n in report["looks_private"].items() if n]
    if (contrasts := report["differ_only_in"])["digits"] or contrasts["negation"]:
        rows += [[f"left, differing only in {kind}", f"{contrasts[kind]:,}"] for kind in ("digits", "negation")]
    merges = report["proposed_merges"]
    if merges["conflicting"]:
        top = merges["conflicting"][0]
        rows += [[f"most conflicts: {' / '.join(top['labels'])}", f"{top['conflicts']:,}"]]
    if merges["same_spelling"]:
        rows += [["groups of labels that look like one", f"{len(merges['same_spelling']):,}"]]
    rows += [["median length in words", f"{report['text_lengths']['words']['kept']['percentiles']['50']:,}"]]
    seconds = sum(report["seconds"].values())
    rows += [["rows a second", f"{report['rows_in'] / max(seconds, 1e-3):,.0f}"]]
    _show("prepare", ["", "rows"], rows)


def estimate_table(command: str, counts: dict[str, Any], metrics: dict[str, float]) -> None:
    """What a dry run predicts: rows and tokens, then seconds by stage, memory, GPU-hours and cost."""
    rows = [[name, f"{count:,}"] for name, count in _flat_counts(counts)]
    if "share_truncated" in metrics:
        rows += [["rows cut at --max-length", f"{metrics['share_truncated']:.2%}"]]
        rows += [["  tokens lost by that", f"{metrics['share_tokens_cut']:.2%}"]]
    prefix = "predicted_seconds_"
    rows += [
        [f"{name.removeprefix(prefix)} (s)", f"{s:,.1f}"] for name, s in metrics.items() if name.startswith(prefix)
    ]
    rows += [["all (s)", f"{metrics['predicted_seconds']:,.1f}"]]
    rows += [["peak memory (MiB)", f"{metrics['peak_memory_mib']:,.0f}"]]
    if "gpu_memory_mib" in metrics:
        rows += [["peak memory of a GPU (MiB)", f"{metrics['gpu_memory_mib']:,.0f}"]]
    rows += [["GPU-hours", f"{metrics['gpu_hours']:,.2f}"]]
    rows += [["cost", f"{metrics['cost']:,.2f}"]] if "cost" in metrics else []
    _show(f"{command} --dry-run", ["", "predicted"], rows)


def _flat_counts(counts: dict[str, Any], prefix: str = "") -> list[tuple[str, int]]:
    """The counts of all depths, each under the names that lead to it."""
    found: list[tuple[str, int]] = []
    for name, value in counts.items():
        label = f"{prefix}{name}".replace("_", " ")
        found += _flat_counts(value, f"{label}: ") if isinstance(value, dict) else [(label, value)]
    return found


def forecast_table(forecasts: dict[str, dict[str, float]]) -> None:
    """What long stages predicted of themselves after their first part, beside what they took."""
    rows = [
        [stage, f"{s['predicted']:,.1f}", f"{s['took']:,.1f}", f"{s['predicted'] / max(s['took'], 1e-3):.2f}"]
        for stage, s in forecasts.items()
    ]
    if rows:
        _show("seconds by stage", ["", "predicted", "took", "ratio"], rows)


def explore_table(report: dict[str, Any]) -> None:
    """What each threshold would remove."""
    columns = ["threshold", "near", "share", "another label", "only digits", "only negation", "exact", "kept"]
    rows = [
        [
            f"{entry['threshold']:.2f}",
            f"{entry['removed']:,}",
            f"{entry['share']:.1%}",
            f"{entry['label_disagreements']:,}",
            *(f"{entry['differ_only_in'][kind]:,}" for kind in ("digits", "negation")),
            f"{entry['exact_duplicates']:,}",
            f"{entry['kept']:,}",
        ]
        for entry in report["thresholds"]
    ]
    _show(f"{report['rows']:,} rows: near-duplicates that leave, then exact ones", columns, rows)


def scores_table(metrics: dict[str, Any]) -> None:
    """Model and baselines, each number with its 95 % interval; as your traffic too; and what else the model's say."""
    keys = ["top1", "top2", "top3", "macro_f1"]
    parts = {f"{metrics['rows']:,} test rows (95 % intervals)": metrics}
    if metrics["traffic"] is not None:
        parts["the same as your traffic: each row as often as the source had it"] = metrics["traffic"]
    for title, part in parts.items():
        columns = {"model": part["model"], **part["baselines"]}
        rows = [[key, *(_cell(scores[key]) for scores in columns.values())] for key in keys]
        _show(title, ["", *columns], rows)
    _show("model", ["", "value", "rows"], [*_further(metrics), *_comparisons(metrics)])


def audit_table(report: dict[str, Any]) -> None:
    """What was judged, how many labels are suspect, and the most frequent pairs of labels."""
    counts = report["counts"]
    right = counts["judged"] - counts["suspects"]
    rows = [
        ["judged", f"{counts['judged']:,}", ""],
        ["cannot be judged", f"{counts['rows'] - counts['judged']:,}", ""],
        ["given the label by the baseline too", f"{right:,}", _cell(report["accuracy"])],
        ["  by always the largest class", "", _cell(report["majority_accuracy"])],
        ["suspects", f"{counts['suspects']:,}", ""],
        ["  of these confident", f"{counts['confident_suspects']:,}", _cell(report["confident_share"])],
    ]
    rows += [[f"  {p['label']} / {p['suggested_label']}", f"{p['rows']:,}", ""] for p in report["pairs"][:PAIRS]]
    _show("audit", ["", "rows", "share (95 % interval)"], rows)


def _further(metrics: dict[str, Any]) -> list[list[str]]:
    """The model's other numbers."""
    model, calibration = metrics["model"], metrics["calibration"]
    shown = {"top1", "top2", "top3", "accuracy", "macro_f1"}
    rows = [[name, _cell(estimate), ""] for name, estimate in model.items() if name not in shown]
    if calibration["temperature"] != 1:
        rows.append([f"ece before temperature {calibration['temperature']:.3f}", _cell(calibration["ece_before"]), ""])
    for part in metrics["coverage"]:
        rows.append([f"top1 at confidence >= {part['confidence']:g}", _cell(part["accuracy"]), f"{part['rows']:,}"])
    if (near := metrics["near_copies"]) is not None:
        for part in ("with", "without"):
            title = f"top1 {part} a near-copy (cosine >= {near['threshold']:g})"
            rows.append([title, _cell(near[part]["model"]), f"{near[part]['rows']:,}"])
    cut = metrics["truncation"]["cut"]["rows"]
    for part, said in {"cut": "cut at --max-length", "uncut": "not cut"}.items() if cut else ():
        found = metrics["truncation"][part]
        rows.append([f"top1 of texts {said}", _cell(found["model"]), f"{found['rows']:,}"])
    return rows


def _comparisons(metrics: dict[str, Any]) -> list[list[str]]:
    """Paired differences of accuracy."""
    others = {name: scores["model_less_it"] for name, scores in metrics["baselines"].items()}
    if metrics["compared"] is not None:
        others[metrics["compared"]["with"]] = metrics["compared"]["model_less_it"]
    return [[f"top1, difference to {name}", _cell(estimate, "+.3f"), ""] for name, estimate in others.items()]


def _cell(estimate: dict[str, Any], form: str = ".3f") -> str:
    if estimate["value"] is None:  # no row has a label that the model knows, or there is no such row
        return "n/a"
    return f"{estimate['value']:{form}} [{estimate['low']:{form}}, {estimate['high']:{form}}]"


def checks_table(checks: list[tuple[str, str, str]]) -> None:
    """What the doctor found: check, verdict, finding."""
    _show("doctor", ["check", "verdict", "finding"], [list(check) for check in checks], numbers=False)


def ranked(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """The trials of sweep.json, best first, those without a score last."""
    return sorted(sweep["trials"], key=lambda trial: -trial["best"]["macro_f1"] if trial["best"] else 1.0)


def sweep_table(sweep: dict[str, Any]) -> None:
    """The trials, best first."""
    rows = [
        [
            f"{trial['number']}",
            f"{trial['learning_rate']:.3g}",
            f"{trial['epochs']:g}",
            f"{best['macro_f1']:.3f} [{best['macro_f1_low']:.3f}, {best['macro_f1_high']:.3f}]" if best else "n/a",
            f"{best['epoch']:.2f}" if best else "",
            trial["status"],
        ]
        for trial in ranked(sweep)
        for best in [trial["best"]]
    ]
    _show("sweep: on validation rows", ["trial", "rate", "epochs", "macro-F1", "at epoch", "ended"], rows)
