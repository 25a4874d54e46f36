"""The menu of a Fiji that runs without Python: one macro for each command, which calls this Python.

ImageJ makes the file ``plugins/DeepBio/DeepBio_Segment.ijm`` the command ``DeepBio Segment``. Called by a macro it
finds its options as they were written; called from the menu it shows a dialog, which the Recorder records. In
Fiji such files run as scripts on a thread of their own, where the current image can be that of an earlier macro:
there, macros are better run with ``deepbio fiji run`` or in ``deepbio fiji open``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deepbio.errors import OptionError, OutputError
from deepbio.io import atomic
from imagej_bridge.commands import COMMANDS, Command
from imagej_bridge.dialog import default_text, kind_of, order
from imagej_bridge.options import DeepImageJOptions, NoOptions, TableOptions
from imagej_bridge.spelling import ASCII, ERROR, INPUT, RESULT, WORDS, quoted

__all__ = ["install", "installed", "macro_of", "uninstall"]

MARK = "// Written by: deepbio fiji install. Removed by: deepbio fiji uninstall."
_WITHOUT = ("DeepBio Macro Extensions",)  # needs Python in the process

_BEGIN = """options = call("ij.Macro.getOptions");
if (options == "0" || options == "null") options = getArgument();
title = ""; id = ""; slice = 1; frame = 1; unit = "";
"""
_TAKE = """if (nImages == 0) fail("No image is open. Open one first.");
id = getImageID();
title = getTitle();
Stack.getPosition(channel, slice, frame);
Stack.getUnits(unit, yUnit, zUnit, tUnit, valueUnit);
"""
_SAVE = """hidden = is("Batch Mode");
if (!hidden) setBatchMode(true);
selected = selectionType() >= 0;
if (selected) run("Select None");
run("Duplicate...", "title=deepbio-input duplicate");
saveAs("Tiff", folder + {input});
close();
selectImage(id);
if (selected) run("Restore Selection");
if (!hidden) setBatchMode("exit and display");
"""
# The answer is whether it went well; what came of it, and why it did not, are macros in the folder.
_CALL = """words = {command} + "\\n" + ascii(options) + "\\n" + ascii(title) + "\\n" + id + "\\n";
words = words + slice + "\\n" + frame + "\\n" + ascii(unit) + "\\n";
File.saveString(words, folder + {words});
answer = exec({python}, "-P", "-m", "imagej_bridge", "command", folder);
why = "";
if (startsWith(answer, "result ")) {{
    if (runMacro(folder + {result}) == "[aborted]") why = "DeepBio: the result could not be shown.";
}} else if (startsWith(answer, "error ") && File.exists(folder + {error})) why = runMacro(folder + {error});
else if (answer == "") why = "DeepBio: Python did not answer. Run deepbio fiji install again.";
else why = "DeepBio: Python answered: " + answer;
clean(folder);
if (why != "") fail(why);
{ascii}
// exit(why) would end this macro only, and the one that called it would go on: IJ.error ends that one too. It does
// so by an exception, which call() shows in a window. No run() may follow: it would forget that there was an error.
function fail(why) {{
    call("ij.IJ.error", "DeepBio", why);
    close("Exception");
    exit();
}}

function clean(folder) {{
    names = getFileList(folder);
    for (i = 0; i < names.length; i++) {{
        if (endsWith(names[i], "/")) clean(folder + names[i]);
        else deleted = File.delete(folder + names[i]);
    }}
    deleted = File.delete(folder);
}}
"""


def install(folder: Path, python: str = sys.executable) -> list[Path]:
    """Write the commands into the menu of a Fiji or ImageJ.

    Parameters
    ----------
    folder : Path
        Where it was unpacked to: has a folder ``plugins``.
    python : str
        The Python that has deepbio.

    Returns
    -------
    list of Path
        Files that were written. Those of an earlier installation are replaced.

    Raises
    ------
    OptionError
        If that is no Fiji or ImageJ.
    OutputError
        If it cannot be written to.
    """
    target = _plugins(folder) / "DeepBio"
    written = []
    try:
        target.mkdir(exist_ok=True)
        for command in COMMANDS.values():
            if command.name in _WITHOUT:
                continue
            path = target / f"{command.name.replace(' ', '_')}.ijm"
            with atomic(path) as temporary:
                temporary.write_text(macro_of(command, python), encoding="ascii")
            written.append(path)
    except OSError as error:
        raise OutputError(
            f"'{target}' cannot be written: {error.strerror or error}.", "Use a Fiji in a folder of your own."
        ) from error
    return written


def uninstall(folder: Path) -> list[Path]:
    """Remove what :func:`install` wrote, and nothing else; return what was removed."""
    removed = installed(folder)
    try:
        for path in removed:
            path.unlink()
        target = _plugins(folder) / "DeepBio"
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be changed: {error.strerror or error}.") from error
    return removed


def installed(folder: Path) -> list[Path]:
    """The files of ours in the menu of a Fiji, known by their first line."""
    found = sorted((_plugins(folder) / "DeepBio").glob("*.ijm"))
    return [path for path in found if path.read_text(encoding="utf-8", errors="replace").startswith(MARK)]


def _plugins(folder: Path) -> Path:
    plugins = folder / "plugins"
    if not plugins.is_dir():
        raise OptionError(
            f"'{folder}' is no Fiji or ImageJ: it has no folder 'plugins'.",
            "Name the folder that it was unpacked to.",
        )
    return plugins


def macro_of(command: Command, python: str) -> str:
    """The text of a command's macro."""
    takes = command.takes_image or command.options is DeepImageJOptions
    parts = [
        f"{MARK}\n// {command.help}\n",
        _BEGIN,
    ]
    if command.needs_image:
        parts.append(_TAKE)
    elif takes:  # DeepImageJ's command may name a file instead
        parts.append("if (nImages > 0) {\n" + _TAKE.split("\n", 1)[1] + "}\n")
    if command.options not in (NoOptions, TableOptions):
        parts.append(_dialog(command))
    parts.append(
        'folder = getDirectory("temp") + "deepbio-" + getTime() + "-" + floor(random * 1000000000) + File.separator;\n'
        "File.makeDirectory(folder);\n"
    )
    if takes:
        save = _SAVE.format(input=quoted(INPUT))
        parts.append(save if command.needs_image else "if (nImages > 0) {\n" + save + "}\n")
    call = _CALL.format(
        command=quoted(command.name),
        words=quoted(WORDS),
        result=quoted(RESULT),
        error=quoted(ERROR),
        ascii=ASCII,
        python=quoted(python),
    )
    return "".join([*parts, call])


def _dialog(command: Command) -> str:
    """Ask for the options, where no macro has given them."""
    fields = order(command, task=command.task)
    lines = [f"Dialog.create({quoted(command.name)});", f"Dialog.addMessage({quoted(command.help)});"]
    for one in fields:
        name, default = quoted(one.name), quoted(default_text(one))
        kind = kind_of(one)
        if kind == "bool":
            lines.append(f"Dialog.addCheckbox({name}, {str(bool(one.default)).lower()});")
        elif kind == "choice":
            choices = ", ".join(quoted(choice) for choice in one.metadata["choices"])
            lines.append(f"Dialog.addChoice({name}, newArray({choices}), {default});")
        else:
            lines.append(f"Dialog.addString({name}, {default}, 24);")
    lines += ["Dialog.show();", 'options = "";']
    for one in fields:
        name, default = one.name, quoted(default_text(one))
        kind = kind_of(one)
        if kind == "bool":
            lines.append(f'if (Dialog.getCheckbox()) options = options + "{name} ";')
            continue
        read = "getChoice" if kind == "choice" else "getString"
        lines.append(
            f'value = Dialog.{read}(); if (value != {default}) options = options + "{name}=[" + value + "] ";'
        )
    return 'if (options == "") {\n    ' + "\n    ".join(lines) + "\n}\n"
