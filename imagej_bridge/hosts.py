"""The ImageJ that is started: a Fiji folder or endpoint, or a bare ``ij.jar``; where it is found, and how it starts."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from deepbio.errors import MissingPackage, OptionError
from imagej_bridge.java import java

__all__ = ["find_host", "has_screen", "let_go", "start_fiji", "start_jar"]

_JARS = ("/usr/share/java/ij.jar",)  # Debian's libij-java
_FOLDERS = (
    "~/Fiji",
    "~/Fiji.app",
    "/Applications/Fiji.app",
    "/Applications/Fiji",
    "/opt/Fiji.app",
    "/opt/fiji",
)


def has_screen() -> bool:
    """Whether there is a screen to open windows on."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def find_host(fiji: str | Path | None = None, ij_jar: str | Path | None = None) -> tuple[str, str]:
    """Which ImageJ to start.

    Returns
    -------
    (str, str)
        ``"fiji"`` or ``"ij.jar"``, and where it is.

    Raises
    ------
    OptionError
        If the one that is named is not there, or none is named and none found.
    """
    if fiji is not None and ij_jar is not None:
        raise OptionError("A Fiji and an ij.jar are named.", "Name one of them.")
    if ij_jar is None and fiji is None:
        fiji, ij_jar = os.environ.get("DEEPBIO_FIJI"), os.environ.get("DEEPBIO_IJ_JAR")
        ij_jar = None if fiji else ij_jar
    if fiji:
        return "fiji", _checked_fiji(str(fiji))
    if ij_jar:
        if not Path(ij_jar).is_file():
            raise OptionError(f"There is no ij.jar '{ij_jar}'.", "Check the path.")
        return "ij.jar", str(ij_jar)
    for folder in (Path(text).expanduser() for text in _FOLDERS):
        if (folder / "jars").is_dir():
            return "fiji", str(folder)
    for jar in _JARS:
        if Path(jar).is_file():
            return "ij.jar", jar
    raise OptionError(
        "No Fiji and no ImageJ was found.",
        "Name a Fiji folder with --fiji (or DEEPBIO_FIJI), or an ij.jar with --ij-jar (Debian has libij-java).",
    )


def _checked_fiji(place: str) -> str:
    path = Path(place).expanduser()
    if path.is_dir():
        if not (path / "jars").is_dir():
            raise OptionError(
                f"The folder '{place}' is no Fiji: it has no folder 'jars'.",
                "Name the folder that Fiji was unpacked to.",
            )
        return str(path)
    if ":" in place and not path.exists() and os.sep not in place:
        return place  # an endpoint such as sc.fiji:fiji
    raise OptionError(f"There is no Fiji folder '{place}'.", "Check the path.")


def start_jar(jar: str, headless: bool, options: list[str], *, shown: bool) -> None:
    """Start Java with a bare ImageJ, and show its window or not.

    Raises
    ------
    MissingPackage
        If there is no Java.
    """
    import jpype

    try:
        jpype.startJVM(*options, classpath=[jar], convertStrings=False)
    except jpype.JVMNotFoundException as error:
        raise MissingPackage("java", "ImageJ") from error
    if headless:
        # Without windows ImageJ fails to make its menus, once; macros and our commands run all the same.
        from jpype import JException

        try:
            java("ij.IJ").run("DeepBio")
        except JException as error:
            if "HeadlessException" not in str(type(error)):
                raise
    else:
        window = java("ij.ImageJ")
        window(window.EMBEDDED if shown else window.NO_SHOW)  # embedded: closing it does not end this process


def start_fiji(place: str, headless: bool, options: list[str]) -> Any:
    """Start Java with Fiji through pyimagej; return its gateway.

    Raises
    ------
    MissingPackage
        If pyimagej is not installed.
    """
    try:
        import imagej
        import scyjava
    except ImportError as error:
        raise MissingPackage("pyimagej", "Fiji in Python", extra="fiji") from error
    # "auto": the Java that is installed is taken, and one is fetched only where there is none
    scyjava.config.set_java_constraints(fetch="auto")
    for text in options:
        scyjava.config.add_option(text)
    if Path(place).is_dir():
        scyjava.config.endpoints.clear()  # all it needs lies in the folder: nothing is fetched
    return imagej.init(place, mode="headless" if headless else "interactive")


def let_go() -> None:
    """Stop the thread of JPype that gives back what Java no longer needs: it must not outlive Python."""
    import jpype

    if jpype.isJVMStarted():
        with suppress(TypeError, AttributeError):  # a JPype in which it is called otherwise
            java("org.jpype.ref.JPypeReferenceQueue").getInstance().stop()
