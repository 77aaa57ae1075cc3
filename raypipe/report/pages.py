"""One self-contained HTML page for each stage; every text is escaped."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.provenance import command_line
from raypipe.report import hints, plots, score_plots
from raypipe.report.console import ranked
from raypipe.report.hints import Story

CLASSES_DRAWN = 30  # classes from which on a plot of all sizes stands above the table with its bars
CONFLICTS_DRAWN = 4  # pairs of labels from which on a heat map says more than the table
SUSPECTS_SHOWN = 100  # most suspect rows of an audit, with their texts
FILES_SHOWN = 50  # input files, those with the most unusable rows first
PAIRS_SHOWN = 25  # most frequent errors, as a list below the heat map

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, escaped: bool = True, **values: Any) -> str:
    """A template filled in; for a page (``escaped``) with everything escaped that is not markup of our own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)


def prepare_page(report: dict[str, Any], examples: dict[str, Any], card: str) -> str:
    """The page of a prepare report; ``examples`` holds rows with texts, which the report does not."""
    classes = dict(sorted(report["classes"].items(), key=lambda item: (-item[1]["in"], item[0])))
    conflicts = [(*p["labels"], p["conflicts"]) for p in report["proposed_merges"]["conflicting"]]
    files = sorted(report["files"].items(), key=lambda item: -item[1]["unusable"])
    return render(
        "prepare.html",
        title="prepare",
        report=report,
        command=report["command"],
        private=_private_rows(report),
        reasons=plots.bars(report["removed"], "rows removed") if report["removed"] else None,
        sizes=plots.class_sizes([c["in"] for c in classes.values()], [c["train"] + c["test"] for c in classes.values()])
        if len(classes) >= CLASSES_DRAWN
        else None,
        classes=classes,
        files=files[:FILES_SHOWN],
        largest=max((c["in"] for c in classes.values()), default=1),
        conflicts=plots.conflicts(conflicts) if len(conflicts) >= CONFLICTS_DRAWN else None,
        lengths={
            unit: plots.histogram(found["edges"], found["in"]["histogram"], found["kept"]["histogram"], unit)
            for unit, found in report["text_lengths"].items()
        },
        card=card,
        **examples,
    )


def with_push(page: str, published: dict[str, Any]) -> str:
    """The page of a prepare report with its push recorded; its texts are nowhere else any more."""
    line = render("published.html", published=published)
    return re.sub(r'<p id="published">.*?</p>\n', lambda _: line, page, count=1, flags=re.DOTALL)


def explore_page(report: dict[str, Any]) -> str:
    """The page of prepare --explore."""
    drawn = plots.thresholds(report["thresholds"])
    return render("explore.html", title="prepare --explore", report=report, command=command_line(), drawn=drawn)


def _private_rows(report: dict[str, Any]) -> list[str]:
    """For each kind the rows, and the ids of the first of them."""
    found = []
    for kind, rows in report["looks_private"].items():
        examples = ", ".join(report["looks_private_examples"][kind])
        found.append(f"{kind} {rows:,}" + (f" (such as {examples})" if examples else ""))
    return found


def train_page(run: dict[str, Any], metrics: dict[str, Any], history: list[dict[str, float]]) -> str:
    """The page of a training run; ``history`` holds what the trainer logged, by step."""
    return render(
        "train.html",
        title="train",
        run=run,
        metrics=metrics,
        command=command_line(),
        curves=_curves(history),
        headline=score_plots.intervals({"test": _headline(metrics)}, "share"),
    )


def _curves(history: list[dict[str, float]]) -> dict[str, Any]:
    """The plots of a training: loss, validation scores with their intervals, learning rate, speed."""

    def points(key: str) -> list[plots.Point]:
        found = [(entry["step"], entry[key], entry) for entry in history if key in entry]
        return [(step, y, entry.get(f"{key}_low", y), entry.get(f"{key}_high", y)) for step, y, entry in found]

    losses = {"training": points("loss"), "validation": points("eval_loss")}
    scores = {"accuracy": points("eval_accuracy"), "macro-F1": points("eval_macro_f1")}
    kept = max(scores["macro-F1"], key=lambda point: point[1], default=(None,))[0]
    return {
        "loss": plots.curve(losses, "step", "loss"),
        "scores": plots.curve(scores, "step", "share of validation", kept),
        "rate": plots.curve({"learning rate": points("learning_rate")}, "step", "learning rate"),
        "speed": plots.curve({"tokens a second": points("tokens_per_second")}, "step", "tokens a second"),
    }


def sweep_page(sweep: dict[str, Any]) -> str:
    """The page of a sweep, from what sweep.json holds."""
    scored = [trial for trial in sweep["trials"] if trial["best"]]
    return render(
        "sweep.html",
        title="sweep",
        sweep=sweep,
        ranked=ranked(sweep),
        rates=plots.rates(
            [
                (t["learning_rate"], *(t["best"][part] for part in ("macro_f1", "macro_f1_low", "macro_f1_high")))
                for t in scored
            ]
        ),
        curves=plots.many_curves(
            {
                f"{t['number']}: {t['learning_rate']:.3g}": [(seen["epoch"], seen["macro_f1"]) for seen in t["history"]]
                for t in scored
            }
        ),
        command=command_line(),
    )


def evaluate_page(metrics: dict[str, Any], details: dict[str, Any]) -> str:
    """The page of an evaluation; ``details`` holds arrays and rows that the metrics file does not.

    They are ``confidence`` and ``correct``  # (rows,), the ``labels``, and the hardest ``errors`` with their texts.
    """
    matrix, labels = np.asarray(metrics["confusion"]), details["labels"]
    confidence, correct, calibration = details["confidence"], details["correct"], metrics["calibration"]
    reliability = {"before": calibration["reliability_before"], "after": calibration["reliability_after"]}
    if calibration["temperature"] == 1:
        del reliability["before"]
    weightings = {"as prepared": metrics} | ({"as your traffic": metrics["traffic"]} if metrics["traffic"] else {})
    return render(
        "evaluate.html",
        title="evaluate",
        metrics=metrics,
        command=command_line(),
        headline=score_plots.intervals({name: _headline(scores) for name, scores in weightings.items()}, "share"),
        differences=_differences(metrics),
        reliability=score_plots.reliability(reliability),
        coverage=score_plots.coverage(confidence, correct),
        scores=score_plots.scores(confidence, correct),
        lengths=score_plots.lengths(metrics["lengths"]),
        confusion=score_plots.confusion(matrix, labels),
        confused_classes=score_plots.CONFUSED,
        pairs=[
            {"true": labels[true], "predicted": labels[wrong], "rows": rows, "share": rows / matrix[true].sum()}
            for true, wrong, rows in score_plots.confused_pairs(matrix, PAIRS_SHOWN)
        ],
        sorts=("label", "precision", "recall", "f1", "rows"),
        errors=details["errors"],
    )


def _headline(scores: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Accuracy and macro-F1 of the model and its baselines, where they are defined."""
    found = {}
    for name, own in {"model": scores["model"], **scores["baselines"]}.items():
        for key in ("top1", "macro_f1"):
            if own[key]["value"] is not None:
                found[f"{name} {key}"] = (own[key]["value"], own[key]["low"], own[key]["high"])
    return found


def _differences(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The model against each baseline, and against the evaluation of --compare-with."""
    found = [
        {"name": name, "top1": own["top1"], "less": own["model_less_it"], "p": own["mcnemar_p_against_model"]}
        for name, own in metrics["baselines"].items()
    ]
    if (other := metrics["compared"]) is not None:
        found.append(
            {"name": other["with"], "top1": other["top1"], "less": other["model_less_it"], "p": other["mcnemar_p"]}
        )
    return found


def audit_page(report: dict[str, Any], ranked: Any) -> str:
    """The page of an audit; ``ranked`` is the frame of all judged rows, with texts, most suspect first."""
    classes = sorted(report["classes"].items(), key=lambda item: (-item[1]["suspects"], item[0]))
    return render(
        "audit.html",
        title="audit",
        report=report,
        command=command_line(),
        margins=score_plots.margins(ranked["margin"].to_numpy()) if len(ranked) else None,
        classes=dict(classes),
        pairs=report["pairs"][:PAIRS_SHOWN],
        suspects=ranked[:SUSPECTS_SHOWN].to_dict("records"),
    )


def index_page(story: Story, links: dict[str, str], seconds: dict[str, float], command: str, toml: str) -> str:
    """The entrance of a whole run: what became of the rows, how training went, the scores, and what to look at next.

    ``links`` are the stages' pages, ``seconds`` their times; ``toml`` is the file that the run was made from.
    """
    prepared = story.prepared
    weightings = {"as prepared": story.metrics}
    if story.metrics["traffic"]:
        weightings["as your traffic"] = story.metrics["traffic"]
    return render(
        "index.html",
        title="run",
        links=links,
        prepared=prepared,
        flow=plots.flow(prepared["rows_in"], prepared["removed"], prepared["splits"]) if prepared else None,
        run=story.run,
        curves=_curves(story.history),
        metrics=story.metrics,
        headline=score_plots.intervals({name: _headline(scores) for name, scores in weightings.items()}, "share"),
        hints=hints.next_steps(story),
        seconds=seconds,
        command=command,
        toml=toml,
    )
