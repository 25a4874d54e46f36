"""The model library: cards, the store of models, and packages of our own.

Everything here works without torch.
"""

from deepbio.library.card import Axis, ModelCard, Step, TensorSpec, Weights, read_card
from deepbio.library.store import (
    Problem,
    add_model,
    find_model,
    is_bundled,
    list_models,
    model_names,
    remove_model,
    scan_models,
)

__all__ = [
    "Axis",
    "ModelCard",
    "Problem",
    "Step",
    "TensorSpec",
    "Weights",
    "add_model",
    "find_model",
    "is_bundled",
    "list_models",
    "model_names",
    "read_card",
    "remove_model",
    "scan_models",
]
