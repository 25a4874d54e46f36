"""Writing model packages of our own, valid BioImage.IO 0.5.

The format knows no safetensors. So ``weights:`` holds the ONNX twin, which every program of the
BioImage.IO family can run, and our safetensors stand under ``config: deepbio: network:`` and among
the attachments. Without a twin, ``weights:`` names the safetensors as a state dict of
``deepbio.networks.build``: valid, but only deepbio can run it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace as replace_field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deepbio.errors import CardError, OutputError
from deepbio.image import RGB
from deepbio.library.archive import copy_folder
from deepbio.library.card import CARD_NAMES, SPATIAL, ModelCard, Step, read_card
from deepbio.library.cascade import FIRST
from deepbio.library.content import PackageContent, TensorContent, check_content

__all__ = ["PackageContent", "TensorContent", "check_place", "write_package"]

# The oldest format that has all that is written here, so that older readers take it too.
FORMAT_VERSION = "0.5.4"


def write_package(root: Path | str, content: PackageContent, *, replace: bool = False) -> ModelCard:
    """Write a model package.

    The files are written into a temporary folder next to `root`, read back and checked, and only
    then given the name.

    Parameters
    ----------
    root : Path or str
        Folder to make; its name is the model's name.
    content : PackageContent
        What goes into it.
    replace : bool
        Whether an existing folder may be replaced.

    Returns
    -------
    ModelCard
        The card as it is read back from `root`.

    Raises
    ------
    CardError
        If the content contradicts itself, or `root` exists and may not be replaced.
    OutputError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_file({"bias": np.zeros(2, np.float32)}, folder / "best.safetensors")
    >>> pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    >>> content = PackageContent(
    ...     title="Tiny example",
    ...     description="Shows how a package is written.",
    ...     task="instances",
    ...     license="CC0-1.0",
    ...     authors=[{"name": "The DeepBio developers"}],
    ...     inputs=[
    ...         TensorContent(
    ...             pixels,
    ...             ("intensity",),
    ...             minimum=(16, 16),
    ...             step=(8, 8),
    ...             steps=[Step("zero_mean_unit_variance", {"axes": ["y", "x"]})],
    ...         )
    ...     ],
    ...     outputs=[TensorContent(np.zeros((1, 2, 16, 16), np.float32), ("inside", "border"))],
    ...     network="unet",
    ...     arguments={"in_channels": 1, "out_channels": 2},
    ...     safetensors=folder / "best.safetensors",
    ...     config={"decode": {"method": "threshold", "level": np.float64(0.5)}},
    ... )
    >>> card = write_package(folder / "tiny", content)
    >>> card.name, card.ndim, card.weights[0].format, card.input.axis("x").step
    ('tiny', 2, 'safetensors', 8)
    """
    root = Path(root)
    check_content(content)
    if root.exists() and not replace:
        raise CardError(f"The folder '{root}' exists already.", "Choose another name or replace it.")
    check_place(root)
    try:
        _write_beside(root, content)
    except OSError as error:
        raise OutputError(
            f"The model package '{root}' cannot be written: {error.strerror or error}.",
            "Free some space or choose a folder that you may write to.",
        ) from error
    return read_card(root)


def check_place(root: Path) -> None:
    """Check, before the work, that a model package can go to a folder.

    Raises
    ------
    OutputError
        If something else than a model is there, or the folder that it is to be in cannot be made.
    """
    is_ours = root.is_dir() and (
        any((root / name).exists() for name in CARD_NAMES) or not any(root.iterdir())
    )
    if root.exists() and not is_ours:
        kind = "folder" if root.is_dir() else "file"
        raise OutputError(
            f"'{root}' is a {kind} that is no model: it is not replaced by one.", "Name a new folder."
        )
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder '{root.parent}' cannot be made: {error.strerror or error}.", "Choose another one."
        ) from error


def _write_beside(root: Path, content: PackageContent) -> None:
    """Write the files into a temporary folder, check what is read back, and only then give it the name."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=".writing-", dir=root.parent, ignore_cleanup_errors=True
    ) as folder:
        new = Path(folder, root.name)
        new.mkdir()
        _write(new, content)
        for weights in read_card(new).weights:
            weights.verify()
        if root.exists():
            root.rename(Path(folder, ".old"))
        new.rename(root)


def _write(folder: Path, content: PackageContent) -> None:
    entries = _tensors(folder, content)
    weights, network = _weights(folder, content)
    for name, path in content.files.items():
        shutil.copyfile(path, folder / name)
    (folder / "README.md").write_text(_readme(content), encoding="utf-8")
    attachments = [_file(folder, name) for name in content.files if name != "cover.png"]
    if content.first_stage is not None:
        copy_folder(content.first_stage, folder / FIRST)
        # the format allows no second card among the attachments
        inner = sorted(path for path in (folder / FIRST).iterdir() if path.name not in CARD_NAMES)
        attachments += [_file(folder, path.relative_to(folder).as_posix()) for path in inner]
    if content.safetensors is not None and content.onnx is not None:
        attachments.append(_file(folder, "weights.safetensors"))
    ours = {
        "task": content.task,
        "modality": list(content.modality),
        "network": network,
        **content.config,
        "training_data": content.training_data,
        "scores": list(content.scores),
    }
    card: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "type": "model",
        "name": content.title,
        "description": content.description,
        "version": content.version,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "authors": list(content.authors),
        "license": content.license,
        "cite": list(content.citations),
        "tags": list(content.tags),
        "documentation": "README.md",
        "covers": ["cover.png"] if "cover.png" in content.files else [],
        "attachments": attachments,
        **entries,
        "weights": weights,
        "config": {
            **_tolerance(content),
            "deepbio": {name: value for name, value in ours.items() if value not in ("", [], {})},
        },
    }
    text = yaml.dump(_plain(card), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    (folder / "bioimageio.yaml").write_text(text, encoding="utf-8")


def _tensors(folder: Path, content: PackageContent) -> dict[str, list[dict[str, Any]]]:
    first = _with_room(content)
    name = first.id or "input"
    entries: dict[str, list[dict[str, Any]]] = {"inputs": [], "outputs": []}
    for number, tensor in enumerate((first, *content.inputs[1:])):
        label = tensor.id or (f"input_{number}" if number else "input")
        entries["inputs"].append(_tensor(folder, tensor, label, first, None))
    for number, tensor in enumerate(content.outputs):
        label = tensor.id or (f"output_{number}" if number else "output")
        entries["outputs"].append(_tensor(folder, tensor, label, first, name))
    return entries


def _tolerance(content: PackageContent) -> dict[str, Any]:
    """Tolerance of the self-test, unless the format would call it too large for these outputs."""
    relative, absolute = content.tolerance
    if absolute > 0.01 * min(float(tensor.test.max()) for tensor in content.outputs):
        return {}
    row = {
        "relative_tolerance": relative,
        "absolute_tolerance": absolute,
        "mismatched_elements_per_million": 0,
    }
    return {"bioimageio": {"reproducibility_tolerance": [row]}}


class _Dumper(yaml.SafeDumper):
    """Without aliases: not every reader of cards follows them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _weights(folder: Path, content: PackageContent) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copy the weights; return ``weights:`` and ``config: deepbio: network:``."""
    weights: dict[str, Any] = {}
    network: dict[str, Any] = {}
    if content.safetensors is not None:
        shutil.copyfile(content.safetensors, folder / "weights.safetensors")
        network = {
            "name": content.network,
            "arguments": content.arguments,
            **_file(folder, "weights.safetensors"),
        }
    if content.onnx is not None:
        shutil.copyfile(content.onnx, folder / "weights.onnx")
        weights["onnx"] = {**_file(folder, "weights.onnx"), "opset_version": content.opset}
    elif content.torchscript is not None:
        shutil.copyfile(content.torchscript, folder / "weights.ts")
        weights["torchscript"] = {**_file(folder, "weights.ts"), "pytorch_version": "2.10"}
    else:
        call = {"name": content.network, "arguments": content.arguments}
        weights["pytorch_state_dict"] = {
            **_file(folder, "weights.safetensors"),
            "architecture": {"import_from": "deepbio.networks", "callable": "build", "kwargs": call},
            "pytorch_version": "2.10",
        }
    return weights, network


def _tensor(
    folder: Path, tensor: TensorContent, name: str, first: TensorContent, follows: str | None
) -> dict[str, Any]:
    np.save(folder / f"test_{name}.npy", tensor.test, allow_pickle=False)
    entry: dict[str, Any] = {
        "id": name,
        "description": tensor.description,
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": list(tensor.channels)},
            *_spatial_axes(tensor, first, follows),
        ],
        "data": {"type": tensor.test.dtype.name},
        "test_tensor": _file(folder, f"test_{name}.npy"),
    }
    if tensor.sample is not None:
        import tifffile

        # a picture for people: without axes that are only one thick. Said, since three planes may be anything
        colour = tuple(tensor.channels) == RGB and not tensor.time and tensor.sample.ndim == 4
        tifffile.imwrite(
            folder / f"sample_{name}.tif",
            np.squeeze(tensor.sample),
            compression="zlib",
            photometric="rgb" if colour else "minisblack",
            planarconfig="separate" if colour else None,
        )
        entry["sample_tensor"] = _file(folder, f"sample_{name}.tif")
    if follows is None:
        entry["preprocessing"] = _steps(tensor.steps, first="float32", last="float32")
    else:
        entry["postprocessing"] = _steps(tensor.steps, first="", last=tensor.test.dtype.name)
    return entry


def _spatial_axes(tensor: TensorContent, first: TensorContent, follows: str | None) -> list[dict[str, Any]]:
    shape = tensor.test.shape[2:]
    axes: list[dict[str, Any]] = []
    spatial = SPATIAL[len(SPATIAL) - len(shape) + tensor.time :]
    for k, name in enumerate((*(("time",) if tensor.time else ()), *spatial)):
        kind = "time" if name == "time" else "space"
        axis: dict[str, Any] = {"type": kind, "id": name, "size": int(shape[k])}
        if kind == "time" and (follows is not None or not tensor.step or not tensor.step[k]):
            axes.append(axis)
            continue
        if follows is not None and first.test.ndim > 2:  # what is made of a vector has a size of its own
            axis["size"] = {"tensor_id": follows, "axis_id": name}
            times = tensor.scale[k] if tensor.scale else 1
            if times != 1:  # size = size of the input * 1 / scale
                axis["scale"] = 1 / times
            # the format wants whole pixels of the input
            halo = (
                int(times * min(tensor.halo[k] // times, (_smallest(first, k) - 1) // 2))
                if tensor.halo
                else 0
            )
            if halo:
                axis["halo"] = halo
        elif tensor.minimum:
            axis["size"] = {"min": _smallest(tensor, k), "step": tensor.step[k] if tensor.step else 1}
        axes.append(axis)
    return axes


def _smallest(tensor: TensorContent, k: int) -> int:
    return tensor.minimum[k] if tensor.minimum else int(tensor.test.shape[2 + k])


def _with_room(content: PackageContent) -> TensorContent:
    """First input, its smallest size raised so that cutting off the halos leaves something.

    The format wants ``minimum > 2 * halo``; but the test input must stay one of the sizes.
    """
    first = content.inputs[0]
    halos = [
        tuple(
            int(-(-edge // times)) for edge, times in zip(tensor.halo, tensor.scale or (1,) * 3, strict=False)
        )
        for tensor in content.outputs
        if tensor.halo
    ]
    if not first.minimum or not halos:
        return first
    minimum = []
    for k, low in enumerate(first.minimum):
        step = first.step[k] if first.step else 1
        missing = max(2 * max(halo[k] for halo in halos) + 1 - low, 0)
        raised = low + -(-missing // step) * step
        minimum.append(min(raised, int(first.test.shape[2 + k])))
    return replace_field(first, minimum=tuple(minimum))


def _steps(steps: Sequence[Step], first: str, last: str) -> list[dict[str, Any]]:
    """Steps with the types said at both ends: a reader would otherwise cast to the raw type."""
    rows: list[dict[str, Any]] = [{"id": step.id, "kwargs": dict(step.kwargs)} for step in steps]
    if first and (not rows or rows[0]["id"] != "ensure_dtype"):
        rows.insert(0, {"id": "ensure_dtype", "kwargs": {"dtype": first}})
    if rows[-1:] != [{"id": "ensure_dtype", "kwargs": {"dtype": last}}]:
        rows.append({"id": "ensure_dtype", "kwargs": {"dtype": last}})
    return [row if row["kwargs"] else {"id": row["id"]} for row in rows]


def _file(folder: Path, name: str) -> dict[str, str]:
    with (folder / name).open("rb") as file:
        return {"source": name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _readme(content: PackageContent) -> str:
    text = content.documentation.strip() or f"# {content.title}\n\n{content.description}"
    if not re.search(r"^#+ .*validation", text, re.IGNORECASE | re.MULTILINE):
        text += "\n\n## Validation\n\n" + _score_table(content.scores)
    return text.rstrip() + "\n"


def _score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return (
            "No held-out scores are known. Compare the labels with labels of your own: `deepbio evaluate`.\n"
        )
    columns = list(dict.fromkeys(name for row in scores for name in row))
    lines = [
        columns,
        ["---"] * len(columns),
        *([str(row.get(name, "")) for name in columns] for row in scores),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _plain(value: Any) -> Any:
    """Plain YAML values: numpy numbers and arrays, tuples and mappings converted."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, int) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise CardError(f"A card cannot hold a {type(value).__name__} ({value!r}); expected plain values.")
