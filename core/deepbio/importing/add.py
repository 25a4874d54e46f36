"""Adding a model of any kind that is known to the user's library."""

from __future__ import annotations

import dataclasses
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from deepbio.errors import CardError, MissingPackage
from deepbio.importing.choice import ImportChoice
from deepbio.importing.monai import find_bundle, is_bundle, unpack_bundle
from deepbio.importing.nnunet import find_trainings, unpack_trainings
from deepbio.importing.stardist import find_stardist, is_stardist, unpack_stardist
from deepbio.library import ModelCard
from deepbio.library import add_model as add_package
from deepbio.library.card import CARD_NAMES

__all__ = ["add_model"]


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
        segments, or a 2D model of StarDist (its folder or export). The last three become a package first, which
        needs torch; nothing in them is executed, but for the network itself where a bundle brings it as TorchScript.
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
        If it is no model that is known, or not sound, or the name is taken or not allowed.
    WeightsError
        If weights cannot be read, or are not those that the card or the plans describe.
    OutputError
        If the library cannot be written.
    MissingPackage
        If a model of nnU-Net is added and torch is not installed, a bundle whose network MONAI has to build and
        MONAI is not, or a model of StarDist and torch or h5py are not.
    """
    path, choice = Path(source), choice or ImportChoice()
    is_nnunet = _is_nnunet(path)
    if not is_nnunet:
        if dataclasses.replace(choice, regions=()) != ImportChoice():
            raise CardError(
                f"'{source}' is no model of nnU-Net: it has no folds, checkpoints or orientation to choose from.",
                "Leave these options out.",
            )
        if is_bundle(path):
            return _add_bundle(path, choice, name=name, replace=replace)
    if choice.regions:
        raise CardError(f"'{source}' is no bundle of MONAI: it has no regions to choose.", "Leave them out.")
    if not is_nnunet and is_stardist(path):
        return _add_stardist(path, name=name, replace=replace)
    if not is_nnunet:
        return add_package(source, name=name, replace=replace)
    try:
        from deepbio.importing.nnunet_package import write_nnunet_package
    except ImportError as error:
        raise MissingPackage("torch", "Importing a training of nnU-Net", "torch") from error

    with tempfile.TemporaryDirectory(prefix="deepbio-import-") as scratch:
        folder = _unpacked(path, Path(scratch), unpack_trainings)
        card = write_nnunet_package(find_trainings(folder, path), Path(scratch), choice)
        return add_package(card.root, name=name or card.name, replace=replace)


def _add_bundle(path: Path, choice: ImportChoice, *, name: str | None, replace: bool) -> ModelCard:
    """Add a bundle of MONAI."""
    try:
        from deepbio.importing.monai_package import write_monai_package
    except ImportError as error:
        raise MissingPackage("torch", "Importing a MONAI bundle", "train") from error

    with tempfile.TemporaryDirectory(prefix="deepbio-import-") as scratch:
        folder = _unpacked(path, Path(scratch), unpack_bundle)
        found = find_bundle(folder, path)
        called = path.stem if found == folder and path.is_file() else found.resolve().name
        card = write_monai_package(found, called, Path(scratch), choice)
        return add_package(card.root, name=name or card.name, replace=replace)


def _add_stardist(path: Path, *, name: str | None, replace: bool) -> ModelCard:
    """Add a model of StarDist."""
    for package in ("h5py", "torch"):
        if find_spec(package) is None:
            raise MissingPackage(package, "Importing a model of StarDist", "stardist")
    from deepbio.importing.stardist_package import write_stardist_package

    with tempfile.TemporaryDirectory(prefix="deepbio-import-") as scratch:
        folder = _unpacked(path, Path(scratch), unpack_stardist)
        found = find_stardist(folder, path)
        called = path.stem if found.parent == folder and path.is_file() else found.parent.resolve().name
        card = write_stardist_package(found, called, Path(scratch))
        return add_package(card.root, name=name or card.name, replace=replace)


def _unpacked(path: Path, scratch: Path, unpack: Callable[[Path, Path], None]) -> Path:
    """The folder itself, or what `unpack` takes out of a zip."""
    if not path.is_file():
        return path
    unpack(path, scratch / "unpacked")
    return scratch / "unpacked"


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
