"""From the YAML of a BioImage.IO card to a :class:`~deepbio.library.card.ModelCard`.

Format: https://bioimage-io.github.io/spec-bioimage-io (model description 0.5; 0.4 goes through
:mod:`deepbio.library.legacy` first). Only what a run needs is checked here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from deepbio.errors import CardError
from deepbio.library.card import CARD_NAMES, ModelCard, Weights
from deepbio.library.cascade import read_cascade
from deepbio.library.classes import check_answers, check_classes
from deepbio.library.fields import Fields, inside, is_remote
from deepbio.library.following import check_sequence
from deepbio.library.generator import check_generator
from deepbio.library.restoration import check_restoration
from deepbio.library.spatial import check_grid, check_mirror, check_per_slice, check_sizes
from deepbio.library.tensors import read_tensors
from deepbio.networks import NETWORKS

__all__ = ["card_of_folder", "parsed_yaml"]

MAX_BYTES = 2 * 1024**2
MAX_NODES = 100_000
# libyaml's parser where the wheel has it: ten times as fast, and as safe
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def card_of_folder(root: Path) -> ModelCard:
    """Read a card; see :func:`deepbio.library.card.read_card`."""
    root, file = _locate(root)
    try:
        return _card(Fields(_load(file)), root)
    except CardError as error:
        raise CardError(f"The model card '{file}' is not valid: {error.message}", error.hint) from error


def _locate(path: Path) -> tuple[Path, Path]:
    if path.suffix == ".zip" and path.is_file():
        raise CardError(f"'{path}' is a zip file.", f"Add it to the library first: deepbio models add {path}")
    if path.is_file():
        return path.parent, path
    for name in CARD_NAMES:
        if (path / name).is_file():
            return path, path / name
    found = "there is no such folder" if not path.exists() else f"it has no {CARD_NAMES[0]}"
    raise CardError(
        f"'{path}' is not a model package: {found}.", "A package is a folder in the BioImage.IO format."
    )


def _load(file: Path) -> Any:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise CardError(f"the file has {file.stat().st_size} bytes; expected at most {MAX_BYTES}.")
        return copy.deepcopy(parsed_yaml(file.read_bytes()))
    except OSError as error:
        raise CardError(f"it cannot be read: {error.strerror or error}.") from error
    except RecursionError as error:
        raise CardError("it is nested too deeply.") from error


@lru_cache(maxsize=16)  # a macro in a loop names its model at every turn
def parsed_yaml(text: bytes) -> Any:
    """What a small file of YAML holds; the same object for the same text, so it is not to be changed.

    Raises
    ------
    CardError
        If it is not YAML, or endless.
    """
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CardError(f"it is not YAML: {' '.join(str(error).split())}") from error
    left, heap = MAX_NODES, [content]
    while heap:  # aliases can make a small file endless; nobody may walk through such a card
        node = heap.pop()
        heap.extend(node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
        left -= 1
        if left < 0:
            raise CardError(f"it has more than {MAX_NODES} entries once its aliases are followed.")
    return content


def _card(fields: Fields, root: Path) -> ModelCard:
    if fields.text("type", "model") != "model":
        raise fields.fail("type", "'model'")
    fields = _current(fields)
    config = fields.child("config")
    ours = config.child("deepbio")
    inputs, outputs, notes = read_tensors(fields, root)
    first_stage = None
    if "cascade" in ours:
        seen, first_stage = read_cascade(ours, inputs[0], root)
        inputs = (seen, *inputs[1:])
    weights, more_notes = _weights(fields, ours, root)
    return ModelCard(
        name=root.resolve().name,
        title=fields.text("name"),
        description=fields.text("description", ""),
        version=fields.text("version", ""),
        license=fields.text("license", ""),
        authors=tuple(_author(author) for author in fields.children("authors")),
        citations=tuple(_citation(entry) for entry in fields.children("cite")),
        tags=fields.texts("tags"),
        task=ours.text("task", "") or config.child("bioimageio").text("task", ""),
        modality=ours.texts("modality"),
        inputs=inputs,
        outputs=outputs,
        weights=weights,
        deepbio=_ours(ours, len(inputs[0].spatial), len(outputs[0].channels)),
        config=config.values,
        training_data=_training_data(fields, ours),
        documentation=_file_or_none(fields, "documentation", root),
        notes=(*notes, *more_notes),
        root=root,
        first_stage=first_stage,
    )


def _current(fields: Fields) -> Fields:
    """The card in format 0.5."""
    version = fields.text("format_version")
    if version.startswith("0.5."):
        return fields
    if version.startswith("0.4."):
        from deepbio.library.legacy import from_0_4

        return from_0_4(fields)
    raise CardError(
        f"its format_version is {version!r}; expected 0.5 or 0.4.",
        "Newer: update deepbio. Older: convert it with `bioimageio update-format` (package bioimageio.core).",
    )


def _author(author: Fields) -> str:
    name, affiliation = author.text("name"), author.text("affiliation", "")
    return f"{name} ({affiliation})" if affiliation else name


def _citation(entry: Fields) -> str:
    doi = entry.text("doi", "")
    link = f"doi:{doi}" if doi else entry.text("url", "")
    return f"{entry.text('text')} {link}".strip()


def _training_data(fields: Fields, ours: Fields) -> str:
    data = fields.child("training_data")
    return data.text("id", "") or data.text("name", "") or ours.text("training_data", "")


def _ours(ours: Fields, ndim: int, channels: int) -> Mapping[str, Any]:
    """``config: deepbio:`` with what the library itself shows, and what is said of space, checked."""
    list(ours.children("scores"))
    for name in ("tile", "decode", "classes", "training"):
        ours.child(name)
    if "grid" in ours:
        check_grid(ours.mapping("grid"), ndim)
    if "mirror" in ours:
        check_mirror(ours.values["mirror"], ndim)
    if "per_slice" in ours:
        check_per_slice(ours.values["per_slice"], ndim)
    if "sequence" in ours:
        check_sequence(ours.values["sequence"])
    if "restore" in ours:
        check_restoration(ours.mapping("restore"), ndim)
    if "sizes" in ours:
        check_sizes(ours.mapping("sizes"))
    check_classes(ours)
    if "generator" in ours:
        check_generator(ours.mapping("generator"))
    check_answers(ours, channels)
    return ours.values


def _file_or_none(fields: Fields, name: str, root: Path) -> Path | None:
    value = fields.values.get(name)
    source = str(value.get("source", "")) if isinstance(value, Mapping) else str(value or "")
    if not source or is_remote(source):
        return None
    path = inside(root, source)
    return path if path.is_file() else None


# --- weights ------------------------------------------------------------------------------------


def _weights(fields: Fields, ours: Fields, root: Path) -> tuple[tuple[Weights, ...], list[str]]:
    found: list[Weights] = []
    notes: list[str] = []
    if "network" in ours:
        network = ours.child("network")
        _add_ours(network, network, found, notes, root)
    entries = fields.child("weights")
    for name in entries.values:
        entry = entries.child(name)
        source = entry.text("source", "")
        if is_remote(source):
            notes.append(f"The weights {name!r} are at {source}: download them by hand to use them.")
        elif name == "pytorch_state_dict":
            _add_state_dict(entry, found, notes, root)
        elif name not in ("onnx", "torchscript"):
            notes.append(f"The weights {name!r} are in a format that deepbio does not read.")
        elif not inside(root, source).is_file():
            notes.append(f"The weights {name!r} are not in the package: {source!r} is missing.")
        else:
            found.append(_foreign(name, entry, root))
    if not found:
        raise CardError(
            f"it has no weights that can be used. {' '.join(notes)}".strip(),
            "deepbio reads safetensors of its own networks, ONNX and TorchScript, and downloads nothing.",
        )
    return tuple(found), notes


def _foreign(format: str, entry: Fields, root: Path) -> Weights:
    companions: tuple[tuple[Path, str], ...] = ()
    if "external_data" in entry:  # large ONNX files keep their numbers in a second file
        data = entry.child("external_data")
        companions = ((inside(root, data.text("source")), data.text("sha256", "")),)
    return Weights(
        format, inside(root, entry.text("source")), entry.text("sha256", ""), companions=companions
    )


def _add_ours(file: Fields, network: Fields, found: list[Weights], notes: list[str], root: Path) -> None:
    """Weights of one of our networks: looked up in a table, nothing is ever imported by name."""
    name = network.text("name")
    if name not in NETWORKS:
        notes.append(f"The weights need the network {name!r}; known are {', '.join(NETWORKS)}.")
        return
    path = inside(root, file.text("source"))
    found.insert(0, Weights("safetensors", path, file.text("sha256"), name, network.mapping("arguments", {})))


def _add_state_dict(entry: Fields, found: list[Weights], notes: list[str], root: Path) -> None:
    architecture = entry.values.get("architecture")
    ours = isinstance(architecture, Mapping) and architecture.get("import_from") == "deepbio.networks"
    if not ours or not entry.text("source", "").endswith(".safetensors"):
        notes.append(
            "The weights 'pytorch_state_dict' need code of the package or of another library, or are a pickle; "
            "neither is ever run."
        )
    elif not any(weights.format == "safetensors" for weights in found):
        _add_ours(entry, entry.child("architecture").child("kwargs"), found, notes, root)
