"""What the scripts on accuracy share: labelled sets with a test part, and a fine-tune that needs no Ray."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import corpus
import numpy as np
import pandas as pd
import sklearn_script
import torch
from sklearn.model_selection import train_test_split

from raypipe.config import CPU_TOKEN_BUDGET, TrainConfig
from raypipe.demo import encoder_path
from raypipe.evaluate import precision
from raypipe.evaluate.actors import CPU_TOKENS, Actors
from raypipe.hub import Source
from raypipe.schema import LABEL, TEXT
from raypipe.tokens import Secret
from raypipe.train import finetune, loop, modeling
from raypipe.train.devices import has_fast_bf16
from raypipe.train.job import TrainJob
from raypipe.train.recipe import Recipe, recipe_for

TEST_SHARE, SPLIT_SEED = 0.2, 42
CORPUS_ROWS, CORPUS_WORDS, CORPUS_CLASS_ROWS = 8_000, (20, 60), 100  # of the docstrings
MAX_LENGTH, SCORE_TOKENS = 128, 4_096  # tokens of a text; of a forward pass


@dataclass(frozen=True)
class Labelled:
    """A set in two parts; labels are numbers of ``names``."""

    name: str
    names: list[str]
    train_text: list[str]
    train_label: np.ndarray  # (rows,) int64
    test_text: list[str]
    test_label: np.ndarray  # (rows,) int64


class Fit(NamedTuple):
    """A model on the test rows, and how its training went."""

    correct: np.ndarray  # (rows,) bool
    outcome: dict[str, Any]
    changed_by_bf16: int | None  # test rows with another first label in bfloat16; None where the CPU lacks it


def load(name: str, data: Path) -> Labelled:
    """banking77 with its own split; hwu64 and docstrings of installed packages with a stratified fifth as test."""
    if name == "banking77":
        frames = [pd.read_csv(data / name / f"{part}.csv", keep_default_na=False) for part in ("train", "test")]
        train, test = (list(zip(frame["text"], frame["category"], strict=True)) for frame in frames)
    else:
        rows = _docstrings() if name == "docstrings" else _jsonl(data / name / "raw.jsonl")
        train, test = train_test_split(
            rows, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=[label for _, label in rows]
        )
    names = sorted({label for _, label in train})
    code = {label: number for number, label in enumerate(names)}
    parts = [([text for text, _ in part], np.array([code[label] for _, label in part])) for part in (train, test)]
    return Labelled(name, names, *parts[0], *parts[1])


def _jsonl(path: Path) -> list[tuple[str, str]]:
    return [(row.text, row.label) for row in sklearn_script.read(str(path), TEXT, LABEL)]


def _docstrings() -> list[tuple[str, str]]:
    """Texts of the packages that have enough of them."""
    texts = corpus.load(None, *CORPUS_WORDS)[: 3 * CORPUS_ROWS]
    sizes = pd.Series([t.label for t in texts]).value_counts()
    frequent = set(sizes.index[sizes >= CORPUS_CLASS_ROWS])
    return [(t.text, t.label) for t in texts if t.label in frequent][:CORPUS_ROWS]


def small_recipe(**flags: Any) -> Recipe:
    """The defaults for a model of MiniLM's size."""
    return recipe_for(22_700_000, TrainConfig(input_hf_dataset="any", **flags))


def fine_tune(texts: Sequence[str], labels: np.ndarray, data: Labelled, recipe: Recipe, seed: int, threads: int) -> Fit:
    """MiniLM on these rows as `raypipe train` does it, validation share included, and its answers on the test rows."""
    model = Source(encoder_path())
    config = TrainConfig(input_hf_dataset="any", seed=seed)
    frame = pd.DataFrame({TEXT: list(texts), LABEL: [data.names[number] for number in labels]})
    tokenizer = modeling.load_tokenizer(model, None)
    tables = [
        modeling.encode_table(
            tokenizer, part[TEXT].to_list(), MAX_LENGTH, "head",
            label=pd.Categorical(part[LABEL], categories=data.names).codes.astype(np.int64),
        )
        for part in finetune.hold_out(frame, data.names, config)
    ]  # fmt: skip
    job = TrainJob(
        model=model,
        labels=data.names,
        recipe=recipe,
        seed=seed,
        use_cpu=True,
        precision="auto",
        threads=threads,
        forecast_limit_s=None,
        early_stopping_patience=None,
        hf_token=Secret(None),
        wandb_key=Secret(None),
        run_name="benchmark",
        tracked_config={},
        token_budget=CPU_TOKEN_BUDGET,
        truncation="head",
        max_length=MAX_LENGTH,
        balanced_classes=False,
        checkpoint_minutes=60.0,
        attention="auto",
        most_workers=1,
    )
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
        outcome = loop.fine_tune(job, *tables, folder, scratch)
        trained = Source(f"{folder}/model")
        best = rank(trained, data.test_text)
        changed = _changed_by_bf16(trained, data.test_text, threads) if has_fast_bf16(use_cpu=True) else None
    return Fit(best == data.test_label, outcome, changed)


def _changed_by_bf16(model: Source, texts: list[str], threads: int) -> int:
    """Texts whose first label is another one when the actors of raypipe score in bfloat16 instead of float32."""
    actor = Actors(1, False, threads, CPU_TOKENS, num_cpus=0, tokenisers=0)
    return precision.measure(texts, model, Secret(None), model.name, MAX_LENGTH, "bf16", actor)[0]


def rank(model: Source, texts: list[str]) -> np.ndarray:
    """The best label of each text, float32  # (rows,) int64."""
    classifier, tokenizer = modeling.load_classifier(model, None), modeling.load_tokenizer(model, None)
    ids, _ = modeling.encode(tokenizer, texts, MAX_LENGTH)
    order = np.argsort([-len(row) for row in ids], kind="stable")
    best = np.empty(len(ids), np.int64)
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, SCORE_TOKENS // len(ids[order[start]]))]
        padded = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
        with torch.inference_mode():
            best[rows] = classifier(**padded).logits.argmax(-1).numpy()
        start += len(rows)
    return best
