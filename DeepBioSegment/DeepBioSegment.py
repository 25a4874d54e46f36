#!/usr/bin/env python-real
"""Segment one volume from a pipeline: the scripted command-line module of DeepBio for 3D Slicer.

The same worker, client and models as in the module DeepBio. Exit codes and messages are those of the
command `deepbio` (docs/cli.md). Progress is told as Slicer expects it of command-line modules.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import signal
import sys
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
# Beside us in an installed extension (cli-modules), one level up in a build of Visual Studio, or in the source tree.
for _folder in (HERE.parent, HERE.parent.parent):
    for _name in ("qt-scripted-modules", "SlicerDeepBio"):
        if (_folder / _name / "SlicerDeepBioLib").is_dir():
            sys.path.append(str(_folder / _name))

import numpy as np  # noqa: E402

from SlicerDeepBioLib.alike import apart  # noqa: E402
from SlicerDeepBioLib.client import Cancelled, WorkerClient, WorkerError  # noqa: E402
from SlicerDeepBioLib.interpreters import Settings, find_python, other_environment  # noqa: E402
from SlicerDeepBioLib.shared import fetch, share  # noqa: E402

EXIT_CODES = {
    "OptionError": 2,
    "ImageError": 3,
    "InputMismatch": 4,
    "UnknownModel": 5,
    "CardError": 6,
    "WeightsError": 6,
    "MissingPackage": 7,
    "WorkerNotStarted": 7,
    "OutOfMemory": 8,
    "OutputError": 9,
    "TrainingError": 10,
    "Cancelled": 130,
}
BUG = 70
CHANNELS = (2, 3, 4)  # further ones, as in the XML, whose parameters cannot grow
STAGES = {
    "load": (0.0, 0.1),
    "predict": (0.1, 0.9),
}  # part of the whole that a stage takes; what comes after: the rest


class Stopped(Exception):
    """SIGTERM or Ctrl-C.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number):
        super().__init__(number)
        self.code = 130 if number == signal.SIGINT else 128 + number


def main(words=None):
    """Run the module; returns its exit code."""
    arguments = _arguments(words)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        _segment(arguments)
    except Stopped as stopped:
        return _tell("Stopped; nothing half-written is left behind.", "", stopped.code)
    except Cancelled as error:
        return _tell(error.message, error.hint, EXIT_CODES["Cancelled"])
    except WorkerError as error:
        return _tell(error.message, error.hint, EXIT_CODES.get(error.kind, BUG))
    except MemoryError as error:
        return _tell(
            f"Out of memory: {error}", "Free some memory, or crop the image.", EXIT_CODES["OutOfMemory"]
        )
    _say("<filter-end><filter-name>DeepBio Segment</filter-name></filter-end>")
    return 0


def _arguments(words):
    parser = argparse.ArgumentParser(prog="DeepBioSegment", description=__doc__)
    parser.add_argument("input", help="volume to segment")
    parser.add_argument("output", help="label map to write")
    parser.add_argument("--model", default="hippocampus", help="name of a model, or the path of a package")
    for number in CHANNELS:
        parser.add_argument(
            f"--channel{number}",
            default="",
            help="for models that take several volumes: the volume of this channel",
        )
    parser.add_argument("--table", default="", help="CSV file for the measurements")
    parser.add_argument("--options", default="", help='such as "device=cpu tile=128"; docs/cli.md lists them')
    parser.add_argument("--python", default="", help="Python in which deepbio is installed")
    parser.add_argument("--returnparameterfile", help=argparse.SUPPRESS)  # Slicer may pass it; there are none
    return parser.parse_args(words)


def _segment(arguments):
    _say("<filter-start><filter-name>DeepBio Segment</filter-name></filter-start>")
    options = _options(arguments.options)
    _check_outputs(arguments)
    image, request = _read_all(arguments)
    client = WorkerClient(_python(arguments.python), environment=other_environment())
    outputs = None
    try:
        with share(request["array"]) as shared:
            request["array"] = shared.message
            wanted = ["labels", "table"] if arguments.table else ["labels"]
            run = {
                "command": "run",
                "model": arguments.model,
                "options": options,
                "image": request,
                "outputs": wanted,
            }
            outputs = client.submit(run, on_update=_Progress()).wait()
            labels = outputs["labels"] and fetch(outputs["labels"]["array"])
    finally:
        client.stop()
    if labels is None:
        raise WorkerError(
            f"The model '{arguments.model}' gives no labels.",
            "Use the module DeepBio for it.",
            "InputMismatch",
        )
    if arguments.table:
        _write(arguments.table, lambda path: _write_table(path, outputs["table"]))
    _write(arguments.output, lambda path: _write_labels(path, labels, image))


def _python(chosen):
    tried = []
    found = find_python(Settings(python=chosen), tried)
    if found is None:
        raise WorkerError(
            "No Python with deepbio was found. " + " ".join(tried),
            "Install it in the module DeepBio, or name a Python with --python.",
            "MissingPackage",
        )
    return found.path


def _options(text):
    """``"device=cpu tile=128"`` as a mapping; the worker checks names and values."""
    options = {}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise WorkerError(
                f"The options have {word!r}; expected name=value.",
                'Such as: "tile=128 device=cpu".',
                "OptionError",
            )
        options[name.strip().lstrip("-").replace("-", "_")] = value
    return options


def _check_outputs(arguments):
    """Refuse, before the model runs, what could not be written at the end."""
    for path in (arguments.output, arguments.table):
        folder = Path(path).resolve().parent
        if path and not (folder.is_dir() and os.access(folder, os.W_OK)):
            message = f"'{path}' cannot be written: its folder does not exist, or may not be written to."
            raise WorkerError(message, "Make the folder, or choose another.", "OutputError")


def _read_all(arguments):
    """The first image, and all of them as the channels of one, as the worker takes it."""
    further = [getattr(arguments, f"channel{number}") for number in CHANNELS]
    paths = [path for path in further if path]
    if further[: len(paths)] != paths:
        number = CHANNELS[further.index("")]
        raise WorkerError(
            f"There is no volume for channel {number}, but one for a later channel.",
            f"Name it with --channel{number}: channels are counted from the input on, without a gap.",
            "OptionError",
        )
    image, request = _read(arguments.input)
    if not paths:
        return image, request
    arrays = []
    for path in (arguments.input, *paths):
        other, read = (image, request) if path == arguments.input else _read(path)
        if "C" in read["axes"]:
            raise WorkerError(
                f"'{path}' has several components; a channel is a volume of intensities.",
                "Choose another one.",
                "ImageError",
            )
        difference = apart(_voxels(image), _voxels(other))
        if difference:
            raise WorkerError(
                f"'{path}' does not lie on the voxels of '{arguments.input}': {difference}.",
                "Resample it there first, with the input as the reference volume.",
                "ImageError",
            )
        arrays.append(read["array"])
    names = [Path(path).name for path in (arguments.input, *paths)]
    return image, {**request, "array": np.stack(arrays), "axes": "C" + request["axes"], "channels": names}


def _voxels(image):
    """Sizes and place of an image's voxels, as `apart` compares them; a plane lies at z = 0, one millimeter thick."""
    ndim, matrix = image.GetDimension(), np.eye(4)
    matrix[:ndim, :ndim] = np.reshape(image.GetDirection(), (ndim, ndim)) * image.GetSpacing()
    matrix[:ndim, 3] = image.GetOrigin()
    return (*image.GetSize(), *(1,) * (3 - ndim)), matrix


def _read(path):
    """The image as SimpleITK has it (its grid is the result's), and as the worker takes it."""
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(path)
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        raise WorkerError(
            f"'{path}' cannot be read: {last}", "Check the path and the file.", "ImageError"
        ) from error
    if image.GetDimension() not in (2, 3):
        raise WorkerError(
            f"'{path}' has {image.GetDimension()} dimensions; expected 2 or 3.",
            "Sequences are run by the module DeepBio, or by the command `deepbio run`.",
            "ImageError",
        )
    array = SimpleITK.GetArrayFromImage(image)
    if array.dtype.kind not in "iuf":
        kind = image.GetPixelIDTypeAsString()
        raise WorkerError(
            f"The pixels of '{path}' are {kind}; expected integers or floats.", "", "ImageError"
        )
    components, ndim = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    axes = "ZYX"[-ndim:]
    direction = np.reshape(image.GetDirection(), (ndim, ndim))[:, ::-1]
    grid = {"spacing": image.GetSpacing()[::-1], "origin": image.GetOrigin(), "direction": direction.tolist()}
    channels = ("red", "green", "blue") if components == 3 and array.dtype == np.uint8 else ()
    if components > 1:
        array, axes = np.moveaxis(array, -1, 0), "C" + axes
    if ndim == 3 and array.shape[-3] == 1:  # one slice is a plane, as in the module
        array, axes = array[..., 0, :, :], axes.replace("Z", "")
        grid = {"spacing": grid["spacing"][1:], "origin": (0.0, 0.0), "direction": [[0.0, 1.0], [1.0, 0.0]]}
    named = {
        "name": Path(path).name,
        "unit": "millimeter",
        "channels": list(channels),
        "frame_interval": None,
    }
    return image, {
        "array": array,
        "axes": axes,
        **{name: list(value) for name, value in grid.items()},
        **named,
    }


def _write(path, write):
    """Write beside the file, then put it in its place: nothing half-written is left behind."""
    path = Path(path)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")  # the suffix says the format
    try:
        write(str(partial))
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        raise WorkerError(f"'{path}' cannot be written: {error}", "", "OutputError") from error
    finally:
        if partial.exists():
            partial.unlink()


def _write_labels(path, labels, image):
    import SimpleITK

    written = SimpleITK.GetImageFromArray(labels.reshape(image.GetSize()[::-1]))
    written.CopyInformation(image)
    SimpleITK.WriteImage(written, path, True)


def _write_table(path, table):
    columns = table["columns"] if table else {}
    units = table["units"] if table else {}
    heads = [f"{name} [{units[name]}]" if units.get(name) else name for name in columns]
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        rows = zip(*columns.values())
        writer.writerows([["nan" if value is None else value for value in row] for row in rows])


class _Progress:
    """Tells Slicer how far it is; the fraction never falls."""

    def __init__(self):
        self.fraction = 0.0

    def __call__(self, task, update):
        if not update.stage:  # a notice
            sys.stderr.write(f"{update.message}\n")
            return
        first, share_of_all = STAGES.get(update.stage, (self.fraction, 0.0))
        if update.maximum:
            self.fraction = max(
                self.fraction, min(1.0, first + share_of_all * update.current / update.maximum)
            )
        _say(f"<filter-progress>{self.fraction:.4f}</filter-progress>")
        _say(f"<filter-comment>{escape(update.message)}</filter-comment>")


def _stop(number, frame):
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)  # once is enough: what follows is cleaning up
    raise Stopped(number)


def _tell(message, hint, code):
    sys.stderr.write(f"Error: {message}\n")
    if hint:
        sys.stderr.write(f"Hint: {hint}\n")
    return code


def _say(text):
    """To Slicer, which reads our stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
