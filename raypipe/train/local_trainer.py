"""Ray Train's trainer on a Ray that ends with its driver."""

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback


class LocalTrainer(TorchTrainer):
    """Without the actor that frees the room of a controller that died while its cluster goes on.

    That actor asks the state API, for which Ray would need its dashboard; and where a machine has several Rays it may
    ask another one (ray issue 54305).
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, PlacementGroupCleanerCallback)]
