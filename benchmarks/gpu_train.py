"""Real tokens a second of fine-tuning DeBERTa-v3-base on one GPU, by four recipes, without Ray.

    python benchmarks/gpu_train.py [--steps 100] [--rounds 3] [--lengths banking77 long]
    python benchmarks/gpu_train.py --device cpu --tiny --steps 3 --rounds 1        # does the script work?

The model is drawn at random from the configuration of DeBERTa-v3-base (no Hub), the rows are random tokens whose
lengths are drawn like those of banking77 or like a mix of long texts; bfloat16, the same rows of a step for all.

MFU counts the arithmetic of real tokens only. A token of a row of L tokens takes, in the forward pass of each layer of
width h, 24 h² for the projections and the feed-forward net, 4 L h for scores and values, and 4 min(2 L, 512) h for the
two terms of relative position (He et al. 2021, "DeBERTa", equation 4; 256 buckets each way); the backward pass takes
twice that. That makes 531 MFLOP a token at length 64, and 623 at 512. Embeddings, norms and the projections of the
position table are left out.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_file import save
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from raypipe.train import attention
from raypipe.train.batching import TokenBatches
from raypipe.train.stepping import StepTrainer

CLASSES, ROWS_OF_A_STEP, WARM_UP, SEED = 77, 32, 10, 42
VOCABULARY, BUCKETS = 128_100, 256
# Median and spread of a log-normal, least and most: banking77 under a WordPiece tokenizer has mean 16, 99 % below 51.
LENGTHS = {"banking77": (13, 0.6, 5, 98), "long": (130, 0.9, 8, 512)}


class Timed(TrainerCallback):
    """The clock at the end of the warm-up and of the last step, when the device has done its work."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in (WARM_UP, state.max_steps):
            if args.device.type == "cuda":
                torch.cuda.synchronize()
            self.at.append(time.perf_counter())


class Bench:
    """One kind of lengths, and a training of it by each recipe."""

    def __init__(self, lengths: str, options: Any) -> None:
        self.options, self.device = options, torch.device(options.device)
        rng = np.random.default_rng(SEED)
        median, spread, least, most = LENGTHS[lengths]
        rows = ROWS_OF_A_STEP * (options.steps + WARM_UP)
        self.lengths = np.clip(rng.lognormal(np.log(median), spread, rows).astype(int), least, most)
        tokens = 300 if options.tiny else VOCABULARY
        self.rows = [
            {"input_ids": rng.integers(5, tokens, length), "labels": int(rng.integers(CLASSES))}
            for length in self.lengths
        ]

    def model(self, asked_for: str) -> tuple[Any, attention.Attention]:
        """A random DeBERTa-v3-base, or a tiny one of its kind, with the attention that was asked for."""
        torch.manual_seed(SEED)
        model = DebertaV2ForSequenceClassification(config_of(self.options.tiny))
        places = np.unique(np.linspace(0, len(self.rows) - 1, 8).astype(int))
        sample = pad([self.rows[row] for row in np.argsort(self.lengths)[places]])
        return attention.install(model, asked_for, self.device, self.options.precision == "bf16", sample)

    def padded(self) -> dict[str, Any]:
        """The usual script: every row padded to 512 tokens."""
        return self._stock("eager", lambda rows: pad(rows, 512), train_sampling_strategy="random")

    def stock(self) -> dict[str, Any]:
        """A plain Trainer at its best: dynamic padding, group_by_length."""
        return self._stock("eager", pad, train_sampling_strategy="group_by_length")

    def stock_fused(self) -> dict[str, Any]:
        """The same with the fused kernel."""
        return self._stock("fused", pad, train_sampling_strategy="group_by_length")

    def raypipe(self) -> dict[str, Any]:
        """Token-budget batches, and the attention of --attention auto."""
        model, found = self.model("auto")
        batches = TokenBatches(self.lengths, ROWS_OF_A_STEP, self.options.token_budget, SEED, epochs=1)
        arguments = self._arguments(
            gradient_accumulation_steps=batches.accumulation, average_tokens_across_devices=False
        )
        trainer = StepTrainer(batches=batches, model=model, args=arguments, train_dataset=self.rows, data_collator=pad)
        steps = list(batches)
        each = batches.accumulation
        done = [row for batch in steps[WARM_UP * each : arguments.max_steps * each] for row in batch]
        return self._measured(trainer, found, np.array(done))

    def _stock(self, asked_for: str, collate: Callable[..., Any], **more: Any) -> dict[str, Any]:
        model, found = self.model(asked_for)
        seen: list[int] = []
        rows = _Watched(self.rows, seen)
        arguments = self._arguments(per_device_train_batch_size=ROWS_OF_A_STEP, **more)
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        return self._measured(trainer, found, seen)

    def _arguments(self, **more: Any) -> TrainingArguments:
        return TrainingArguments(
            output_dir=tempfile.mkdtemp(prefix="gpu-train-"),
            max_steps=self.options.steps + WARM_UP,
            learning_rate=2e-5,
            bf16=self.options.precision == "bf16",
            use_cpu=self.device.type == "cpu",
            seed=SEED,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=50,
            dataloader_pin_memory=self.device.type == "cuda",
            **more,
        )

    def _measured(self, trainer: Trainer, found: attention.Attention, seen: Any) -> dict[str, Any]:
        """Train; ``seen`` are the rows of the counted steps, or a list of all rows in the order of their use."""
        timed = Timed()
        trainer.add_callback(timed)
        trainer.train()
        if isinstance(seen, list):
            seen = np.array(seen[-self.options.steps * ROWS_OF_A_STEP :])
        seconds, lengths = timed.at[1] - timed.at[0], self.lengths[seen]
        flops = flops_of(lengths, trainer.model.config)
        return {
            "tokens_a_second": round(float(lengths.sum()) / seconds, 1),
            "rows_a_second": round(len(lengths) / seconds, 2),
            "mfu": round(flops / seconds / (self.options.peak_tflops * 1e12), 4),
            "attention": found.kind,
            "why": found.reason,
        }


class _Watched(torch.utils.data.Dataset):
    """Rows that note which of them the training took; the grouping by length reads all of them first."""

    def __init__(self, rows: list[dict[str, Any]], seen: list[int]) -> None:
        self._rows, self._seen = rows, seen

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        self._seen.append(row)
        return self._rows[row]


def config_of(tiny: bool) -> DebertaV2Config:
    """DeBERTa-v3-base, or the same kind with 2 layers of 64."""
    sizes = (300, 64, 2, 2, 128) if tiny else (VOCABULARY, 768, 12, 12, 3072)
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    return DebertaV2Config(
        **dict(zip(names, sizes, strict=True)),
        relative_attention=True,
        position_buckets=BUCKETS,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        max_position_embeddings=512,
        type_vocab_size=0,
        num_labels=CLASSES,
        problem_type="single_label_classification",
    )


def pad(rows: list[dict[str, Any]], to: int | None = None) -> dict[str, torch.Tensor]:
    """A batch padded to its longest row or to a fixed length; token 0 is padding."""
    longest = to or max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row["input_ids"])] = torch.as_tensor(row["input_ids"])
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def flops_of(lengths: np.ndarray, config: Any) -> float:
    """Arithmetic of training on rows of these lengths, padding not counted; the formula stands at the top."""
    L, h = lengths.astype(float), config.hidden_size
    token = 24 * h**2 + 4 * L * h + 4 * np.minimum(2 * L, 2 * BUCKETS) * h
    return float(3 * config.num_hidden_layers * (L * token).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps that count, after ten of warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", nargs="+", default=list(LENGTHS), choices=list(LENGTHS))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--token-budget", type=int, default=16_384)
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="peak for MFU: H100, H200 in bfloat16")
    parser.add_argument("--tiny", action="store_true", help="2 layers of 64: shows that the script works")
    parser.add_argument("--recipes", nargs="+", default=["padded", "stock", "stock_fused", "raypipe"])
    parser.add_argument("--output", type=Path, help="file for the result instead of results/")
    parser.add_argument("--name", help="name of the result file, such as a trial's")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    for lengths in options.lengths:
        bench = Bench(lengths, options)
        runs: dict[str, list[dict[str, Any]]] = {recipe: [] for recipe in options.recipes}
        for _ in range(options.rounds):
            for recipe, found in runs.items():
                found.append(getattr(bench, recipe)())
                print(json.dumps({"lengths": lengths, "recipe": recipe, **found[-1]}), flush=True)
        speed = {recipe: statistics.median(run["tokens_a_second"] for run in found) for recipe, found in runs.items()}
        times = {recipe: round(speed["raypipe"] / each, 3) for recipe, each in speed.items() if "raypipe" in speed}
        results.append({"lengths": lengths, "mean": float(bench.lengths.mean()), "runs": runs, "raypipe_times": times})
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    settings = {"steps": options.steps, "precision": options.precision, "tiny": options.tiny}
    measured = {"device": device, "settings": settings, "peak_tflops": options.peak_tflops, "results": results}
    if options.output:
        options.output.write_text(json.dumps(measured, indent=1) + "\n")
    else:
        save(options.name or "gpu_train", measured)


if __name__ == "__main__":
    main()
