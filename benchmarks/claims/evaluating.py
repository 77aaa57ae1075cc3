"""Claims on `raypipe evaluate`, `predict` and `audit`, and on what cleaning does to scores."""

from collections.abc import Callable

from claims.claim import Claim, Read, Result, Table, at, counted, estimate, faster, texts

SHORT = {"set": "short"}
MODELS = {"tfidf": "TF-IDF + logistic regression", "minilm": "MiniLM, two epochs"}
CLEANED = ("banking77", "hwu64", "docstrings")


def times(ours: str, theirs: str) -> Read:
    return at("sets", SHORT, "ratios", f"{ours} / {theirs}")


def wrong_rows(result: Result) -> int:
    """Rows lost, doubled or with another first label, and cases out of order."""
    rows = max(case["rows"] for case in result["cases"])
    return sum(
        case["other_first_labels"] + abs(rows - case["rows"]) + (not case["each_once_in_order"])
        for case in result["cases"]
    )


def growth(who: str) -> Read:
    """Memory at most after the first tenth of the rows, over that at its end."""
    return lambda r: r[who]["most_after"] / r[who]["after_a_tenth"] - 1


def growth_while_scoring(result: Result) -> float:
    """The same of the driver until the last block came back; the scores are judged after that."""
    blocks = max(sample["blocks"] for sample in result["samples"])
    scoring = [sample["driver"] for sample in result["samples"] if 0 < sample["blocks"] < blocks]
    return max(scoring) / result["driver"]["after_a_tenth"] - 1


def least_share(name: str) -> Read:
    """Of the runs with labels replaced at random the share found in the one that found least."""

    def read(result: Result) -> dict[str, float]:
        runs = at("sets", {"set": name}, "runs")(result)
        shares = [run["share_in_top_tenth"] for run in runs if run["wrong_labels"] == "uniform"]
        return min(shares, key=lambda share: share["value"])

    return read


def bootstrap(pick: Callable[..., float]) -> Read:
    return lambda r: pick(held for scores in r["bootstrap"].values() for held in scores.values())


def cleaning(model: str, name: str) -> Table:
    """What cleaning a set at 0.8 changes, on test rows that are new to every model."""
    found = ("sets", name, model, "without_near_copy")
    return Table(
        f"Does cleaning pay? {MODELS[model]}, {name}",
        "cleaning_pays",
        f"cleaning-pays-{model}",
        lambda r: (
            f"{r['sets'][name]['test_rows']['without_near_copy']:,} test rows of {name} without a near-copy in train"
        ),
        (
            estimate("accuracy, trained on all raw rows", at(*found, "raw", "top1")),
            estimate("trained on cleaned rows, less that", at(*found, "cleaned_0.8", "less_raw"), "+.3f"),
            estimate(
                "trained on cleaned rows, less as many random rows", at(*found, "cleaned_0.8", "less_random"), "+.3f"
            ),
        ),
    )


PARITY = Table(
    "Predictions are those of a plain loop",
    "predict_parity",
    "predict-parity",
    lambda r: f"{texts(r['data'])}, {len(r['cases'])} cases, float32",
    (
        Claim("rows lost, doubled, out of order or with another first label", wrong_rows, "d", at_most=0),
        Claim(
            "largest difference of a score",
            lambda r: max(case["largest_score_difference"] for case in r["cases"]),
            ".1e",
            at_most=1e-4,
        ),
        Claim("cases with an actor killed", lambda r: sum(case["killed"] for case in r["cases"]), "d", at_least=1),
        Claim("fewest rows of a case", lambda r: min(case["rows"] for case in r["cases"]), ",d", at_least=10_000),
    ),
)

SPEED = Table(
    "Rows a second through the predictor",
    "predict_speed",
    "predict-speed",
    lambda r: "; ".join(texts(one["data"]) for one in r["sets"]) + f"; MiniLM, {r['threads']} threads",
    (
        faster("float32: times transformers' pipeline", times("ray fp32", "pipeline fp32"), at_least=2),
        faster(
            "float32: the same with rows sorted by length",
            times("ray fp32", "sorted pipeline fp32"),
            at_least=1.5,
        ),
        faster("bfloat16: times transformers' pipeline", times("ray bf16", "pipeline bf16"), at_least=2),
        faster(
            "bfloat16: the same with rows sorted by length",
            times("ray bf16", "sorted pipeline bf16"),
            at_least=1.5,
        ),
        faster("float32: times the same stages without Ray", times("ray fp32", "bare fp32"), at_least=0.95),
        faster(
            "bfloat16: times the same stages without Ray",
            times("ray bf16", "bare bf16"),
            at_least=0.95,
        ),
        Claim(
            "first labels that bfloat16 leaves as float32 has them (a random head)",
            lambda r: 1 - at("sets", SHORT, "changed_first_labels", "ray bf16 against ray fp32")(r),
            ".1%",
            at_least=0.995,
        ),
        Claim("float32: rows a second", at("sets", SHORT, "rows_a_second", "ray fp32"), ",.0f"),
        Claim("bfloat16: rows a second", at("sets", SHORT, "rows_a_second", "ray bf16"), ",.0f"),
    ),
)

MEMORY = Table(
    "Memory while a million rows are scored",
    "predict_memory",
    "predict-memory",
    lambda r: f"{r['data']['rows']:,} {r['data']['source']}, {r['data']['classes']} classes, a small random model",
    (
        Claim("actor: growth after the first tenth of the rows", growth("actor"), ".1%", at_most=0.1),
        Claim("driver: growth after it, until all rows are scored", growth_while_scoring, ".1%", at_most=0.1),
        Claim("driver: growth after it, with the judging of the scores", growth("driver"), ".1%", at_most=0.1),
    ),
    remark='The target is "flat"; it is read as a tenth.',
)

COVERAGE = Table(
    "How often 95 % intervals hold the truth",
    "interval_coverage",
    "interval-coverage",
    lambda r: f"drawn sets; Wilson 10,000 for each of 46 shares, {r['repetitions']} for the others",
    (
        Claim("Wilson, 1,000 rows, shares from 0.5 to 0.95", at("wilson"), ".1%", at_least=0.945, at_most=0.955),
        Claim("bootstrap of macro-F1, weighted F1 and MCC: least", bootstrap(min), ".1%"),
        Claim("bootstrap of macro-F1, weighted F1 and MCC: most", bootstrap(max), ".1%"),
        Claim(
            "bootstrap of the calibration error: least",
            lambda r: min(one["held"] for one in r["calibration_error"].values()),
            ".1%",
        ),
    ),
)

AUDIT = Table(
    "Wrong labels found by the audit",
    "audit",
    "audit",
    lambda r: counted({one["set"]: one["rows"] for one in r["sets"]}) + ", 5 % of the labels replaced at random",
    tuple(
        estimate(f"{name}: in the most suspect tenth, least of the seeds", least_share(name), ".1%", at_least=0.9)
        for name in ("banking77", "hwu64")
    ),
)

NEAR_COPIES = Table(
    "Near-copies between train and test",
    "near_copies",
    "near-copies-banking77",
    lambda r: f"{r['dataset']}, its own split, {r['rows']['all']:,} test rows; TF-IDF + logistic regression",
    (
        Claim("test rows with a near-copy in train", at("rows", "with"), ",d"),
        estimate("top-1 on all test rows", at("tfidf_logreg_top1", "all")),
        estimate("top-1 on those with a near-copy", at("tfidf_logreg_top1", "with")),
        estimate("top-1 on the others", at("tfidf_logreg_top1", "without")),
    ),
)

CLEANING = tuple(cleaning(model, name) for model in MODELS for name in CLEANED)

TABLES = (PARITY, SPEED, MEMORY, COVERAGE, AUDIT, NEAR_COPIES, *CLEANING)
