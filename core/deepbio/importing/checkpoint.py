"""Reading PyTorch checkpoints of others: tensors and plain values, never code.

``torch.load(weights_only=True)`` refuses everything else. Trainers store losses as numpy scalars, whose
reconstruction is allowed here by name; it makes numbers and nothing more.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import WeightsError

__all__ = ["read_checkpoint"]


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint into main memory.

    Parameters
    ----------
    path : Path
        A file of ``torch.save`` that holds a mapping.

    Raises
    ------
    WeightsError
        If it cannot be read, is damaged, or holds more than tensors and plain values.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numbers()):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"The checkpoint '{path}' cannot be read: {error.strerror or error}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        told = str(error).split("\n", 1)[0]
        raise WeightsError(
            f"The checkpoint '{path}' is damaged, or holds more than tensors and numbers, which is never loaded: "
            f"{told}",
            "Get the model again.",
        ) from error
    if not isinstance(found, Mapping):
        raise WeightsError(f"The checkpoint '{path}' holds {type(found).__name__}; expected a mapping.")
    return found


def _numbers() -> list[Any]:
    """What numpy's scalars are made of, by the names that old and new versions of numpy wrote."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *kinds, *((scalar, name) for name in names)]
