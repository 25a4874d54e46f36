"""What all commands share: consoles, errors as one clear line, exit codes, and how a job is stopped."""

from __future__ import annotations

import errno
import inspect
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from deepbio.errors import Cancelled, DeepBioError, OptionError, OutputError

__all__ = ["BUG", "EXIT_CODES", "JsonOption", "command", "err", "out", "print_json", "report"]

BUG = 70  # EX_SOFTWARE of sysexits.h
TERMINATED = 128 + signal.SIGTERM
EXIT_CODES = (
    "0 all went well; 1 some of many files failed; 2 wrong option; 3 the image cannot be read; "
    "4 the image does not fit the model; 5 unknown model; 6 broken model package or weights; "
    "7 a package is missing; 8 out of memory; 9 the result cannot be written; 10 training went astray; "
    f"{BUG} an error in DeepBio itself; 130 stopped by Ctrl-C; {TERMINATED} stopped by SIGTERM."
)

# File names may hold brackets, which rich would take for markup, and must not be broken over lines.
out = Console(highlight=False, markup=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for machines.")]
_DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def print_json(fields: dict[str, Any]) -> None:
    """Write one line of JSON to stdout, at once.

    NaN and infinity, which JSON does not have, become null.
    """
    sys.stdout.write(json.dumps(_plain(fields), allow_nan=False) + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    """Return `value` made of what JSON knows."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors of a command into one clear line and an exit code; add ``--debug``.

    A command that takes ``json`` gets its errors as a JSON line too when that is on.
    """

    @wraps(function)
    def guarded(*args: Any, debug: bool = False, **kwargs: Any) -> None:
        with _stoppable() as stopped:
            try:
                function(*args, **kwargs)
            except (typer.Exit, typer.Abort, BrokenPipeError):  # the last: the reader of our stdout has gone
                raise
            except KeyboardInterrupt:
                error = Cancelled("Stopped; nothing half-written is left behind.")
                _fail(error, kwargs, debug, code=stopped.get("code", error.exit_code))
            except DeepBioError as error:
                _fail(error, kwargs, debug)
            except OSError as error:
                _fail(_of_the_system(error), kwargs, debug)
            except Exception as error:  # noqa: BLE001 - the last line of defence, told as what it is
                _fail(error, kwargs, debug)

    signature = inspect.signature(function, eval_str=True)
    option = inspect.Parameter(
        "debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_DebugOption
    )
    parameters = [*signature.parameters.values(), option]
    set_signature(guarded, parameters)
    # typer keeps the line ends of the source; help is to be broken where the terminal ends
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    guarded.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return guarded


def set_signature(function: Callable[..., None], parameters: list[inspect.Parameter]) -> None:
    """Give a function the parameters that typer shall see."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def report(error: BaseException, *, debug: bool = False) -> None:
    """Write an error to stderr: what was found, what was expected, and the way out."""
    if debug:
        err.print("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, DeepBioError):
        message, hint = error.message, error.hint
    else:
        message = f"This is an error in DeepBio itself: {type(error).__name__}: {error}"
        hint = (
            "Please report it."
            if debug
            else "Run again with --debug to see the traceback, and please report it."
        )
    err.print(Text.assemble(("Error: ", "bold red"), message))
    if hint:
        err.print(Text.assemble(("Hint: ", "bold"), hint))


def _of_the_system(error: OSError) -> Exception:
    """What the system refuses wherever a command meets it; the rest would be a mistake of ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):  # what we write ourselves says so with its name
        return OutputError(
            f"The output cannot be written: {error.strerror}.", "Free some space or send it elsewhere."
        )
    if error.errno == errno.ENAMETOOLONG:
        return OptionError(f"The name '{error.filename}' is too long for the system.", "Use a shorter one.")
    return error


def _fail(error: BaseException, kwargs: dict[str, Any], debug: bool, code: int | None = None) -> None:
    """Report an error and leave with its exit code."""
    if code is None:
        code = error.exit_code if isinstance(error, DeepBioError) else BUG
    report(error, debug=debug)
    if kwargs.get("json"):
        with suppress(OSError):  # where stdout itself is what cannot be written
            print_json({"event": "error", "code": code, **describe(error)})
    raise typer.Exit(code) from error


def describe(error: BaseException) -> dict[str, str]:
    """Return what a machine needs to know of an error: its kind, message and hint."""
    message = error.message if isinstance(error, DeepBioError) else str(error)
    return {"error": type(error).__name__, "message": message, "hint": getattr(error, "hint", "")}


@contextmanager
def _stoppable() -> Iterator[dict[str, int]]:
    """Let SIGTERM (job schedulers, ``kill``) stop a command as Ctrl-C does: nothing half-written stays."""
    stopped: dict[str, int] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        stopped["code"] = 128 + number
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stopped  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, before)
