"""Cards in the BioImage.IO model format 0.4, rewritten as 0.5 before they are read.

Only what :mod:`deepbio.library.reader` looks at is rewritten. Format:
https://github.com/bioimage-io/spec-bioimage-io (model description 0.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepbio.errors import CardError
from deepbio.library.fields import Fields

__all__ = ["from_0_4"]

_IDS = {"b": "batch", "c": "channel", "t": "time", "i": "index", "z": "z", "y": "y", "x": "x"}
_TYPES = {"b": "batch", "c": "channel", "t": "time", "i": "index", "z": "space", "y": "space", "x": "space"}

Shapes = dict[str, dict[str, int]]


def from_0_4(fields: Fields) -> Fields:
    """Rewrite a 0.4 card as a 0.5 card.

    Raises
    ------
    CardError
        If a tensor's axes and shape contradict each other.
    """
    card = dict(fields.values)
    shapes: Shapes = {}  # smallest size by tensor and letter, for outputs that follow an input
    for group, test, process in (
        ("inputs", "test_inputs", "preprocessing"),
        ("outputs", "test_outputs", "postprocessing"),
    ):
        tests = fields.texts(test)
        tensors = []
        for number, tensor in enumerate(fields.children(group)):
            letters = tensor.text("axes")
            unknown = [letter for letter in letters if letter not in _IDS]
            if unknown:
                raise tensor.fail("axes", f"letters of {''.join(_IDS)}")
            tensors.append(
                {
                    "id": tensor.text("name"),
                    "description": tensor.text("description", ""),
                    "axes": _axes(tensor, letters, shapes),
                    "data": {"type": tensor.text("data_type", "float32")},
                    process: [_step(step, letters) for step in tensor.children(process)],
                    "test_tensor": {"source": tests[number] if number < len(tests) else ""},
                }
            )
        card[group] = tensors
    return Fields(card)


def _axes(tensor: Fields, letters: str, shapes: Shapes) -> list[dict[str, Any]]:
    shape = tensor.values.get("shape")
    halo = tensor.values.get("halo") or [0] * len(letters)
    if isinstance(shape, Mapping) and "min" in shape:
        sizes = [
            {"min": low, "step": step} if step else low
            for low, step in zip(
                _row(tensor, "min", shape, letters), _row(tensor, "step", shape, letters), strict=True
            )
        ]
    elif isinstance(shape, Mapping):
        return _following(tensor, letters, shape, halo, shapes)
    else:
        sizes = list(_row(tensor, "shape", tensor.values, letters))
    shapes[tensor.text("name")] = {
        letter: size["min"] if isinstance(size, dict) else size
        for letter, size in zip(letters, sizes, strict=True)
    }
    return [_axis(letter, size, 1.0, h) for letter, size, h in zip(letters, sizes, halo, strict=True)]


def _following(
    tensor: Fields, letters: str, shape: Mapping[str, Any], halo: Sequence[int], shapes: Shapes
) -> list[dict[str, Any]]:
    """Axes of an output whose shape is ``reference * scale + 2 * offset``."""
    reference = str(shape.get("reference_tensor", ""))
    if reference not in shapes:
        raise CardError(
            f"The card's {tensor.where}.shape follows the tensor {reference!r}, which is not an input."
        )
    scales, offsets = _row(tensor, "scale", shape, letters), _row(tensor, "offset", shape, letters)
    axes = []
    for letter, scale, offset, h in zip(letters, scales, offsets, halo, strict=True):
        added = int(2 * offset)
        if letter == "b" or not scale:  # no scale: an axis that the input does not have
            axes.append(_axis(letter, added or 1, 1.0, h))
        elif letter == "c":
            axes.append(_axis(letter, int(shapes[reference].get("c", 1) * scale) + added, 1.0, h))
        else:
            size = {"tensor_id": reference, "axis_id": _IDS[letter], "offset": added}
            axes.append(_axis(letter, size, 1.0 / scale, h))
    return axes


def _axis(letter: str, size: Any, scale: float, halo: int) -> dict[str, Any]:
    axis: dict[str, Any] = {"type": _TYPES[letter], "id": _IDS[letter]}
    if letter == "b":
        return axis
    if letter == "c":
        if not isinstance(size, int):
            raise CardError(f"The card's channel axis has the size {size!r}; expected a fixed number.")
        return {**axis, "channel_names": [f"channel{i}" for i in range(size)]}
    return {**axis, "size": size, "scale": scale, "halo": halo}


def _row(tensor: Fields, name: str, values: Mapping[str, Any], letters: str) -> list[Any]:
    row = values.get(name)
    numbers = isinstance(row, list) and all(isinstance(n, (int, float)) or n is None for n in row)
    if not isinstance(row, list) or not numbers or len(row) != len(letters):
        raise CardError(f"The card's {tensor.where} has the axes {letters!r}, but its {name} is {row!r}.")
    return row


def _step(step: Fields, letters: str) -> dict[str, Any]:
    """A processing step: ``name`` became ``id``, and the mode went into the axes."""
    name, kwargs = step.text("name"), dict(step.mapping("kwargs", {}))
    mode = kwargs.pop("mode", None)
    axes = kwargs.pop("axes", None)
    if name == "scale_linear" or (name == "zero_mean_unit_variance" and mode in (None, "fixed")):
        if name != "scale_linear":
            name = "fixed_zero_mean_unit_variance"
            kwargs.pop("eps", None)
        if any(isinstance(value, list) for value in kwargs.values()):
            kwargs["axis"] = _kept(step, letters, str(axes or ""))
        return {"id": name, "kwargs": kwargs}
    if axes is not None:
        kwargs["axes"] = [_IDS.get(letter, letter) for letter in str(axes)]
        if mode == "per_dataset":
            kwargs["axes"].insert(0, "batch")
    return {"id": name, "kwargs": kwargs}


def _kept(step: Fields, letters: str, joint: str) -> str:
    """The one axis along which values differ: not the batch, and not one of those taken jointly."""
    kept = [letter for letter in letters if letter != "b" and letter not in joint]
    if len(kept) != 1:
        raise CardError(
            f"The card's {step.where} has several values, but not for one axis (axes: {joint!r})."
        )
    return _IDS[kept[0]]
