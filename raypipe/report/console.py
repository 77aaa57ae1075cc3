"""Results as tables in the terminal, on standard error."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 110  # columns that the widest table needs, also where standard error is a file


def _show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(stderr=True)
    console.width = max(console.width, WIDTH)
    console.print(table)


def prepare_table(report: dict[str, Any]) -> None:
    """Rows in, removed by reason, and kept."""
    rows = [["rows in", f"{report['rows_in']:,}"]]
    rows += [[f"  {reason}", f"-{count:,}"] for reason, count in report["removed"].items()]
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


def explore_table(report: dict[str, Any]) -> None:
    """What each threshold would remove."""
    columns = ["threshold", "removed", "share", "another label", "only digits differ", "only negation differs", "kept"]
    rows = [
        [
            f"{entry['threshold']:.2f}",
            f"{entry['removed']:,}",
            f"{entry['share']:.1%}",
            f"{entry['label_disagreements']:,}",
            *(f"{entry['differ_only_in'][kind]:,}" for kind in ("digits", "negation")),
            f"{entry['kept']:,}",
        ]
        for entry in report["thresholds"]
    ]
    exact = report["thresholds"][-1]["exact_duplicates"]
    _show(f"{report['rows']:,} rows; {exact:,} exact duplicates at 1.00 are apart", columns, rows)


def scores_table(metrics: dict[str, Any]) -> None:
    """Model and baselines, each number with its 95 % interval."""

    def cell(scores: dict[str, Any], key: str) -> str:
        if key not in scores:
            return ""
        e = scores[key]
        if e["value"] is None:  # no row has a label that the model knows
            return "n/a"
        return f"{e['value']:.3f} [{e['low']:.3f}, {e['high']:.3f}]"

    keys = ["top1", "top2", "top3", "macro_f1"]
    rows = [
        [name, *(cell(scores, key) for key in keys)]
        for name, scores in {"model": metrics["model"], **metrics["baselines"]}.items()
    ]
    _show(f"{metrics['rows']:,} test rows (95 % intervals)", ["", *keys], rows)


def checks_table(checks: list[tuple[str, str, str]]) -> None:
    """What the doctor found: check, verdict, finding."""
    _show("doctor", ["check", "verdict", "finding"], [list(check) for check in checks])
