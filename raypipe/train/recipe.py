"""Learning rate, epochs and the rest by the size of the model; a flag wins over each."""

from dataclasses import asdict, dataclass
from typing import Any

from raypipe.config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """How a model is fine-tuned."""

    learning_rate: float  # peak, after warm-up; linear decay to 0
    epochs: float
    batch_size: int  # rows of one optimizer step, over all workers
    warmup: float = 0.06  # share of the steps
    weight_decay: float = 0.01

    def public(self) -> dict[str, Any]:
        return asdict(self)


# (parameters up to, learning rate, rows of a step, epochs). Base and larger: the DeBERTa-v3 authors' 2e-5 and 9e-6 at
# batch 32 (He, Gao and Chen, "DeBERTaV3", ICLR 2023, appendix); they can stay at chance at 5e-5. Small: of five
# settings tried with a 23 M encoder, the best on validation shares of banking77 and the demo's corpus; 5e-4 collapsed.
SIZES = ((60e6, 2e-4, 16, 5.0), (250e6, 2e-5, 32, 2.0), (float("inf"), 9e-6, 32, 2.0))


def recipe_for(parameters: int, config: TrainConfig) -> Recipe:
    """The recipe of a model with this many parameters under the given flags."""
    _, rate, rows, epochs = next(size for size in SIZES if parameters <= size[0])
    return Recipe(config.learning_rate or rate, config.epochs or epochs, config.batch_size or rows)
