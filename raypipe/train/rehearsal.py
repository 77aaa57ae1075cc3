"""Training on random tokens in this process, without Ray: seconds and memory of the batches that a run would have.

Arithmetic takes the same time whatever the tokens and weights are, so nothing is downloaded but the model's
configuration. Shapes are those of the real plan of batches. No Ray here.
"""

import functools
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import EvalPrediction

from raypipe.train import memory, modeling
from raypipe.train.job import TrainJob
from raypipe.train.loop import scores

WARM_BATCHES = 2  # before the clock runs: pages are touched and kernels chosen
SMALL_TOKENS = 256  # of the first batch, which tells how large the others may be

Shape = tuple[int, int]  # rows, tokens of the longest


@dataclass(frozen=True)
class StepPlan:
    """The batches of one worker."""

    shapes: list[Shape]  # of an epoch
    steps: int  # optimizer steps of an epoch
    epochs: float
    evaluation: list[Shape]  # of one evaluation
    evaluations: int

    @property
    def tokens(self) -> float:
        """Of the whole training, padding included."""
        return self.epochs * _tokens(self.shapes)


@dataclass(frozen=True)
class Paced:
    """What was measured."""

    train_s: float  # predicted, of the loop on one worker
    memory_mib: float  # of this process at its peak
    gpu_memory_mib: float | None
    model: Any  # with its random weights, in evaluation mode


def plan(job: TrainJob, lengths: np.ndarray, held_out: np.ndarray, world: int) -> StepPlan:
    """The batches of rank 0 for rows and validation rows of these tokens  # (rows,). Raises ConfigError."""
    batches = job.batches(lengths, 0, world)
    shapes = [(len(rows), int(lengths[rows].max())) for rows in batches]
    each = job.evaluation_rows(int(held_out.max()))
    ordered = np.sort(held_out)
    starts = range(0, -(-len(ordered) // world), each)
    evaluation = [(len(part), int(part[-1])) for part in (ordered[s : s + each] for s in starts)]
    times = math.ceil(job.recipe.epochs) * job.evaluations_per_epoch
    return StepPlan(shapes, batches.steps, job.recipe.epochs, evaluation, times)


def rehearse(job: TrainJob, plan: StepPlan, limit_s: float) -> Paced:
    """Time batches of the plan, forwards and backwards, and an evaluation's, on this machine for about ``limit_s``.

    A batch that would take more than a quarter of that is timed with fewer of its rows.
    """
    torch.set_num_threads(job.threads)
    if job.use_cpu:
        memory.keep_freed()
    device = torch.device("cpu" if job.use_cpu else "cuda")
    model = modeling.blank_classifier(job.model, job.labels, job.hf_token.value).to(device)
    work = _Work(model, device, job.uses_bf16(), len(job.labels))
    forward_backward = _pace(work.forward_backward, plan.shapes, limit_s)
    optimizer_s = _least(work.optimise, 3)
    forward = _pace(work.forward, plan.evaluation, limit_s / 6)
    validation = sum(rows for rows, _ in plan.evaluation)
    judging = _least(lambda: _judge(validation, len(job.labels)), 1)
    train_s = plan.tokens * forward_backward + plan.epochs * plan.steps * optimizer_s
    train_s += plan.evaluations * (_tokens(plan.evaluation) * forward + judging)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    on_gpu = None if job.use_cpu else torch.cuda.max_memory_allocated() / 2**20
    work.release()
    return Paced(train_s, peak, on_gpu, model.eval())


def flop(config: Any, plan: StepPlan) -> float:
    """Floating-point operations of the training by shapes alone, for a device that is not here.

    6 for each parameter outside the embeddings and token, a third of it forwards, and 12 for each layer, width and
    pair of tokens (Chowdhery et al. 2022, "PaLM", appendix B).
    """
    return 3 * plan.epochs * forward_flop(config, plan.shapes) + plan.evaluations * forward_flop(
        config, plan.evaluation
    )


def forward_flop(config: Any, shapes: list[Shape]) -> float:
    """The same of forward passes over these shapes."""
    weights, pairs = modeling.multiplied_parameters(config), 4 * config.num_hidden_layers * config.hidden_size
    return float(sum(rows * width * (2 * weights + pairs * width) for rows, width in shapes))


class _Work:
    """One model, its optimizer, and what a step does with them."""

    def __init__(self, model: Any, device: torch.device, bf16: bool, classes: int) -> None:
        self._model, self._device, self._bf16, self._classes = model, device, bf16, classes
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def forward_backward(self, shape: Shape) -> None:
        self._model.train()
        with self._precision():
            logits = self._model(**self._batch(shape)).logits.float()
            loss = cross_entropy(logits, torch.randint(self._classes, (shape[0],), device=self._device))
        loss.backward()
        self._wait()

    def optimise(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=False)  # the next call is to have gradients
        self._wait()

    def forward(self, shape: Shape) -> None:
        self._model.eval()
        with torch.inference_mode(), self._precision():
            self._model(**self._batch(shape))
        self._wait()

    def release(self) -> None:
        """Give back what only training needs."""
        self._optimizer.state.clear()
        self._model.zero_grad(set_to_none=True)

    def _batch(self, shape: Shape) -> dict[str, torch.Tensor]:
        ids = torch.randint(5, self._model.config.vocab_size, shape, device=self._device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def _precision(self) -> Any:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def _pace(run: Callable[[Shape], None], shapes: list[Shape], limit_s: float) -> float:
    """Seconds of a token, padding included, over shapes spread evenly through the list until the time is up."""
    first = _within(shapes[0], SMALL_TOKENS)
    run(first)
    token_s = _least(lambda: run(first), 2) / (first[0] * first[1])
    most = max(1, int(limit_s / 4 / token_s))
    taken = [_within(shapes[i], most) for i in np.random.default_rng(0).permutation(len(shapes))]
    for shape in taken[:WARM_BATCHES]:
        run(shape)
    spent = tokens = 0.0
    for shape in taken[WARM_BATCHES:] or taken:
        spent += _least(functools.partial(run, shape), 1)
        tokens += shape[0] * shape[1]
        if spent > limit_s:
            break
    return spent / tokens


def _within(shape: Shape, tokens: int) -> Shape:
    """The shape with as many of its rows as hold at most so many tokens, one at least."""
    return max(1, min(shape[0], tokens // shape[1])), shape[1]


def _least(run: Callable[[], Any], times: int) -> float:
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return min(spent)


def _judge(rows: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    scores(EvalPrediction(predictions=rng.normal(size=(rows, classes)), label_ids=rng.integers(classes, size=rows)))


def _tokens(shapes: list[Shape]) -> int:
    return sum(rows * width for rows, width in shapes)
