"""The sides of train_speed.py: a fine-tuning each, which says what its optimizer steps took and how many rows they had.

One process per measurement: `python training_sides.py SIDE SETTINGS-JSON` prints one line of JSON.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

from raypipe.demo import encoder_path
from raypipe.hub import Source
from raypipe.train import loop, memory, modeling
from raypipe.train.batching import TokenBatches
from raypipe.train.recipe import Recipe
from raypipe.train.stepping import StepTrainer

COLUMNS = {"banking77": ("utterance", "intent"), "hwu64": ("text", "label")}
WARM_UP = 10  # optimizer steps that are not counted
SEED = 42


class Steps(TrainerCallback):
    """When each optimizer step ended, on a clock of this process."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ended.append(time.perf_counter())


class Collate:
    """A collation that notes the real tokens of each batch: a hundred steps meet other rows on each side."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate
        self.tokens: list[int] = []

    def __call__(self, rows: Any) -> Any:
        batch = self._collate(rows)
        self.tokens.append(int(batch["attention_mask"].sum()))
        return batch


def read(data: str, name: str) -> tuple[list[str], list[str]]:
    """Texts and labels of a known set."""
    text, label = COLUMNS[name]
    lines = Path(data, name, "raw.jsonl").read_text(encoding="utf8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    kept = [row for row in rows if row.get(text) and row.get(label) is not None]
    return [row[text] for row in kept], [str(row[label]) for row in kept]


def prepared(settings: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Tokenizer, classifier and the tokenised rows, the same for every side."""
    texts, labels = read(settings["data"], settings["set"])
    names = sorted(set(labels))
    source = Source(encoder_path())
    tokenizer = modeling.load_tokenizer(source, None)
    codes = pa.array([names.index(label) for label in labels])
    table = modeling.encode_table(tokenizer, texts, 512, "head", label=codes)
    return tokenizer, modeling.new_classifier(source, names, SEED, None), table


def arguments(settings: dict[str, Any], **more: Any) -> TrainingArguments:
    """The recipe of small models, the same for every side."""
    recipe = Recipe(2e-4, 1, settings["rows_of_a_step"])
    return TrainingArguments(
        output_dir=tempfile.mkdtemp(dir=settings["scratch"]),
        max_steps=settings["steps"] + WARM_UP,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        bf16=settings["precision"] == "bf16",
        use_cpu=True,
        seed=SEED,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=50,
        dataloader_pin_memory=False,
        **more,
    )


def raypipe(settings: dict[str, Any]) -> dict[str, Any]:
    """The Trainer of train/loop.py in token-budget batches."""
    memory.keep_freed()
    tokenizer, model, table = prepared(settings)
    rows, lengths = settings["rows_of_a_step"], loop._lengths(table)
    batches = TokenBatches(lengths, rows, settings.get("token_budget", 4096), SEED, epochs=1)
    steps, collate = Steps(), Collate(DataCollatorWithPadding(tokenizer))
    trainer = StepTrainer(
        batches=batches,
        model=model,
        args=arguments(settings, gradient_accumulation_steps=batches.accumulation, average_tokens_across_devices=False),
        train_dataset=loop.TokenRows(table),
        data_collator=collate,
        callbacks=[steps],
    )
    trainer.train()
    rows_of_steps = [batches.rows_of_step(step) for step in range(len(steps.ended))]
    return counted(steps, rows_of_steps, collate, batches.accumulation)


def stock(settings: dict[str, Any]) -> dict[str, Any]:
    """A plain Trainer: dynamic padding and groups of like length, or padding to a fixed length where one is given."""
    tokenizer, model, table = prepared(settings)
    rows, batch = settings["rows_of_a_step"], settings.get("batch", settings["rows_of_a_step"])
    fixed = settings.get("pad_to")
    how = {"padding": "max_length", "max_length": fixed} if fixed else {}
    steps, collate = Steps(), Collate(DataCollatorWithPadding(tokenizer, **how))
    trainer = Trainer(
        model=model,
        args=arguments(
            settings,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=rows // batch,
            train_sampling_strategy="random" if fixed else "group_by_length",
        ),
        train_dataset=loop.TokenRows(table),
        data_collator=collate,
        processing_class=tokenizer,
        callbacks=[steps],
    )
    trainer.train()
    return counted(steps, [rows] * len(steps.ended), collate, rows // batch)


def ray_recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """The recipe of Ray's documentation: Ray Data's shard, batches by chance, padded to their longest row.

    Rows are tokenised ahead, as ours are: Ray Data gives input_ids, and the collation pads them. What Ray Data does for
    a batch (fetching, slicing, the thread that collates) is inside the steps.
    """
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    ray.init(address="local", num_cpus=settings["threads"] + 1, include_dashboard=False, log_to_driver=False)
    _, _, table = prepared(settings)
    here = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "WANDB_MODE": "disabled"}}
    trainer = TorchTrainer(
        _of_ray,
        train_loop_config=settings,
        torch_config=TorchConfig(backend="gloo"),
        datasets={"train": ray.data.from_arrow(table).random_shuffle(seed=SEED).materialize()},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": settings["threads"]}),
        run_config=RunConfig(storage_path=settings["scratch"], worker_runtime_env=here),
    )
    made = trainer.fit().return_value
    ray.shutdown()
    return dict(made)


def _of_ray(settings: dict[str, Any]) -> dict[str, Any]:
    """What the Ray Train worker runs."""
    import numpy as np
    import ray.train
    from ray.train.huggingface.transformers import prepare_trainer

    torch.set_num_threads(settings["threads"])
    tokenizer, model, _ = prepared(settings)

    def pad(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        padded = tokenizer.pad({"input_ids": [ids.tolist() for ids in batch["input_ids"]]}, return_tensors="pt")
        return {**padded, "labels": torch.as_tensor(batch["label"])}

    rows, steps, collate = settings["rows_of_a_step"], Steps(), Collate(pad)
    shard = ray.train.get_dataset_shard("train")
    trainer = Trainer(
        model=model,
        args=arguments(settings, per_device_train_batch_size=rows),
        train_dataset=shard.iter_torch_batches(
            batch_size=rows, collate_fn=collate, local_shuffle_buffer_size=1000, drop_last=True
        ),
        callbacks=[steps],
    )
    prepare_trainer(trainer).train()
    return counted(steps, [rows] * len(steps.ended), collate)


def counted(steps: Steps, rows: list[int], collate: Collate, batches_of_a_step: int = 1) -> dict[str, Any]:
    """Seconds, rows and real tokens of the steps after the warm-up."""
    return {
        "seconds": steps.ended[-1] - steps.ended[WARM_UP - 1],
        "rows": sum(rows[WARM_UP:]),
        "real_tokens": sum(collate.tokens[WARM_UP * batches_of_a_step : len(rows) * batches_of_a_step]),
        "steps": len(rows) - WARM_UP,
    }


SIDES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "raypipe": raypipe,
    "stock": stock,
    "ray_recipe": ray_recipe,
}


def main() -> None:
    side, settings = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(settings["threads"])
    with tempfile.TemporaryDirectory() as scratch:
        measured = SIDES[side](settings | {"scratch": scratch})
    print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
