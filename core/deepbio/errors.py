"""Every failure a user can meet, each with a hint that says what to do next.

An error message says what was found and what was expected; ``hint`` says the way out. The
front ends show both and never parse a traceback. Each class also derives from the builtin
that a Python programmer would have caught, and carries the exit code of the command line.
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "CardError",
    "DeepBioError",
    "ImageError",
    "InputMismatch",
    "MissingPackage",
    "OptionError",
    "OutOfMemory",
    "OutputError",
    "TrainingError",
    "UnknownModel",
    "WeightsError",
]


class DeepBioError(Exception):
    """Base class of all errors that deepbio raises on purpose.

    Parameters
    ----------
    message : str
        What was found and what was expected, in one sentence.
    hint : str
        What the user can do about it.

    Examples
    --------
    >>> error = ImageError("'a.tif' is empty (0 bytes).", "Copy the file again.")
    >>> print(error)
    'a.tif' is empty (0 bytes). Copy the file again.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class OptionError(DeepBioError, ValueError):
    """An option has an unknown name or a value outside its range."""

    exit_code = 2


class ImageError(DeepBioError, ValueError):
    """A file cannot be read as an image, or an image breaks its own invariants."""

    exit_code = 3


class InputMismatch(DeepBioError, ValueError):
    """The image is sound but is not what this model takes."""

    exit_code = 4


class UnknownModel(DeepBioError, LookupError):
    """No model of this name is known; the hint gives the nearest names."""

    exit_code = 5


class CardError(DeepBioError, ValueError):
    """A model package is incomplete, contradicts itself or asks for what is not allowed."""

    exit_code = 6


class WeightsError(DeepBioError, ValueError):
    """The weights are damaged (hash) or do not fit the network that the card names."""

    exit_code = 6


class MissingPackage(DeepBioError, ImportError):
    """An optional package is needed here; the hint is the pip line."""

    exit_code = 7

    def __init__(self, package: str, purpose: str, extra: str = "") -> None:
        target = f'"deepbio-imaging[{extra}]"' if extra else package
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed.",
            f"Install it with: pip install {target}",
        )
        self.package = package

    def __reduce__(self) -> tuple[object, ...]:  # the base class pickles (message, hint)
        return _rebuild, (type(self), self.message, self.hint, {"package": self.package})


class OutOfMemory(DeepBioError, MemoryError):
    """Memory ran out even after smaller tiles, half precision and the CPU were tried."""

    exit_code = 8


class OutputError(DeepBioError, OSError):
    """The result cannot be written (no right to, no space, or it exists already)."""

    exit_code = 9

    def __str__(self) -> str:  # OSError has its own idea of two arguments
        return DeepBioError.__str__(self)


class TrainingError(DeepBioError, ArithmeticError):
    """Training went astray: the loss is no longer a number."""

    exit_code = 10


class Cancelled(DeepBioError):
    """The user asked to stop; nothing half-written is left behind."""

    exit_code = 130

    def __init__(self, message: str = "Cancelled.", hint: str = "") -> None:
        super().__init__(message, hint)


def _rebuild(kind: type[DeepBioError], message: str, hint: str, state: dict[str, object]) -> DeepBioError:
    """Rebuild an error whose constructor does not take (message, hint), for pickle."""
    error = kind.__new__(kind)
    DeepBioError.__init__(error, message, hint)
    error.__dict__.update(state)
    return error
