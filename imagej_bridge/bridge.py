"""ImageJ hears ``run("DeepBio ...")``: a CommandListener and a MacroExtension, written in Python.

The listener is called in the thread of the macro, before ImageJ looks for a command of that name; it works on
the image that is current there and returns when the result is there.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from deepbio.errors import Cancelled, DeepBioError, OutOfMemory
from deepbio.worker.values import describe_error
from imagej_bridge.commands import COMMANDS, execute
from imagej_bridge.desk import ImageJDesk
from imagej_bridge.java import is_headless, java, write_private
from imagej_bridge.options import NoOptions, TableOptions, format_words, parse_words

__all__ = ["Bridge", "MacroError"]

_PREFIX = "DeepBio "
_NO_MENU = "A bare ImageJ has no menu commands without a screen: use Fiji, or start it with xvfb-run."
_FOREIGN = "DeepImageJ Run"  # taken over where DeepImageJ itself is not installed


class MacroError(DeepBioError, RuntimeError):
    """A macro was aborted by ImageJ itself: a mistake in it, or a command that failed."""


class Bridge:
    """Listens to ImageJ's commands and carries ours out.

    Parameters
    ----------
    quiet : bool
        Whether nobody sits in front of the screen: errors then open no window, which would wait for ever.

    Attributes
    ----------
    errors : list of Exception
        Why macros were aborted, in order; ImageJ itself does not tell its callers.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet or is_headless()
        self.desk = ImageJDesk()
        self.desk.register_extensions = self._register_extensions
        self.errors: list[Exception] = []
        self._outer: list[Any] = []
        self._listener = _listener(self._hear)
        self._extension = _extension(self._call)

    def install(self) -> None:
        """Begin to listen."""
        java("ij.Executer").addCommandListener(self._listener)

    def uninstall(self) -> None:
        """Listen no more, and let the models go."""
        java("ij.Executer").removeCommandListener(self._listener)
        self.desk.models.release()

    @contextmanager
    def inside(self, interpreter: Any) -> Iterator[None]:
        """While open, errors in macros that this one calls abort it too; ImageJ itself lets it go on."""
        self._outer.append(interpreter)
        try:
            yield
        finally:
            self._outer.remove(interpreter)

    def _hear(self, command: str) -> bool:
        """Carry a command out if it is ours; say whether it was."""
        name = _PREFIX + command if command == _FOREIGN and not _is_installed(command) else command
        if not name.startswith(_PREFIX):
            return self._refuse(command)
        text = java("ij.Macro").getOptions()
        if text is None and name in COMMANDS and self._asks(name):
            return self._ask(name)
        self.carry_out(name, "" if text is None else str(text))
        return True

    def _refuse(self, command: str) -> bool:
        """End a macro that calls a command of ImageJ where it has none; say whether it did.

        ImageJ's own error would open a window, fail at that and be replaced by that of the line it cannot go on with.
        """
        interpreter = java("ij.macro.Interpreter").getInstance()
        if interpreter is None or not is_headless() or java("ij.Menus").getCommands():
            return False
        why = f'Unrecognized command: "{command}" (line {int(interpreter.getLineNumber())}).'
        error = MacroError(f"The macro was aborted: {why}", _NO_MENU)
        self._abort(error, f"{error.message} {error.hint}")
        return True

    def _asks(self, name: str) -> bool:
        """Whether a command without options opens its dialog."""
        return not self.quiet and COMMANDS[name].options not in (NoOptions, TableOptions)

    def _ask(self, name: str) -> bool:
        from imagej_bridge.dialog import ask, record

        words = ask(COMMANDS[name])
        if words is not None:
            record(name, words)
            self.carry_out(name, format_words(words))
        return True

    def carry_out(self, name: str, text: str) -> bool:
        """Carry out a command; abort the macro that called it if that fails.

        Returns
        -------
        bool
            Whether it went well.
        """
        ij = java("ij.IJ")
        ij.resetEscape()
        try:
            execute(self.desk, name, text)
        except Cancelled as error:
            self._abort(error, str(error))
            return False
        except DeepBioError as error:
            self._fail(error, text)
            return False
        except Exception as error:  # noqa: BLE001 - Java must see no exception of Python: its message would be lost
            self._fail(_as_ours(error), text)
            return False
        finally:
            ij.showProgress(1.0)
        return True

    def _fail(self, error: Exception, text: str) -> None:
        if _wants_traceback(text):
            java("ij.IJ").log("".join(traceback.format_exception(error)))
        told = describe_error(error)
        self._abort(error, " ".join(f"{told['message']} {told['hint']}".split()))

    def _abort(self, error: Exception, message: str) -> None:
        """End the macro that is running, if one is, with a message of one line."""
        self.errors.append(error)
        self.desk.last = {"error": message}
        ij, interpreter = java("ij.IJ"), java("ij.macro.Interpreter").getInstance()
        ij.showStatus(message)
        if interpreter is not None:
            if self.quiet or isinstance(error, Cancelled):
                interpreter.setIgnoreErrors(True)
            interpreter.abort(message)  # abortMacro() waits 2 s for the end of this very thread
            for outer in self._outer:
                if outer != interpreter:
                    outer.setIgnoreErrors(True)
                    outer.abort(message)
        elif not isinstance(error, Cancelled):
            if self.quiet:
                ij.redirectErrorMessages()
            write_private("ij.IJ", "macroInterpreter", None)  # one that failed earlier would be told instead
            ij.error("DeepBio", message)

    def _register_extensions(self) -> None:
        java("ij.macro.Functions").registerExtensions(self._extension)

    def _call(self, name: str, arguments: list[Any]) -> str:
        """Carry out a function of ``Ext``; its value is a text."""
        if name == "last":
            key, place = str(arguments[0]), arguments[1]
            place[0] = self.desk.last.get(key, "")
            return ""
        if name == "models":
            from deepbio.library import list_models

            return ",".join(card.name for card in list_models())
        if name == "release":
            return ",".join(self.desk.models.release())
        command = {"segment": "DeepBio Segment", "run": "DeepBio Run"}[name]
        more = str(arguments[1]) if len(arguments) > 1 and arguments[1] is not None else ""
        try:
            text = f"{format_words({'model': str(arguments[0])})} {more}".strip()
        except DeepBioError as error:
            self._fail(error, more)
            return ""
        return self.desk.last.get("count", "0") if self.carry_out(command, text) else ""


def _wants_traceback(text: str) -> bool:
    try:
        return parse_words(text).get("log") == "debug"
    except DeepBioError:
        return False


def _as_ours(error: Exception) -> Exception:
    from deepbio.engine.ladder import is_out_of_memory

    if is_out_of_memory(error):
        return OutOfMemory(f"Memory ran out: {error}.", "Close images, or choose a smaller tile.")
    return error


def _is_installed(command: str) -> bool:
    commands = java("ij.Menus").getCommands()
    return commands is not None and commands.get(command) is not None


def _listener(hear: Callable[[str], bool]) -> Any:
    """A Java object that passes commands on; those that were ours are not ImageJ's any more."""
    from jpype import JImplements, JOverride

    @JImplements("ij.CommandListener")
    class Listener:
        @JOverride
        def commandExecuting(self, command: Any) -> Any:  # noqa: N802 - Java's name
            return None if hear(str(command)) else command

    return Listener()


def _extension(call: Callable[[str, list[Any]], str]) -> Any:
    """A Java object that has the functions of ``Ext``."""
    from jpype import JArray, JClass, JImplements, JOverride

    kinds = JClass("ij.macro.MacroExtension")
    text, optional = kinds.ARG_STRING, kinds.ARG_OPTIONAL
    output = kinds.ARG_OUTPUT
    signatures = {
        "segment": (text, text + optional),
        "run": (text, text + optional),
        "last": (text, text + output),
        "models": (),
        "release": (),
    }

    @JImplements("ij.macro.MacroExtension")
    class Extension:
        @JOverride
        def handleExtension(self, name: Any, arguments: Any) -> Any:  # noqa: N802 - Java's name
            return call(str(name), [] if arguments is None else list(arguments))

        @JOverride
        def getExtensionFunctions(self) -> Any:  # noqa: N802 - Java's name
            describe = JClass("ij.macro.ExtensionDescriptor").newDescriptor
            return JArray(JClass("ij.macro.ExtensionDescriptor"))(
                [describe(name, self_, *types) for name, types in signatures.items()]
            )

    self_ = Extension()
    return self_
