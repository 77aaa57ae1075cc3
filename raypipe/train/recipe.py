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


# (parameters up to, learning rate, epochs). base and larger: the DeBERTa-v3 authors' 2e-5 and 9e-6 at batch 32 (He,
# Gao and Chen, "DeBERTaV3", ICLR 2023, appendix); they can stay at chance at 5e-5. Small encoders need more of both.
SIZES = ((60e6, 1e-4, 5.0), (250e6, 2e-5, 2.0), (float("inf"), 9e-6, 2.0))


def recipe_for(parameters: int, config: TrainConfig) -> Recipe:
    """The recipe of a model with this many parameters under the given flags."""
    rate, epochs = next((rate, epochs) for limit, rate, epochs in SIZES if parameters <= limit)
    return Recipe(config.learning_rate or rate, config.epochs or epochs, config.batch_size)
