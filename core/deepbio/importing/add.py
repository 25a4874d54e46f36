"""Adding a model of any kind that is known to the user's library."""

from __future__ import annotations

import dataclasses
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deepbio.errors import CardError, MissingPackage
from deepbio.importing.cellpose import find_own_file, is_cellpose
from deepbio.importing.choice import ImportChoice
from deepbio.importing.monai import find_bundle, is_bundle, is_part_of_bundle
from deepbio.importing.nnunet import find_trainings, is_part_of_training
from deepbio.importing.stardist import find_stardist, is_part_of_stardist, is_stardist
from deepbio.library import ModelCard
from deepbio.library import add_model as add_package
from deepbio.library.archive import unpack_some
from deepbio.library.card import CARD_NAMES

__all__ = ["add_model"]


@dataclass(frozen=True)
class _Kind:
    """A kind of foreign model.

    Attributes
    ----------
    title : str
        What it is called in messages.
    matches : callable
        Whether a model of this kind lies at a path; quick.
    write : callable
        Writes its package into a folder.
    choices : tuple of str
        What of `ImportChoice` can be chosen.
    """

    title: str
    matches: Callable[[Path], bool]
    write: Callable[[Path, Path, ImportChoice], ModelCard]
    choices: tuple[str, ...] = ()


def add_model(
    source: str | Path,
    *,
    name: str | None = None,
    replace: bool = False,
    choice: ImportChoice | None = None,
) -> ModelCard:
    """Add a model to the user's library.

    Parameters
    ----------
    source : str or Path
        A folder or a zip: a package in the BioImage.IO format, what nnU-Net v2 trained (the folder with
        ``plans.json``, one above it, or a zip from ``nnUNetv2_export_model_to_zip``), a bundle of MONAI that
        segments, or a model of StarDist (its folder or export); or the file of a network of Cellpose (versions 1 to
        3). All but the first become a package first, which needs torch; nothing in them is executed, but for the
        network itself where a bundle brings it as TorchScript.
    name : str, optional
        Name to give it; by default made from its own.
    replace : bool
        Whether a user model of this name may be replaced.
    choice : ImportChoice, optional
        For nnU-Net: folds, checkpoint, orientation. For a bundle of MONAI: regions.

    Returns
    -------
    ModelCard
        The card of the added model.

    Raises
    ------
    CardError
        If it is no model that is known, or not sound, or the name is taken or not allowed, or the choice is not
        one that this kind of model leaves.
    WeightsError
        If weights cannot be read, or are not those that the card or the plans describe.
    OutputError
        If the library cannot be written.
    MissingPackage
        If a model of others is added and torch is not installed, a bundle whose network MONAI has to build and
        MONAI is not, or a model of StarDist and h5py is not.
    """
    path, choice = Path(source), choice or ImportChoice()
    kind = next((one for one in _KINDS if one.matches(path)), None)
    if kind is None:
        own = None if path.exists() else find_own_file(str(source))
        if own is not None:
            raise CardError(f"There is no file '{source}' here.", f"Cellpose has one: '{own}'.")
        _check_choice(path, choice, "no model of nnU-Net or MONAI", ())
        return add_package(source, name=name, replace=replace)
    _check_choice(path, choice, kind.title, kind.choices)
    with tempfile.TemporaryDirectory(prefix="deepbio-import-") as scratch:
        card = kind.write(path, Path(scratch), choice)
        return add_package(card.root, name=name or card.name, replace=replace)


def _check_choice(path: Path, choice: ImportChoice, kind: str, open_: tuple[str, ...]) -> None:
    """Refuse what was chosen and cannot be chosen of a kind of model."""
    default = ImportChoice()
    made = [
        field.name
        for field in dataclasses.fields(choice)
        if getattr(choice, field.name) != getattr(default, field.name)
    ]
    idle = [name for name in made if name not in open_]
    if idle:
        left = f"only {', '.join(open_)}" if open_ else "nothing"
        raise CardError(
            f"'{path}' is {kind}, of which {left} can be chosen; found {', '.join(idle)}.", "Leave that out."
        )


def _write_nnunet(path: Path, scratch: Path, choice: ImportChoice) -> ModelCard:
    try:
        from deepbio.importing.nnunet_package import write_nnunet_package
    except ImportError as error:
        raise MissingPackage("torch", "Importing a training of nnU-Net", "torch") from error

    folder = _unpacked(path, scratch, is_part_of_training)
    return write_nnunet_package(find_trainings(folder, path), scratch, choice)


def _write_bundle(path: Path, scratch: Path, choice: ImportChoice) -> ModelCard:
    try:
        from deepbio.importing.monai_package import write_monai_package
    except ImportError as error:
        raise MissingPackage("torch", "Importing a MONAI bundle", "train") from error

    folder = _unpacked(path, scratch, is_part_of_bundle)
    found = find_bundle(folder, path)
    called = path.stem if found == folder and path.is_file() else found.resolve().name
    return write_monai_package(found, called, scratch, choice)


def _write_cellpose(path: Path, scratch: Path, _choice: ImportChoice) -> ModelCard:
    try:
        from deepbio.importing.cellpose_package import write_cellpose_package
    except ImportError as error:
        raise MissingPackage("torch", "Importing a model of Cellpose", "train") from error

    return write_cellpose_package(path, scratch)


def _write_stardist(path: Path, scratch: Path, _choice: ImportChoice) -> ModelCard:
    for package in ("h5py", "torch"):
        if find_spec(package) is None:
            raise MissingPackage(package, "Importing a model of StarDist", "stardist")
    from deepbio.importing.stardist_package import write_stardist_package

    folder = _unpacked(path, scratch, is_part_of_stardist)
    found = find_stardist(folder, path)
    called = path.stem if found.parent == folder and path.is_file() else found.parent.resolve().name
    return write_stardist_package(found, called, scratch)


def _unpacked(path: Path, scratch: Path, is_part: Callable[[str], bool]) -> Path:
    """The folder itself, or one with the members of a zip that are parts of the model."""
    if not path.is_file():
        return path
    folder = scratch / "unpacked"
    unpack_some(path, folder, is_part)
    return folder


def _is_nnunet(path: Path) -> bool:
    """Whether plans of nnU-Net lie there, and no card of a package."""
    if path.is_dir():
        names = {file.name for depth in ("*", "*/*", "*/*/*") for file in path.glob(depth) if file.is_file()}
        top = {file.name for file in path.iterdir()}
        return "plans.json" in names and not top & set(CARD_NAMES)
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            inside = {Path(one).name for one in file.namelist()}
        return "plans.json" in inside and not inside & set(CARD_NAMES)
    return False


_KINDS = (  # the first that matches
    _Kind("a model of nnU-Net", _is_nnunet, _write_nnunet, ("folds", "checkpoint", "orientation")),
    _Kind("a bundle of MONAI", is_bundle, _write_bundle, ("regions",)),
    _Kind("a model of Cellpose", is_cellpose, _write_cellpose),
    _Kind("a model of StarDist", is_stardist, _write_stardist),
)
