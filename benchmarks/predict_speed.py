"""Rows a second through the predictor, beside the pipeline of transformers, with equal threads.

    python benchmarks/predict_speed.py [--rows 30000] [--rounds 3] [--threads 2] [--sets short long]

MiniLM under a random head of 77 classes. Sides: transformers' pipeline("text-classification", batch_size=64) in the
order of the input and sorted by length, in float32 and bfloat16; raypipe's own stages called one after the other
without Ray (tokenising, forward pass, lines); and through Ray. There the clock runs from the moment at which as many
blocks have come back as there are actors, over the rows that are left, so that the start of Ray and of the actors is
aside. Sets: first sentences of docstrings, about as long as the questions of banking77, and texts of 30 to 150 words.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import pyarrow as pa
from classifiers import pool, write_minilm
from common import alternate, parser_for, report
from results_file import save

BATCH = 64  # of the pipeline
MAX_LENGTH = 512


def pipelined(model: str, texts: list[str], precision: str, is_sorted: bool, found: dict[str, Any]) -> Any:
    """A run of transformers' pipeline; it keeps the first labels in ``found``."""
    import torch
    from transformers import pipeline

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    classify = pipeline("text-classification", model=model, dtype=dtype, device="cpu", top_k=3)
    classify(texts[:BATCH], batch_size=BATCH, truncation=True, max_length=MAX_LENGTH)

    def run() -> None:
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row])) if is_sorted else range(len(texts))
        answers = classify([texts[r] for r in order], batch_size=BATCH, truncation=True, max_length=MAX_LENGTH)
        labels = [""] * len(texts)
        for row, answer in zip(order, answers, strict=True):
            labels[row] = answer[0]["label"]
        found[f"pipeline {precision}"] = labels

    return run


def bare(model: str, texts: list[str], precision: str, threads: int, found: dict[str, Any]) -> Any:
    """The code of the stages without Ray, block after block; it keeps the numbers of the first labels."""
    from raypipe.evaluate import blocks
    from raypipe.evaluate.predictor import Predictor
    from raypipe.evaluate.tokenising import tokenise
    from raypipe.hub import Source
    from raypipe.tokens import Secret

    actors = pool(len(texts))
    source, none = Source(model), Secret(None)
    predictor = Predictor(source, none, precision, False, threads, actors.tokens, 3, None, False)
    size = blocks.sizes(len(texts), 16_384)
    tables = [table_of(texts, start, size) for start in range(0, len(texts), size)]
    predictor(tokenise(tables[0].slice(0, BATCH), source, none, "", MAX_LENGTH))

    def run() -> None:
        done = [predictor(tokenise(table, source, none, "", MAX_LENGTH)) for table in tables]
        best = [pa.concat_arrays(table["best"].chunks).flatten().to_numpy().reshape(-1, 3) for table in done]
        found[f"bare {precision}"] = np.concatenate(best)[:, 0]

    return run


def through_ray(model: str, texts: list[str], precision: str, found: dict[str, Any]) -> Any:
    """A run of raypipe's own path; returns the seconds that all rows would take at the pace after the start."""
    import ray

    from raypipe.config import PredictConfig
    from raypipe.evaluate import blocks
    from raypipe.evaluate.blocks import Block
    from raypipe.evaluate.scoring import Scorer
    from raypipe.hub import Source

    actors = pool(len(texts))
    size = min(blocks.sizes(len(texts), 16_384), max(1, len(texts) // 10))  # several blocks also in a trial
    tables = [table_of(texts, start, size) for start in range(0, len(texts), size)]
    made = [Block(ray.put(table), len(table)) for table in tables]
    config = PredictConfig(model=model, max_length=MAX_LENGTH)
    scorer = Scorer(Source(model), None, "", config, actors, precision, False)

    def run() -> float:
        times: list[float] = []
        scored = scorer.score(made, lambda *_: times.append(time.perf_counter()))
        found[f"ray {precision}"] = scored.best[:, 0]
        left = sum(block.rows for block in made[actors.count :])
        return (times[-1] - times[actors.count - 1]) * len(texts) / left

    return run


def table_of(texts: list[str], start: int, size: int) -> pa.Table:
    part = texts[start : start + size]
    ids = [f"f:{start + n}" for n in range(len(part))]
    columns = {"id": ids, "text": part, "label": [None] * len(part)}
    return pa.table({name: pa.array(values, pa.large_string()) for name, values in columns.items()})


def measure(model: str, name: str, texts: list[str], rounds: int, threads: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    runs = {}
    for precision in ("fp32", "bf16"):
        runs |= {
            f"pipeline {precision}": pipelined(model, texts, precision, False, found),
            f"sorted pipeline {precision}": pipelined(model, texts, precision, True, found),
            f"bare {precision}": bare(model, texts, precision, threads, found),
            f"ray {precision}": through_ray(model, texts, precision, found),
        }
    seconds = alternate(runs, rounds, slow_s=float("inf"))
    pace = {side: round(len(texts) / timed["seconds"], 1) for side, timed in seconds.items()}
    pipelined_labels = np.array([int(label.split()[-1]) for label in found["pipeline fp32"]])
    return {
        "set": name,
        "data": corpus.describe([corpus.Text(text, "", len(text.split())) for text in texts]),
        "seconds": seconds,
        "rows_a_second": pace,
        "ratios": {
            f"{ours} {precision} / {theirs} {precision}": round(
                pace[f"{ours} {precision}"] / pace[f"{theirs} {precision}"], 3
            )
            for precision in ("fp32", "bf16")
            for ours, theirs in (("ray", "pipeline"), ("ray", "sorted pipeline"), ("ray", "bare"))
        }
        | {"ray bf16 / pipeline fp32": round(pace["ray bf16"] / pace["pipeline fp32"], 3)},
        "changed_first_labels": {
            "ray fp32 against pipeline fp32": round(float((found["ray fp32"] != pipelined_labels).mean()), 6),
            "ray fp32 against bare fp32": round(float((found["ray fp32"] != found["bare fp32"]).mean()), 6),
            "ray bf16 against ray fp32": round(float((found["ray bf16"] != found["ray fp32"]).mean()), 6),
        },
    }


def main() -> None:
    parser = parser_for(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--threads", type=int, default=2, help="of every side; through Ray as many CPUs")
    parser.add_argument("--sets", nargs="+", choices=("short", "long"), default=["short", "long"])
    options = parser.parse_args()
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    import ray
    import torch
    from transformers.utils import logging

    from raypipe.runtime import quiet_data

    logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    ray.init(address="local", num_cpus=options.threads, include_dashboard=False, logging_level="WARNING")
    quiet_data()
    sets = {"short": corpus.first_sentences, "long": lambda rows: corpus.load(rows, 30, 150)}
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        model = write_minilm(Path(scratch) / "model")
        for name in options.sets:
            texts = [entry.text for entry in sets[name](options.rows)]
            found.append(measure(model, name, texts, options.rounds, options.threads))
            report(found[-1])
    ray.shutdown()
    save(options.name or "predict-speed", {"threads": options.threads, "pipeline_batch_size": BATCH, "sets": found})


if __name__ == "__main__":
    main()
