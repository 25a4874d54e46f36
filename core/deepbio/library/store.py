"""Where models live: those that ship with deepbio, and those that the user added.

A model's name is the name of its folder. User models are in ``$DEEPBIO_HOME/models``, or in the
platform's folder for user data.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deepbio.errors import CardError, DeepBioError, OutputError, UnknownModel, WeightsError
from deepbio.library.archive import copy_folder, unpack
from deepbio.library.card import CARD_NAMES, ModelCard, read_card
from deepbio.library.cascade import stages

__all__ = [
    "Problem",
    "add_model",
    "bundled_folder",
    "find_model",
    "is_bundled",
    "list_models",
    "model_names",
    "remove_model",
    "scan_models",
    "user_folder",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Problem:
    """A folder of the library whose card cannot be read."""

    name: str
    folder: Path
    error: CardError


def bundled_folder() -> Path:
    """Folder of the models that ship with deepbio."""
    return Path(__file__).parent / "bundled"


def user_folder() -> Path:
    """Folder of the models that the user added; it need not exist yet."""
    home = os.environ.get("DEEPBIO_HOME")
    if home:
        return Path(home).expanduser() / "models"
    import platformdirs

    return platformdirs.user_data_path("deepbio", appauthor=False) / "models"


def _folders() -> dict[str, Path]:
    """Package folders by name; a bundled model is never hidden by a user's."""
    found: dict[str, Path] = {}
    for base in (bundled_folder(), user_folder()):
        try:
            entries = sorted(base.iterdir())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CardError(
                f"The model folder '{base}' cannot be read: {error.strerror or error}."
            ) from error
        for path in entries:
            if path.is_dir() and not path.name.startswith((".", "_")):
                found.setdefault(path.name, path)
    return found


def model_names() -> tuple[str, ...]:
    """Names of all models, without reading their cards."""
    return tuple(sorted(_folders()))


def is_bundled(card: ModelCard) -> bool:
    """Whether a model ships with deepbio."""
    return card.root.resolve().parent == bundled_folder().resolve()


def scan_models() -> tuple[tuple[ModelCard, ...], tuple[Problem, ...]]:
    """Read every card of the library.

    Returns
    -------
    cards : tuple of ModelCard
        Sorted by name.
    problems : tuple of Problem
        Folders whose card cannot be read, for the user to see.
    """
    cards, problems = [], []
    for name, folder in sorted(_folders().items()):
        try:
            cards.append(read_card(folder))
        except CardError as error:
            problems.append(Problem(name, folder, error))
    return tuple(cards), tuple(problems)


def list_models(task: str | None = None, modality: str | None = None) -> tuple[ModelCard, ...]:
    """All models, bundled and added, sorted by name.

    Parameters
    ----------
    task : str, optional
        Only models for this task.
    modality : str, optional
        Only models for this kind of image.

    Returns
    -------
    tuple of ModelCard

    Warns
    -----
    UserWarning
        For a folder whose card cannot be read; :func:`scan_models` returns these.

    Examples
    --------
    >>> from deepbio.library.store import list_models
    >>> list_models(task="no such task")
    ()
    """
    cards, problems = scan_models()
    for problem in problems:
        warnings.warn(f"The model {problem.name!r} is left out. {problem.error}", stacklevel=2)
    return tuple(
        card
        for card in cards
        if task in (None, card.task) and (modality is None or modality in card.modality)
    )


def find_model(name: str | Path) -> ModelCard:
    """Card of a model.

    Parameters
    ----------
    name : str or Path
        A name from :func:`model_names`, or the path of a package's folder. A name goes before a
        folder of the same name; write ``./name`` for the folder.

    Raises
    ------
    UnknownModel
        If there is neither; the hint gives the nearest names.
    CardError
        If the model's card cannot be read.
    """
    folders = _folders()
    if isinstance(name, str) and name in folders:
        return read_card(folders[name])
    if str(name) and Path(name).exists():
        return read_card(name)
    raise _unknown(str(name), folders)


def _unknown(name: str, folders: Iterable[str]) -> UnknownModel:
    near = difflib.get_close_matches(name.lower(), folders, n=3, cutoff=0.55)
    known = f"Known: {', '.join(sorted(folders)) or 'none'}."
    *others, last = map(repr, near) if near else ("",)
    likely = f"{', '.join(others)} or {last}" if others else last
    hint = f"Did you mean {likely}?" if near else known
    return UnknownModel(f"There is no model {name!r}.", hint)


def add_model(source: str | Path, *, name: str | None = None, replace: bool = False) -> ModelCard:
    """Add a model package to the user's library.

    The package is copied into a temporary folder, checked (card, names, hashes of the weights)
    and only then given its name, so a failure leaves nothing behind.

    Parameters
    ----------
    source : str or Path
        A folder or a zip in the BioImage.IO format.
    name : str, optional
        Name to give it; by default made from the card (nickname or title).
    replace : bool
        Whether a user model of this name may be replaced.

    Returns
    -------
    ModelCard
        The card of the added model.

    Raises
    ------
    CardError
        If the package is not sound or the name is taken or not allowed.
    WeightsError
        If a weights file is not the one that the card describes.
    OutputError
        If the library cannot be written.
    """
    if "://" in str(source):
        raise CardError(
            f"{str(source)!r} is an address.", "deepbio downloads nothing: fetch the file and add it."
        )
    source = Path(source)
    if source.name in CARD_NAMES and source.is_file():
        source = source.parent
    if not source.exists():
        raise CardError(f"There is no folder or zip '{source}'.", "Give the path of a model package.")
    with _workspace() as folder:
        if source.is_dir():
            _verify(read_card(source))  # what is wrong is told with the user's own path
            copy_folder(source, folder)
        else:
            unpack(source, folder)
        with _told_of(source, folder):
            card = read_card(folder)
            _verify(card)
        return read_card(_publish(folder, name or _default_name(card), replace))


def _verify(card: ModelCard) -> None:
    """Compare the hashes of all weights, of a cascade those of its first stage, too."""
    for stage in stages(card):
        for weights in stage.weights:
            weights.verify()


def remove_model(name: str) -> None:
    """Remove a model that the user added.

    Raises
    ------
    UnknownModel
        If there is no such model.
    CardError
        If the model ships with deepbio.
    OutputError
        If it cannot be deleted.
    """
    folders = _folders()
    if name not in folders:
        raise _unknown(name, folders)
    folder = folders[name]
    if folder.parent == bundled_folder():
        raise CardError(f"The model {name!r} ships with deepbio and cannot be removed.")
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            _discard(folder)
    except OSError as error:
        raise OutputError(
            f"The model folder '{folder}' cannot be deleted: {error.strerror or error}."
        ) from error


@contextmanager
def _workspace() -> Iterator[Path]:
    """A temporary folder next to the user's models, gone afterwards whatever happens."""
    base = user_folder()
    folder = None
    try:
        base.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".adding-", dir=base))
        yield folder
    except DeepBioError:
        raise
    except OSError as error:
        raise OutputError(
            f"The model cannot be added to '{base}': {error.strerror or error}.",
            "Free some space or set DEEPBIO_HOME to a folder that you may write to.",
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # after success it has moved away


@contextmanager
def _told_of(source: Path, folder: Path) -> Iterator[None]:
    """Put the package that the user knows in place of the temporary folder, which is gone when it is read."""
    try:
        yield
    except (CardError, WeightsError) as error:
        message = error.message.replace(str(folder), str(source))
        raise type(error)(message, error.hint) from error


def _publish(folder: Path, name: str, replace: bool) -> Path:
    """Give the finished folder its name in the library."""
    if not _NAME.fullmatch(name):
        raise CardError(
            f"{name!r} is not allowed as a model's name; expected small letters, digits, '.', '_' and '-'.",
            "Choose one with --name.",
        )
    if (bundled_folder() / name / CARD_NAMES[0]).exists():
        raise CardError(
            f"{name!r} is the name of a model that ships with deepbio.", "Choose another with --name."
        )
    target = user_folder() / name
    if target.exists() and not replace:
        raise CardError(
            f"There is already a model {name!r}.",
            "Use --replace to replace it, or choose another name with --name.",
        )
    folder.chmod(0o755)  # mkdtemp made it private; models may be shared
    if not target.exists():
        return folder.rename(target)
    old = Path(tempfile.mkdtemp(prefix=".removing-", dir=target.parent)) / name
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old.parent)
    return target


def _discard(folder: Path) -> None:
    """Delete a folder so that a half-deleted one is never seen under its name."""
    aside = Path(tempfile.mkdtemp(prefix=".removing-", dir=folder.parent))
    folder.rename(aside / folder.name)
    shutil.rmtree(aside)


def _default_name(card: ModelCard) -> str:
    nickname = card.config.get("bioimageio")
    text = nickname.get("nickname") if isinstance(nickname, dict) else None
    return re.sub(r"[^a-z0-9._]+", "-", str(text or card.title).lower()).strip("-._")[:64]
