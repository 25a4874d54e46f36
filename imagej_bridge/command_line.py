"""``deepbio fiji``: registered with the core's command line through the entry point ``deepbio.commands``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepbio.errors import OptionError

__all__ = ["register"]

FijiOption = Annotated[
    str | None,
    typer.Option(
        "--fiji",
        metavar="DIR",
        help="Fiji folder, or an endpoint such as sc.fiji:fiji; default: DEEPBIO_FIJI, or what is found.",
    ),
]
JarOption = Annotated[
    Path | None,
    typer.Option("--ij-jar", metavar="JAR", help="A bare ImageJ instead; default: DEEPBIO_IJ_JAR."),
]
MemoryOption = Annotated[
    str,
    typer.Option("--memory", metavar="SIZE", help="Memory for Java, such as 8g; default: Java's own choice."),
]
# That of deepbio.cli.common, which cannot be imported here: it loads this file.
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for machines.")]
FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder that Fiji was unpacked to.", show_default=False)
]


def run(
    macro: Annotated[Path, typer.Argument(metavar="MACRO", help="An .ijm file.", show_default=False)],
    *,
    image: Annotated[
        Path | None, typer.Option("--image", help="Opened first: the current image of the macro.")
    ] = None,
    args: Annotated[str, typer.Option("--args", help="What getArgument() gives the macro.")] = "",
    fiji: FijiOption = None,
    ij_jar: JarOption = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="Without windows; default where there is no screen.")
    ] = False,
    memory: MemoryOption = "",
    json: JsonOption = False,
) -> None:
    """Run a macro in Fiji or ImageJ, with the DeepBio commands in it, and wait for its end.

    What the macro returns is printed. An error ends it with one line and an exit code, and opens no window.
    """
    from deepbio.cli.common import out, print_json
    from imagej_bridge.hosts import has_screen
    from imagej_bridge.java import java
    from imagej_bridge.session import read_macro, start

    text = read_macro(macro)  # before ImageJ starts
    if image is not None and not image.exists():
        raise OptionError(f"There is no image '{image}'.", "Check the path.")
    session = start(
        fiji, ij_jar=ij_jar, headless=headless or not has_screen(), quiet=True, java_options=_memory(memory)
    )
    if json:  # the Log of an ImageJ without a screen would stand between the lines
        java("java.lang.System").setOut(java("java.lang.System").err)
    try:
        result = session.run_macro(text, args, image=image)
    finally:
        session.close_images()
        session.close()
    if json:
        print_json({"event": "result", "result": result})
    elif result:
        out.print(result)


def open_images(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE]...", help="Opened first.", show_default=False)
    ] = None,
    *,
    fiji: FijiOption = None,
    ij_jar: JarOption = None,
    memory: MemoryOption = "",
) -> None:
    """Open Fiji or ImageJ with the DeepBio commands in its menu and for its macros.

    Python and the models run in the same process, so that nothing is copied; it ends when the window is closed.
    """
    from imagej_bridge.hosts import has_screen
    from imagej_bridge.session import start

    if not has_screen():
        raise OptionError("There is no screen to open a window on.", "Use deepbio fiji run MACRO --headless.")
    for image in images or ():
        if not image.exists():
            raise OptionError(f"There is no image '{image}'.", "Check the path.")
    session = start(fiji, ij_jar=ij_jar, headless=False, quiet=False, java_options=_memory(memory))
    session.show_window()
    for image in images or ():
        session.open(image)
    session.wait()


def install(folder: FolderArgument, json: JsonOption = False) -> None:
    """Write the DeepBio commands into the menu of a Fiji, which then calls this Python."""
    from deepbio.cli.common import out, print_json
    from imagej_bridge.menu import install as write

    written = write(folder)
    if json:
        print_json({"written": [str(path) for path in written]})
        return
    out.print(
        f"{len(written)} commands are in {written[0].parent}: Plugins > DeepBio after Fiji is started again."
    )


def uninstall(folder: FolderArgument, json: JsonOption = False) -> None:
    """Remove the DeepBio commands from the menu of a Fiji."""
    from deepbio.cli.common import out, print_json
    from imagej_bridge.menu import uninstall as remove

    removed = remove(folder)
    if json:
        print_json({"removed": [str(path) for path in removed]})
        return
    out.print(f"{len(removed)} files removed." if removed else "There was nothing of ours.")


def doctor(fiji: FijiOption = None, ij_jar: JarOption = None, json: JsonOption = False) -> None:
    """Say which Fiji, ImageJ and Java would be used, and what is missing."""
    from deepbio.cli.common import out, print_json
    from imagej_bridge.health import examine

    findings = examine(fiji, ij_jar)
    broken = any(finding.status == "error" for finding in findings)
    if json:
        print_json({"ok": not broken, "findings": [asdict(finding) for finding in findings]})
        raise typer.Exit(int(broken))
    for finding in findings:
        mark = {"ok": "ok", "missing": "-", "error": "x"}[finding.status]
        out.print(f"  {mark:>2}  {finding.name:<10} {finding.value}")
        if finding.hint:
            out.print(f"      {'':<10} {finding.hint}")
    raise typer.Exit(int(broken))


def _memory(size: str) -> list[str]:
    if not size:
        return []
    if not size[:-1].isdigit() or size[-1].lower() not in "mg":
        raise OptionError(f"The memory is {size!r}; expected a number and m or g, such as 8g.")
    return [f"-Xmx{size}"]


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    from deepbio.cli.common import command  # loads all doors, this one too: not at the top

    fiji = typer.Typer(no_args_is_help=True, help="Fiji and ImageJ: macros that run models.")
    commands = {"run": run, "open": open_images, "install": install, "uninstall": uninstall, "doctor": doctor}
    for name, function in commands.items():
        fiji.command(name)(command(function))
    app.add_typer(fiji, name="fiji")
