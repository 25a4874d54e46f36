"""The model library: cards, the store of models, and packages of our own.

Everything here works without torch.
"""

from deepbio.library.card import Axis, ModelCard, Step, TensorSpec, Weights, read_card
from deepbio.library.check import CheckReport, check_package, validate_package
from deepbio.library.package import PackageContent, TensorContent, write_package
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
    "CheckReport",
    "ModelCard",
    "PackageContent",
    "Problem",
    "Step",
    "TensorContent",
    "TensorSpec",
    "Weights",
    "add_model",
    "check_package",
    "find_model",
    "is_bundled",
    "list_models",
    "model_names",
    "read_card",
    "remove_model",
    "scan_models",
    "validate_package",
    "write_package",
]
