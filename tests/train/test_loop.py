"""The fine-tune without Ray: against a plain Trainer, killed and resumed, on two workers, collapsing."""

import dataclasses
import hashlib
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import TOPICS, sentences
from transformers import EvalPrediction

from raypipe import ConfigError, StageError
from raypipe.hub import Source
from raypipe.tokens import Secret
from raypipe.train import loop, modeling
from raypipe.train.batching import TokenBatches
from raypipe.train.job import TrainJob
from raypipe.train.recipe import Recipe

LABELS = sorted(TOPICS)


def table(tokenizer, rows, seed=0):
    made = sentences(rows, seed)
    texts = [" ".join([row["text"]] * (1 + place % 5)) for place, row in enumerate(made)]
    return modeling.encode_table(
        tokenizer, texts, 128, "head", label=pa.array([LABELS.index(r["label"]) for r in made])
    )


@pytest.fixture(scope="module")
def data(tiny_model):
    tokenizer = modeling.load_tokenizer(Source(tiny_model), None)
    return table(tokenizer, 330), table(tokenizer, 60, seed=1)


def job(model, **changes):
    values = {
        "model": Source(model),
        "labels": LABELS,
        "recipe": Recipe(1e-3, 3, 16),
        "seed": 7,
        "use_cpu": True,
        "precision": "fp32",
        "threads": 1,
        "forecast_limit_s": None,
        "early_stopping_patience": None,
        "hf_token": Secret(None),
        "wandb_key": Secret(None),
        "run_name": "test",
        "tracked_config": {},
        "token_budget": 512,
        "truncation": "head",
        "max_length": 512,
        "balanced_classes": False,
        "checkpoint_minutes": 0.0,
        "attention": "auto",
        "most_workers": 1,
    }
    return TrainJob(**(values | changes))


@pytest.fixture(autouse=True)
def untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def weights(folder):
    return hashlib.sha256((Path(folder) / "model" / "model.safetensors").read_bytes()).hexdigest()


def train(work, folder, train_rows, validation, **more):
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    outcome = loop.fine_tune(work, train_rows, validation, str(folder / "out"), str(folder / "scratch"), **more)
    return outcome, weights(folder / "out")


def test_the_limit_is_for_a_training_that_begins_and_the_forecast_for_what_is_left(tiny_model, data, tmp_path):
    def report(folder):
        shutil.move(folder, tmp_path / "kept") if not (tmp_path / "kept").exists() else shutil.rmtree(folder)

    long = job(tiny_model, recipe=Recipe(1e-3, 4, 16))
    whole, _ = train(long, tmp_path / "whole", *data, report=report)
    limited = job(tiny_model, recipe=Recipe(1e-3, 4, 16), forecast_limit_s=0.001)
    with pytest.raises(ConfigError, match="would take about"):
        train(limited, tmp_path / "refused", *data)
    outcome, _ = train(limited, tmp_path / "resumed", *data, resume=str(tmp_path / "kept"))
    assert outcome["steps"] == whole["steps"]
    for ended in (whole, outcome):
        assert 0.2 < ended["predicted_s"] / ended["seconds"] < 5, "of the whole training, of which a part is done"


def losses(outcome):
    return {e["step"]: (e["loss"], e["grad_norm"]) for e in outcome["history"] if "loss" in e}


def test_killed_at_any_checkpoint_the_weights_are_those_of_the_undisturbed_run(tiny_model, data, tmp_path):
    """With dropout, so that the random states count; with patience, so that its counter does."""

    def report(folder):
        step = int(folder.rsplit("-", 1)[1])
        if kills and step >= kills[0]:
            kills.pop(0)
            shutil.move(folder, tmp_path / f"kept-{step}")
            raise InterruptedError
        shutil.rmtree(folder)

    kills = []
    work = job(tiny_model, early_stopping_patience=2)
    whole, expected = train(work, tmp_path / "whole", *data, report=report)
    bare = train(work, tmp_path / "bare", *data)
    assert bare[1] == expected, "checkpoints change nothing"
    kills, resume = [8, 21, 36], None  # in the first epoch, at its end (330 rows by 16: 21 steps), in the second
    for number in itertools.count():
        try:
            outcome, found = train(work, tmp_path / f"try-{number}", *data, report=report, resume=resume)
            break
        except InterruptedError:
            resume = str(max(tmp_path.glob("kept-*"), key=os.path.getmtime))
    assert number == 3 and found == expected
    keep = ("step", "loss", "grad_norm", "learning_rate", "eval_loss", "eval_macro_f1")
    shown = [[{k: e[k] for k in keep if k in e} for e in run["history"][:-1]] for run in (whole, outcome)]
    assert shown[0] == shown[1], "each number logged is the same"
    with pytest.raises(StageError, match="a checkpoint of other batches"):
        train(dataclasses.replace(work, seed=8), tmp_path / "other", *data, resume=resume)


def test_the_loss_is_that_of_a_plain_trainer_on_the_same_rows(still_model, data, tmp_path):
    """200 steps; ours in up to three batches a step, the plain Trainer's in one."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    work = job(still_model, recipe=Recipe(1e-3, 200 / 21, 16), token_budget=160)
    ours, _ = train(work, tmp_path, *data)
    assert ours["accumulation"] > 1 and ours["steps"] == 200
    lengths = np.array([len(row) for row in data[0]["input_ids"].to_pylist()])
    one_batch_a_step = TokenBatches(lengths, 16, 10_000, 7, 10)

    class Plain(Trainer):
        def get_train_dataloader(self):
            order = []
            for epoch in range(10):
                one_batch_a_step.set_epoch(epoch)
                order += list(one_batch_a_step)
            return torch.utils.data.DataLoader(
                self.train_dataset, batch_sampler=order[:200], collate_fn=self.data_collator
            )

    tokenizer = modeling.load_tokenizer(Source(still_model), None)
    plain = Plain(
        model=modeling.new_classifier(Source(still_model), LABELS, 7, None),
        args=TrainingArguments(
            str(tmp_path / "plain"),
            num_train_epochs=1,
            learning_rate=1e-3,
            warmup_steps=0.06,
            weight_decay=0.01,
            use_cpu=True,
            logging_steps=ours["history"][0]["step"],
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=loop.TokenRows(data[0]),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    plain.train()
    mine, theirs = losses(ours), losses({"history": plain.state.log_history})
    assert mine.keys() == theirs.keys() and len(mine) >= 20
    for step, (loss, norm) in theirs.items():
        assert mine[step] == pytest.approx((loss, norm), rel=1e-3), step


def test_class_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    label = np.array([0] * 7 + [1] * 2 + [2])
    weights = loop._balanced(pa.table({"label": label}), 3)
    assert weights.numpy() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=label))
    assert float(weights[label].mean()) == pytest.approx(1)


def test_a_training_that_stays_at_chance_is_stopped(still_model, data, tmp_path):
    work = job(still_model, recipe=Recipe(1e-9, 14, 16))
    with pytest.raises(
        StageError, match=r"collapsed.* 4 labels gives 1\.386.*half the rate: --learning-rate 5e-10"
    ) as e:
        train(work, tmp_path / "stuck", *data)
    assert e.value.exit_code == 1
    short = dataclasses.replace(work, recipe=Recipe(1e-9, 1, 16))
    assert train(short, tmp_path / "short", *data)[0]["steps"] == 21, "too few steps to judge by"


@pytest.fixture
def broken_model(still_model, tmp_path):
    """Whose outputs are NaN: one weight of the encoder is."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(still_model, tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.LayerNorm.weight"][0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def test_a_loss_that_is_no_number_is_collapse_and_no_loss_of_zero(broken_model, data, tmp_path):
    with pytest.raises(StageError, match=r"collapsed.* its loss is nan"):
        train(job(broken_model, recipe=Recipe(1e-3, 1, 1)), tmp_path / "long", *data)


def test_a_training_that_diverges_late_ends_with_its_best_epoch_before(still_model, data, tmp_path, monkeypatch):
    evaluations, real = [], loop.scores

    def diverged_at_the_second(predicted):
        evaluations.append(predicted)
        if len(evaluations) == 2:
            predicted = EvalPrediction(np.full_like(predicted.predictions, np.nan), predicted.label_ids)
        return real(predicted)

    monkeypatch.setattr(loop, "scores", diverged_at_the_second)
    outcome, kept = train(job(still_model), tmp_path / "late", *data)
    (notice,) = outcome["notices"]
    assert "diverged by step 42 of 63" in notice and outcome["steps"] == 42
    (evaluated,) = (entry for entry in outcome["history"] if "eval_macro_f1" in entry)
    assert outcome["best_macro_f1"] == evaluated["eval_macro_f1"] and evaluated["step"] == 21
    best = (tmp_path / "late/scratch/best/model.safetensors").read_bytes()
    assert kept == hashlib.sha256(best).hexdigest()


def test_a_history_is_of_numbers_that_json_has():
    assert loop._finite({"step": 3, "loss": float("nan"), "grad_norm": float("inf"), "epoch": 0.5}) == {
        "step": 3,
        "epoch": 0.5,
    }


def test_outputs_that_are_no_numbers_are_never_kept_as_the_best(broken_model, data, tmp_path):
    with pytest.raises(StageError, match=r"the model's outputs on the validation rows are NaN.*--precision fp32"):
        train(job(broken_model, recipe=Recipe(1e-3, 1, 16)), tmp_path / "short", *data)
    assert not (tmp_path / "short/scratch/best").exists()
