"""The models that a long-lived process keeps loaded: the worker of 3D Slicer, the bridge to Fiji."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepbio.library import ModelCard
    from deepbio.predict import Model

__all__ = ["LoadedModels"]


class LoadedModels:
    """Models by card, of which the ones used last stay loaded.

    Parameters
    ----------
    kept : int
        How many stay: by default the one in use, and the one it is compared with.

    Examples
    --------
    >>> from deepbio.library import find_model
    >>> models = LoadedModels()
    >>> models.get(find_model("nuclei")) is models.get(find_model("nuclei"))
    True
    >>> models.release()
    ['nuclei']
    """

    def __init__(self, kept: int = 2) -> None:
        self._kept = kept
        self._models: OrderedDict[tuple[str, str, str], Model] = OrderedDict()

    def get(self, card: ModelCard) -> Model:
        """The loaded model of a card: the same folder with other weights is another model."""
        from deepbio.predict import Model  # costs more than the questions that come before the first run

        key = (str(card.root), card.version, card.weights_hash)
        if key not in self._models:
            while len(self._models) >= self._kept:
                self._models.popitem(last=False)[1].close()
            self._models[key] = Model(card)
        self._models.move_to_end(key)
        return self._models[key]

    def release(self) -> list[str]:
        """Let all models go; return their names."""
        names = [model.card.name for model in self._models.values()]
        while self._models:
            self._models.popitem()[1].close()
        return names

    def forget(self, name: str) -> None:
        """Let a model go that is about to be removed."""
        for key in [key for key, model in self._models.items() if model.card.name == name]:
            self._models.pop(key).close()
