"""The hosts: a Fiji folder or endpoint, a bare ``ij.jar``, or a JVM that is already running."""

from __future__ import annotations

import atexit
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from deepbio.errors import ImageError, MissingPackage
from deepbio.image import Image, LabelMap
from imagej_bridge.bridge import Bridge, MacroError
from imagej_bridge.commands import COMMANDS
from imagej_bridge.convert import to_image, to_imageplus
from imagej_bridge.dialog import add_menu
from imagej_bridge.hosts import find_host, has_screen, let_go, start_fiji, start_jar
from imagej_bridge.java import is_headless, java, read_private, write_private
from imagej_bridge.watchdog import Watchdog

__all__ = ["MacroError", "Session", "start"]

_LOOK = 0.2  # seconds between two looks whether the window is still there
_MACRO = "_Macro$"  # the end of the names of threads that run macros
_ENDED = ("Macro Error ", "Macro ")  # the titles of ImageJ's own errors, and of what exit(text) says
_MISTAKE = re.compile(r"Macro Error (.+?) in line (\d+)(?: |$)")  # as ImageJ's window of an error tells it
_sessions: list[Session] = []  # at most one: a process has one JVM


class Session:
    """ImageJ with our commands in it; made by :func:`start`.

    Attributes
    ----------
    bridge : Bridge
        Hears the commands.
    kind : str
        ``"fiji"``, ``"ij.jar"`` or ``"running"``.
    gateway : object or None
        pyimagej's ``ij``, of a Fiji.
    """

    def __init__(self, kind: str, *, quiet: bool, gateway: Any = None) -> None:
        self.kind, self.gateway, self.quiet = kind, gateway, quiet
        self.bridge = Bridge(quiet=quiet)
        self.bridge.install()

    @property
    def version(self) -> str:
        """ImageJ's version."""
        return str(java("ij.IJ").getVersion())

    def run_macro(self, macro: str | Path, arguments: str = "", *, image: Any = None) -> str:
        """Run a macro, and return when it is done.

        Parameters
        ----------
        macro : str or Path
            Its text, or the path of an .ijm file.
        arguments : str
            What ``getArgument()`` gives it.
        image : Image, LabelMap, path or ij.ImagePlus, optional
            Shown before it begins: the current image then.

        Returns
        -------
        str
            What the macro returned, or empty.

        Raises
        ------
        DeepBioError
            The error of the DeepBio command that aborted it.
        MacroError
            If ImageJ aborted it; the message says why and where.
        """
        text = read_macro(macro)
        _keep_windows_closed()
        if image is not None:
            self.show(image)
        before = len(self.bridge.errors)
        interpreter = java("ij.macro.Interpreter")()
        result = failure = None
        with Watchdog() as watchdog, self.bridge.inside(interpreter), _macro_thread():
            try:
                result = interpreter.run(text, arguments)
            except java("java.lang.Exception") as error:  # how ImageJ ends a macro that was cancelled
                failure = error
        if len(self.bridge.errors) > before:
            raise self.bridge.errors[before]
        why = _why(interpreter, watchdog, failure)
        if why:
            raise MacroError(f"The macro was aborted: {why}")
        for text in watchdog.told:
            java("java.lang.System").out.println(text)  # as ImageJ does without a screen
        return "" if result is None else str(result)

    def open(self, path: str | Path) -> Any:
        """Open an image file with ImageJ, or where it cannot with deepbio; it is shown.

        Returns
        -------
        ij.ImagePlus
        """
        path = Path(path)
        if not path.exists():
            raise ImageError(f"There is no file '{path}'.", "Check the path.")
        image = self._open(path) if path.is_file() else None
        if image is None:
            from deepbio.io import read

            image = to_imageplus(read(path), path.name)
        return self.show(image)

    def _open(self, path: Path) -> Any:
        """What ImageJ makes of a file, or None; it does not ask or complain."""
        opener = java("ij.io.Opener")()
        opener.setSilentMode(True)
        try:
            with Watchdog():
                return opener.openImage(str(path.resolve()))
        finally:
            opener.setSilentMode(False)  # it is one for all

    def show(self, image: Any) -> Any:
        """Show an image of any kind; returns its ImagePlus."""
        if isinstance(image, str | Path):
            return self.open(image)
        if isinstance(image, Image | LabelMap):
            image = self.from_image(image, "image")
        _keep_windows_closed()
        image.show()
        return image

    def to_image(self, image: Any = None) -> Image:
        """An ImagePlus as an Image, by default the current one."""
        image = java("ij.WindowManager").getCurrentImage() if image is None else image
        if image is None:
            raise ImageError("No image is open.", "Open one first.")
        return to_image(image)

    def from_image(self, image: Image | LabelMap, title: str = "") -> Any:
        """An Image or LabelMap as an ImagePlus, which is not shown."""
        return to_imageplus(image, title)

    def close_images(self) -> None:
        """Close all images, without asking whether to save them."""
        manager = java("ij.WindowManager")
        for number in list(manager.getIDList() or ()):
            image = manager.getImage(int(number))
            if image is not None:
                image.changes = False
                image.close()
        interpreter = java("ij.macro.Interpreter")
        for number in list(interpreter.getBatchModeImageIDs() or ()):
            interpreter.removeBatchModeImage(interpreter.getBatchModeImage(int(number)))
        manager.setTempCurrentImage(None)

    def show_window(self) -> None:
        """Show ImageJ's main window, with our commands under Plugins > DeepBio."""
        if self.gateway is not None:
            self.gateway.ui().showUI()
        else:
            java("ij.IJ").getInstance().setVisible(True)
        add_menu(list(COMMANDS))

    def wait(self) -> None:
        """Return when ImageJ's main window has been closed."""
        import jpype

        window = java("ij.IJ").getInstance()
        while jpype.isJVMStarted() and window is not None and window.isDisplayable():
            time.sleep(_LOOK)

    def close(self) -> None:
        """Stop listening and let the models go; the JVM stays, as Java wants it."""
        self.bridge.uninstall()
        _sessions.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _keep_windows_closed() -> None:
    """Without a screen be in batch mode, where images have no windows; a bare ImageJ would try to open them."""
    if is_headless():
        java("ij.macro.Interpreter").batchMode = True


def _why(interpreter: Any, watchdog: Watchdog, failure: Any) -> str:
    """Why ImageJ aborted a macro, or empty if it did not."""
    first = watchdog.asked[0] if watchdog.asked else ""
    mistake = _MISTAKE.match(first)
    if mistake is not None:  # the interpreter keeps the last one: often that it could not go on
        return f"{mistake[1]} (line {mistake[2]})."
    told = interpreter.getErrorMessage()
    if told is not None:
        line = read_private("ij.macro.Interpreter", "lineNumber", interpreter)
        if line is None:
            line = interpreter.getLineNumber()  # that of the next line
        return f"{' '.join(str(told).split())} (line {line})."
    if first:
        text = first.removeprefix(_ENDED[0])
        return f"ImageJ asked something while nobody was there: {text}" if text == first else text
    if failure is None:
        return "ImageJ does not say why." if interpreter.wasError() else ""
    if "HeadlessException" in str(failure):
        return "it opens a window, and there is no screen."
    if "Macro canceled" not in str(failure.getMessage()):
        return f"{' '.join(str(failure).split())}."
    last = watchdog.told[-1] if watchdog.told else ""
    for title in _ENDED:
        if last.startswith(title):
            return last.removeprefix(title)
    # exit() ends it the same way, but is no abort
    if read_private("ij.Macro", "abort"):
        return last or "see ImageJ's Log, which is printed where there is no screen."
    return ""


@contextmanager
def _macro_thread() -> Iterator[None]:
    """While open, ImageJ takes this thread for one of macros: errors in commands stop those, by the thread's name."""
    thread = java("java.lang.Thread").currentThread()
    write_private("ij.Macro", "abort", value=False)
    write_private("ij.IJ", "macroInterpreter", None)  # an earlier one that failed would be told of errors
    running = java("ij.macro.Interpreter").getInstance()
    thread.setName(f"{thread.getName()}{_MACRO}")
    try:
        yield
    finally:
        write_private("ij.macro.Interpreter", "instance", running)  # one that fails does not take itself away
        # ImageJ may have put "Run$_" before it, once and for ever, and finds no options without that
        thread.setName(str(thread.getName()).removesuffix(_MACRO))


def read_macro(macro: str | Path) -> str:
    """The text of a macro, or of the .ijm file that has it.

    Raises
    ------
    MacroError
        If there is no such file.
    """
    if isinstance(macro, str) and ("\n" in macro or ";" in macro or not macro.endswith((".ijm", ".txt"))):
        return macro
    try:
        return Path(macro).read_text(encoding="utf-8-sig")  # editors of Windows begin it with a mark
    except OSError as error:
        raise MacroError(
            f"The macro '{macro}' cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise MacroError(f"The macro '{macro}' is no text in UTF-8.", "Save it as UTF-8.") from error


def start(
    fiji: str | Path | None = None,
    *,
    ij_jar: str | Path | None = None,
    headless: bool | None = None,
    quiet: bool = True,
    java_options: Sequence[str] = (),
) -> Session:
    """Start ImageJ in this process, or join the one that runs in it, and give it our commands.

    Parameters
    ----------
    fiji : str or Path, optional
        A Fiji folder, or an endpoint that pyimagej understands (``"sc.fiji:fiji"``, fetched from the network).
        By default what ``DEEPBIO_FIJI`` names.
    ij_jar : str or Path, optional
        A bare ImageJ instead. By default what ``DEEPBIO_IJ_JAR`` names, or Debian's.
    headless : bool, optional
        Without windows. By default where there is no screen.
    quiet : bool
        Whether nobody sits in front of it, so that errors open no window.
    java_options : sequence of str
        Options of the JVM, such as ``"-Xmx8g"``.

    Returns
    -------
    Session
        The one of this process, if there is one already: a process has one JVM.

    Raises
    ------
    MissingPackage
        If JPype, pyimagej or Java are not installed.
    OptionError
        If there is no such Fiji or ImageJ.
    """
    if not _sessions:
        _sessions.append(_start(fiji, ij_jar, headless, quiet, java_options))
    return _sessions[0]


def _start(
    fiji: str | Path | None,
    ij_jar: str | Path | None,
    headless: bool | None,
    quiet: bool,
    java_options: Sequence[str],
) -> Session:
    try:
        import jpype
        import jpype.config
    except ImportError as error:
        raise MissingPackage("jpype1", "The bridge to ImageJ", extra="fiji") from error
    if jpype.isJVMStarted():
        return Session("running", quiet=quiet)
    if headless is None:
        headless = not has_screen()
    kind, place = find_host(fiji, ij_jar)
    options = [f"-Djava.awt.headless={str(headless).lower()}", *java_options]
    gateway = start_fiji(place, headless, options) if kind == "fiji" else None
    if gateway is None:
        start_jar(place, headless, options, shown=not quiet)
    jpype.config.destroy_jvm = False  # the end of this process would wait for that of Java's windows
    atexit.register(let_go)
    return Session(kind, quiet=quiet, gateway=gateway)
