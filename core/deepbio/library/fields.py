"""Reading a card field by field: what was found, what was expected, and where.

A card is YAML from anywhere, so nothing in it is trusted: every value is checked for its type, and
every file name for staying inside the package.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from deepbio.errors import CardError

__all__ = ["Fields", "inside", "is_remote"]

_MISSING: Any = object()


class Fields:
    """A mapping of a card that knows its own place, for error messages.

    Parameters
    ----------
    values : object
        What the YAML holds here; anything but a mapping with text keys is an error.
    where : str
        The place, such as ``"inputs[0].axes[1]"``; empty for the card itself.

    Raises
    ------
    CardError
        From every method, if a field is missing or of the wrong type.

    Examples
    --------
    >>> Fields({"size": "big"}, "inputs[0]").integer("size")
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The card's inputs[0].size is 'big'; expected a whole number.
    """

    def __init__(self, values: object, where: str = "") -> None:
        if not isinstance(values, Mapping):
            raise CardError(f"The card's {where or 'content'} is {_short(values)}; expected a mapping.")
        self.values: Mapping[str, Any] = values
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def place(self, name: str) -> str:
        """Dotted place of a field."""
        return f"{self.where}.{name}" if self.where else name

    def fail(self, name: str, expected: str) -> CardError:
        """Error for a field that is not what was `expected`."""
        if name not in self:
            return CardError(f"The card has no {self.place(name)}; expected {expected}.")
        return CardError(
            f"The card's {self.place(name)} is {_short(self.values[name])}; expected {expected}."
        )

    def _get(self, name: str, kinds: tuple[type, ...], expected: str, default: Any) -> Any:
        value = self.values.get(name)
        if value is None and default is not _MISSING:
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.fail(name, expected)
        return value

    def text(self, name: str, default: str = _MISSING) -> str:
        """A text; numbers, as in ``version: 0.1``, are taken as written."""
        return str(self._get(name, (str, int, float), "a text", default))

    def integer(self, name: str, default: int = _MISSING) -> int:
        """A whole number."""
        return int(self._get(name, (int,), "a whole number", default))

    def number(self, name: str, default: float = _MISSING) -> float:
        """A number."""
        return float(self._get(name, (int, float), "a number", default))

    def mapping(self, name: str, default: Mapping[str, Any] = _MISSING) -> Mapping[str, Any]:
        """A mapping, unchecked inside."""
        value: Mapping[str, Any] = self._get(name, (Mapping,), "a mapping", default)
        return value

    def child(self, name: str) -> Fields:
        """A mapping as fields; empty where the card has none."""
        return Fields(self.mapping(name, {}), self.place(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; one text alone counts as a list of one."""
        value = self._get(name, (list, str), "a list of texts", [])
        return (value,) if isinstance(value, str) else tuple(str(item) for item in value)

    def children(self, name: str) -> Iterator[Fields]:
        """The mappings of a list, each as fields; none where the card has no list."""
        for number, value in enumerate(self._get(name, (list,), "a list", [])):
            yield Fields(value, f"{self.place(name)}[{number}]")


def is_remote(source: str) -> bool:
    """Whether a file name of a card is an address rather than a file of the package."""
    return "://" in source


def inside(root: Path, source: str) -> Path:
    """Path of a file of the package, which must stay inside it.

    Parameters
    ----------
    root : Path
        The package's folder.
    source : str
        Name as the card gives it, with ``/`` between folders.

    Returns
    -------
    Path
        ``root / source``; whether it exists is not looked at.

    Raises
    ------
    CardError
        If the name is empty, an address, absolute, climbs out with ``..``, or passes a link.

    Examples
    --------
    >>> inside(Path("package"), "weights/best.onnx").as_posix()
    'package/weights/best.onnx'
    >>> inside(Path("package"), "../../etc/passwd")
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The file name '../../etc/passwd' leaves the model package. ...
    """
    if is_remote(source):
        raise CardError(
            f"The card names the file {source!r}, which is not in the package.",
            "deepbio downloads nothing: fetch it by hand, put it into the package's folder and "
            "write its file name into the card.",
        )
    name = PurePosixPath(source)
    windows = PureWindowsPath(source)
    if (
        not source
        or "\\" in source
        or "\0" in source
        or name.is_absolute()
        or windows.drive
        or ".." in name.parts
    ):
        raise CardError(
            f"The file name {source!r} leaves the model package.",
            "Only names of files inside the package are allowed, with '/' between folders.",
        )
    path = root
    for part in name.parts:
        path = path / part
        if path.is_symlink():
            raise CardError(
                f"The file {source!r} of the model package is a link.", "Put the file itself there."
            )
    return path


def _short(value: object) -> str:
    text = reprlib.repr(value)  # bounded, whatever a card holds
    return text if len(text) <= 60 else f"{text[:57]}..."
