"""Claims on `raypipe train`."""

import statistics

from claims.claim import Claim, Read, Result, Table, at, estimate, faster

SETS = ("banking77", "hwu64")
GPU_TARGETS = {  # real tokens a second, times those of each
    "padded": ("every row padded to 512 tokens", 15.0),
    "stock": ("the best plain Trainer", 3.0),
    "stock_fused": ("the same with the fused kernel", 1.3),
}


def speed(name: str, key: str) -> Read:
    return at("sets", {"set": name}, key)


def padded_over_ours(name: str, to: int) -> Read:
    """Milliseconds per example of padding to a fixed length, over the median of ours."""

    def read(result: Result) -> float:
        measured = at("sets", {"set": name})(result)
        ours = statistics.median(measured["ms_per_example"]["raypipe"])
        return measured["recorded_ms_per_example"][f"padded to {to}"] / ours

    return read


def apart(name: str) -> Read:
    """The low end of the default recipe's interval less the high end of the baseline's."""

    def read(result: Result) -> float:
        measured = result["sets"][name]
        return measured["defaults"]["top1"]["low"] - measured["tfidf_logreg"]["high"]

    return read


def kept_by_bf16(name: str) -> Read:
    """Share of the test rows that keep their first label in bfloat16, least of the seeds."""

    def read(result: Result) -> float | None:
        measured = result["sets"][name]
        changed = measured["defaults"]["test_labels_changed_by_bf16"]
        return None if None in changed else 1 - max(changed) / measured["rows"]["test"]

    return read


def mfu(lengths: str) -> Read:
    runs = at("results", {"lengths": lengths}, "runs", "raypipe")
    return lambda r: statistics.median(run["mfu"] for run in runs(r))


def resumed(result: Result) -> int:
    """Kills after which the weights were those of the undisturbed run."""
    return sum(kill["sha256"] == result["sha256"] for kill in result["kills"])


def claims_on_speed(name: str) -> tuple[Claim, ...]:
    return (
        faster(
            "times as fast as the usual Ray recipe, per example",
            speed(name, "times_the_ray_recipe"),
            at_least=2 if name == "banking77" else None,
        ),
        faster(
            "times as fast as the best plain Trainer, per example",
            speed(name, "times_the_best_stock_trainer"),
            at_least=1.03,
        ),
        faster(
            "the same, per real token",
            speed(name, "times_the_best_stock_trainer_by_real_token"),
        ),
        faster("times as fast as rows padded to 512 tokens", padded_over_ours(name, 512), ".1f"),
        faster("times as fast as rows padded to 128 tokens", padded_over_ours(name, 128), ".1f"),
    )


def claims_on_defaults(name: str) -> tuple[Claim, ...]:
    return (
        estimate("top-1", at("sets", name, "defaults", "top1")),
        estimate("top-1 of TF-IDF + logistic regression", at("sets", name, "tfidf_logreg")),
        Claim("low end of the first less high end of the second", apart(name), "+.3f", at_least=0),
        Claim(
            "top-1 less that of the best of eight learning rates",
            at("sets", name, "defaults_less_sweep"),
            "+.4f",
            at_least=-0.005,
        ),
        Claim(
            "first labels that bfloat16 leaves as float32 has them, least of the seeds",
            kept_by_bf16(name),
            ".1%",
            at_least=0.995,
        ),
        estimate("top-1 after two epochs", at("sets", name, "two_epochs", "top1")),
    )


def claims_on_gpu(lengths: str) -> tuple[Claim, ...]:
    return tuple(
        faster(
            f"lengths of {lengths}: times the real tokens a second of {what}",
            at("results", {"lengths": lengths}, "raypipe_times", recipe),
            ".3g",
            at_least=target,
        )
        for recipe, (what, target) in GPU_TARGETS.items()
    )


KILLS = Table(
    "Killed and resumed, the same weights",
    "kills",
    "kills",
    lambda r: f"{r['data']['docstrings']:,} docstrings, one CPU worker, float32",
    (Claim("kills of worker or driver after which the weights had the same SHA-256", resumed, "d", at_least=20),),
)


def speed_table(name: str) -> Table:
    return Table(
        f"Seconds per example of the training loop, {name}",
        "train_speed",
        "train_speed",
        lambda r: f"{name}, MiniLM; {r['settings']['steps']} steps, {r['settings']['precision']}",
        claims_on_speed(name),
        "Padding to fixed lengths is one run, of a tenth of the steps.",
    )


OVERHEAD = Table(
    "What Ray Train costs",
    "ray_overhead",
    "ray_overhead",
    lambda r: f"{r['data']['rows']:,} rows of {r['data']['set']}, one epoch, {len(r['seconds'])} alternating pairs",
    (Claim("seconds over those of the same loop in a bare process", at("ray_train_times_bare"), ".3f", at_most=1.02),),
)


def defaults_table(name: str) -> Table:
    return Table(
        f"One set of defaults, {name}",
        "defaults",
        "defaults",
        lambda r: f"{name} ({r['sets'][name]['rows']['test']:,} test rows), {r['model']}",
        claims_on_defaults(name),
    )


OFFICIAL_SPLIT = Table(
    "banking77, its own split",
    "official_split",
    "official-split-banking77",
    lambda r: (
        f"{r['dataset']}: {r['rows']['test']:,} test rows; "
        f"{r['parameters'] / 1e6:.1f} M parameters, {r['recipe']['epochs']:g} epochs"
    ),
    (
        estimate(
            "top-1",
            lambda r: {
                name: r["metrics"][f"top1{end}"] for name, end in (("value", ""), ("low", "_low"), ("high", "_high"))
            },
        ),
        Claim("top-1 of TF-IDF + logistic regression", at("metrics", "tfidf_logreg_top1"), ".3f"),
        Claim("seconds of training", at("seconds", "train"), ",.0f", " s"),
    ),
)

GPU = Table(
    "DeBERTa-v3-base on one GPU",
    "gpu_train",
    "gpu_train",
    lambda r: f"{r['device']}, {r['settings']['precision']}; random rows with the lengths of banking77, and a long mix",
    (
        *(claim for lengths in ("banking77", "long") for claim in claims_on_gpu(lengths)),
        Claim("lengths of long: MFU", mfu("long"), ".2f", at_least=0.4),
    ),
)

TABLES = (KILLS, *map(speed_table, SETS), OVERHEAD, *map(defaults_table, SETS), OFFICIAL_SPLIT, GPU)
