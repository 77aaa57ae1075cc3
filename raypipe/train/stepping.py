"""The Hugging Face Trainer in front of planned batches: the loss of a step is the mean over all of its rows."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer

from raypipe.train.batching import TokenBatches


class _Loader(torch.utils.data.DataLoader):
    """A loader whose epoch the Trainer sets.

    It is not handed to accelerate, whose shards take every worker's batches from one list, and with ``even_batches``
    (its default) repeat some of them: each worker's TokenBatches gives its own already.
    """

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)


class StepTrainer(Trainer):
    """A Trainer that takes TokenBatches, and optionally one weight for each class  # (labels,) float32.

    transformers divides by the batches of a step (a mean of means, wrong where they differ in rows), or, for models
    that accept ``num_items_in_batch``, leaves it to a loss function that classifiers ignore it in. Here the loss of a
    batch is the sum over its rows by the rows of the whole step, over workers and accumulated batches; times the
    workers, because DDP takes the mean of their gradients, and the Trainer of their losses.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, *, batches: TokenBatches, class_weights: torch.Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._batches = batches
        self._class_weights = None if class_weights is None else class_weights.to(self.args.device)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        return _Loader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], int]:
        """The batches of the next step, and its rows over all workers in place of a count of this worker's."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return samples, self._batches.rows_of_step(self.state.global_step)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This batch's part of the step's mean cross entropy; ``num_items_in_batch`` are the rows of the step.

        A weighted row counts as its weight; the weights average 1, so the divisor stays the rows.
        """
        outputs = _forward(model, inputs)
        loss = cross_entropy(outputs.logits.float(), inputs["labels"], weight=self._class_weights, reduction="sum")
        loss = loss * (self.args.world_size / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Logits and labels. The loss is taken from all of them: each worker's own would count repeated rows."""
        inputs = self._prepare_inputs(inputs)
        with torch.inference_mode(), self.compute_loss_context_manager():
            logits = _forward(model, inputs).logits
        return None, logits, inputs["labels"]


def _forward(model: Any, inputs: dict[str, Any]) -> Any:
    return model(**{name: value for name, value in inputs.items() if name != "labels"})
