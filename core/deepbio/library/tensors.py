"""What the network of a BioImage.IO card takes and gives: axes, sizes, channels, processing steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deepbio.errors import CardError
from deepbio.library.card import SPATIAL, Axis, Step, TensorSpec
from deepbio.library.fields import Fields, inside, is_remote

__all__ = ["STEP_IDS", "read_step", "read_tensors"]

STEP_IDS = (
    "binarize",
    "clip",
    "ensure_dtype",
    "fixed_zero_mean_unit_variance",
    "scale_linear",
    "scale_mean_variance",
    "scale_range",
    "sigmoid",
    "softmax",
    "zero_mean_unit_variance",
)

# id of an axis whose card gives none, and of the letters that early cards used
_DEFAULT_IDS = {"batch": "batch", "channel": "channel", "space": "x", "time": "time", "index": "index"}
_LETTERS = {"b": "batch", "c": "channel", "t": "time", "i": "index"}

Sizes = Mapping[tuple[str, str], Axis]


def read_tensors(
    fields: Fields, root: Path
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], list[str]]:
    """Read what the network of a card takes and gives.

    Parameters
    ----------
    fields : Fields
        The card, in format 0.5.
    root : Path
        Folder of the package.

    Returns
    -------
    inputs, outputs : tuple of TensorSpec
        At least one each; sizes that follow another tensor's are settled.
    notes : list of str
        Test tensors that are not there.

    Raises
    ------
    CardError
        If an entry is missing or is not what the format says.
    """
    notes: list[str] = []
    sizes: dict[tuple[str, str], Axis] = {}
    found: dict[str, list[TensorSpec]] = {"inputs": [], "outputs": []}
    for group, process in (("inputs", "preprocessing"), ("outputs", "postprocessing")):
        entries = [(entry, entry.text("id", group[:-1])) for entry in fields.children(group)]
        if not entries:
            raise CardError(f"The card has no {group}; expected at least one.")
        names = [name for _, name in entries]
        if len(set(names)) != len(names) or set(names) & {tensor.id for tensor in found["inputs"]}:
            raise CardError(f"The card names a tensor twice: {', '.join(names)}.")
        for entry, name in entries:  # sizes that stand alone first: others may follow them
            sizes.update({(name, a.id): a for a in _axes(entry) if not a.reference})
        for entry, name in entries:
            found[group].append(_tensor(entry, name, process, sizes, root, notes))
    return tuple(found["inputs"]), tuple(found["outputs"]), notes


def _tensor(entry: Fields, name: str, process: str, sizes: Sizes, root: Path, notes: list[str]) -> TensorSpec:
    axes = tuple(_resolved(axis, sizes, entry) for axis in _axes(entry))
    ids = [axis.id for axis in axes]
    if len(set(ids)) != len(ids):
        raise CardError(f"The card's {entry.place('axes')} has an axis twice: {', '.join(ids)}.")
    data = entry.values.get("data")
    data = data[0] if isinstance(data, list) and data else data
    return TensorSpec(
        id=name,
        axes=axes,
        channels=next(
            (_channels(axis) for axis in entry.children("axes") if axis.text("type") == "channel"), ()
        ),
        steps=tuple(read_step(step, ids) for step in entry.children(process)),
        test_tensor=_test_tensor(entry, name, root, notes),
        description=entry.text("description", ""),
        dtype=str(data.get("type", "float32")) if isinstance(data, Mapping) else "float32",
    )


def _axes(entry: Fields) -> list[Axis]:
    axes = [_axis(fields) for fields in entry.children("axes")]
    if not axes:
        raise entry.fail("axes", "a list of axes")
    return axes


def _axis(fields: Fields) -> Axis:
    kind = fields.text("type")
    if kind not in _DEFAULT_IDS:
        raise fields.fail("type", f"one of {', '.join(_DEFAULT_IDS)}")
    name = fields.text("id", _DEFAULT_IDS[kind])
    name = _LETTERS.get(name, name)
    if (kind == "space") != (name in SPATIAL):
        raise fields.fail("id", f"{', '.join(SPATIAL)} for an axis of type 'space', and only there")
    if kind == "channel":
        return Axis(name, len(_channels(fields)), len(_channels(fields)), 0)
    if kind == "batch":
        fixed = fields.integer("size", 0)
        return Axis(name, 1, 1, 0) if fixed else Axis(name)
    return _sized(fields, name)


def _sized(fields: Fields, name: str) -> Axis:
    halo, scale = fields.integer("halo", 0), fields.number("scale", 1.0)
    if scale <= 0 or halo < 0:
        raise CardError(
            f"The card's {fields.where} has scale {scale} and halo {halo}; expected above 0, and not below 0."
        )
    if not isinstance(fields.values.get("size"), Mapping):
        size = fields.integer("size")
        if size < 1:
            raise fields.fail("size", "at least 1")
        return Axis(name, size, size, 0, halo, scale=scale)
    size_fields = fields.child("size")
    if "tensor_id" in size_fields:
        reference = f"{size_fields.text('tensor_id')}.{size_fields.text('axis_id')}"
        return Axis(name, None, 1, 1, halo, reference, scale, size_fields.integer("offset", 0))
    minimum, step = size_fields.integer("min", 1), size_fields.integer("step", 1)
    if minimum < 1 or step < 1:
        raise CardError(
            f"The card's {size_fields.where} has min {minimum}, step {step}; expected at least 1."
        )
    return Axis(name, None, minimum, step, halo, scale=scale)


def _resolved(axis: Axis, sizes: Sizes, entry: Fields) -> Axis:
    """The axis with the sizes of the one that it follows."""
    if not axis.reference:
        return Axis(axis.id, axis.size, axis.minimum, axis.step, axis.halo)
    tensor, _, name = axis.reference.rpartition(".")
    other = sizes.get((tensor, _LETTERS.get(name, name)))
    if other is None:
        raise CardError(
            f"The card's {entry.where} follows the size of {axis.reference!r}, which has none of its own."
        )
    ratio = other.scale / axis.scale

    def size(number: int) -> int:
        return int(number * ratio) + axis.offset

    fixed = None if other.size is None else size(other.size)
    minimum = max(size(other.minimum), 1)
    step = 0 if other.step == 0 else max(int(other.step * ratio), 1)
    return Axis(axis.id, fixed, minimum, step, axis.halo, axis.reference, ratio, axis.offset)


def _channels(axis: Fields) -> tuple[str, ...]:
    names = axis.texts("channel_names")
    if len(names) == 1 and "{i}" in names[0] and "size" in axis:
        names = tuple(names[0].replace("{i}", str(i + 1)) for i in range(axis.integer("size")))
    if not names:
        raise axis.fail("channel_names", "a list of names")
    return names


def read_step(fields: Fields, axis_ids: list[str]) -> Step:
    """A processing step, if it is one that is known.

    Parameters
    ----------
    fields : Fields
        Its ``id`` and ``kwargs``.
    axis_ids : list of str
        The axes of its tensor.

    Raises
    ------
    CardError
        If it is unknown, or works along an axis that is not there.
    """
    name = fields.text("id")
    if name not in STEP_IDS:
        raise CardError(
            f"The card asks for the processing step {name!r}; known are {', '.join(STEP_IDS)}.",
            "Steps that are code of the package are never run.",
        )
    kwargs = dict(fields.mapping("kwargs", {}))
    axes = kwargs.get("axes")
    named = [kwargs["axis"]] if "axis" in kwargs else list(axes) if isinstance(axes, (list, str)) else []
    unknown = [axis for axis in named if axis not in axis_ids]
    if unknown:
        raise CardError(
            f"The card's step {name!r} works along {unknown[0]!r}; the axes are {', '.join(axis_ids)}."
        )
    return Step(name, kwargs)


def _test_tensor(entry: Fields, name: str, root: Path, notes: list[str]) -> Path | None:
    source = entry.child("test_tensor").text("source", "")
    if not source or is_remote(source):
        notes.append(
            f"The tensor {name!r} has no test file" + (f" here: it is at {source}." if source else ".")
        )
        return None
    path = inside(root, source)
    if not path.is_file():
        notes.append(f"The test file {source!r} of the tensor {name!r} is missing.")
        return None
    return path
