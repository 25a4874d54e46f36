"""Deep learning for biomedical images: one model and one answer, whoever asks.

The public names are loaded on first use, so ``import deepbio`` costs next to nothing and never
imports torch.

Examples
--------
>>> import numpy as np
>>> import deepbio
>>> image = deepbio.Image(np.zeros((5, 7, 11), np.int16), "ZYX", deepbio.Grid((5, 7, 11), (1.2, 0.8, 0.5)))
>>> image.grid.spacing
(1.2, 0.8, 0.5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepbio.batch import run_many
    from deepbio.errors import Cancelled, DeepBioError
    from deepbio.events import Event, Listener, Notice, Progress
    from deepbio.explanation import explain, uncertainty
    from deepbio.extraction import features
    from deepbio.image import Grid, Image, LabelMap, Table
    from deepbio.importing import ImportChoice, add_model
    from deepbio.io import read, read_labels, write
    from deepbio.library import ModelCard, find_model, list_models, remove_model
    from deepbio.loaded import LoadedModels
    from deepbio.options import RunOptions
    from deepbio.predict import Model, generate, load_model, run
    from deepbio.tasks import Result
    from deepbio.training import train

__version__ = "0.1.0"

_HOME = {  # public name -> the module that has it
    "Cancelled": "errors",
    "DeepBioError": "errors",
    "Event": "events",
    "Grid": "image",
    "Image": "image",
    "LabelMap": "image",
    "Listener": "events",
    "LoadedModels": "loaded",
    "Model": "predict",
    "ModelCard": "library",
    "Notice": "events",
    "Progress": "events",
    "Result": "tasks",
    "RunOptions": "options",
    "Table": "image",
    "ImportChoice": "importing",
    "add_model": "importing",
    "explain": "explanation",
    "features": "extraction",
    "find_model": "library",
    "generate": "predict",
    "list_models": "library",
    "load_model": "predict",
    "read": "io",
    "read_labels": "io",
    "remove_model": "library",
    "run": "predict",
    "run_many": "batch",
    "train": "training",
    "uncertainty": "explanation",
    "write": "io",
}

__all__ = [
    "Cancelled",
    "DeepBioError",
    "Event",
    "Grid",
    "Image",
    "ImportChoice",
    "LabelMap",
    "Listener",
    "LoadedModels",
    "Model",
    "ModelCard",
    "Notice",
    "Progress",
    "Result",
    "RunOptions",
    "Table",
    "add_model",
    "explain",
    "features",
    "find_model",
    "generate",
    "list_models",
    "load_model",
    "read",
    "read_labels",
    "remove_model",
    "run",
    "run_many",
    "train",
    "uncertainty",
    "write",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
