"""Ray Train's trainer on a Ray that ends with its driver."""

from typing import Any

from ray.train.torch import TorchTrainer


class LocalTrainer(TorchTrainer):
    """Without the actor that frees the room of a controller that died while its cluster goes on.

    That actor asks the state API, for which Ray would need its dashboard; and where a machine has several Rays it may
    ask another one (ray issue 54305). By its name, and without a word where a later Ray has none: it is none of Ray's
    public interface.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if type(callback).__name__ != "PlacementGroupCleanerCallback"]
