"""Many files, one model: results saved whole or not at all, failures isolated, done work skipped.

Beside the outputs of a file lies its record, ``NAME.deepbio.json``: which input, model and options
made them. It is what a later run skips by, so a batch that was stopped goes on where it was.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from deepbio.errors import (
    Cancelled,
    CardError,
    DeepBioError,
    OptionError,
    OutputError,
    WeightsError,
)
from deepbio.events import Listener, Notice, Progress, silent
from deepbio.families import family_of
from deepbio.image import Image
from deepbio.inputs import RECORD, SAVES, Input, channel_files, find_inputs, read_record, split_suffix
from deepbio.io import atomic, read
from deepbio.io.rois import check_rois
from deepbio.library import find_model
from deepbio.naming import plan_names
from deepbio.object_files import labels_of, names_labels
from deepbio.options import RunOptions
from deepbio.records import (
    InTheWay,
    Record,
    check_free,
    check_lengths,
    check_table,
    facts_of,
    identity,
    make_folder,
    tell_earlier,
    turn_in,
)
from deepbio.render import count_per_frame
from deepbio.saving import asked_for, check_seg, join_tables, needed_for, save_result, seg_suffix, with_saved

if TYPE_CHECKING:
    from deepbio.predict import Model
    from deepbio.tasks import Result

__all__ = ["Row", "run_many"]

SUMMARY = "summary.csv"
CLASSES = "classes.csv"

# What a file wrong in itself raises is told in its row; these would meet every other file too.
_STOPS = (Cancelled, OutputError, WeightsError, CardError, BrokenPipeError)


@dataclass(frozen=True)
class Row:
    """What became of one input.

    Attributes
    ----------
    file : str
        The input, as it was named.
    status : {"done", "skipped", "failed"}
        ``"skipped"``: the same input, model and options gave the outputs that are there.
    seconds : float
        Wall time of reading, computing and writing; of the first run, where skipped.
    objects : int or None
        Number of labels, where they are objects; of a time-lapse, added up over its frames.
    message : str
        Why it failed.
    outputs : dict of str to Path
        Files that were written, by kind.
    error : Exception or None
        The error itself.
    """

    file: str
    status: str
    seconds: float = 0.0
    objects: int | None = None
    message: str = ""
    outputs: Mapping[str, Path] = field(default_factory=dict)
    error: Exception | None = None


def run_many(
    model: Model,
    inputs: Sequence[str | Path | Input],
    output_dir: str | Path,
    options: RunOptions | None = None,
    *,
    save: Sequence[str] = (),
    overwrite: bool = False,
    on_progress: Listener = silent,
    on_file: Callable[[Row], None] | None = None,
) -> tuple[Row, ...]:
    """Run a loaded model on many files and save what it finds.

    A file that fails does not stop the others. ``summary.csv`` in `output_dir` (file, status,
    seconds, objects, message) is kept up to date while the batch runs. Of a classifier ``classes.csv``
    has the tables of all files below each other.

    Parameters
    ----------
    model : Model
        From :func:`deepbio.load_model`; it stays loaded.
    inputs : sequence of str, Path or Input
        Files, folders (their images, not those of folders in them; each DICOM series is an image) and
        patterns such as ``"plates/**/*.tif"``; or what :func:`deepbio.inputs.find_inputs` found.
    output_dir : str or Path
        Made where it is missing. The outputs of ``cell.tif`` are ``cell-labels.tif``,
        ``cell-table.csv``, ...; inputs of the same name take the name of their folder before it.
    options : RunOptions, optional
        How the model is run; its ``output`` follows from `save`.
    save : sequence of str
        What to write, of :data:`deepbio.inputs.SAVES`; by default what the model's family gives and what
        the options ask for. ``"rois"`` are outlines for ImageJ's ROI Manager, ``"seg"`` is a DICOM
        segmentation, of inputs that are DICOM (of a time series a folder of them), ``"ctc"`` a folder with
        tracks as the Cell Tracking Challenge has them, ``"heatmap"`` a picture of explanation and uncertainty.
        ``"explanation"``, ``"uncertainty"`` and ``"features"`` are made by Grad-CAM, by test-time
        augmentation and of the default layer where the options name nothing else.
    overwrite : bool
        Compute again what is done, and replace files that no run has made.
    on_progress : Listener
        Hears stages of all files, and the stage ``"files"`` where there are several.
    on_file : callable, optional
        Is given the row of each file as soon as it is known.

    Returns
    -------
    tuple of Row
        One per input, in order.

    Raises
    ------
    ImageError
        If a pattern or folder has no images.
    OptionError
        If `save` has an unknown word, or an output would replace an input.
    OutputError
        If nothing can be written (no right, disk full): the other files would fail as well.
    WeightsError, CardError
        If the model itself is broken.
    MissingPackage
        If ROIs are to be saved and roifile is not installed.
    Cancelled
        If `on_progress` raised it.
    """
    options = with_saved(options or RunOptions(), save)
    kinds = tuple(save) or (*family_of(model.card.task).outputs, *asked_for(options, model.card))
    job = _Job(model, Path(output_dir), options, kinds, overwrite)
    files = find_inputs(inputs, job.folder, channels=channel_files(model.card))
    names = plan_names(files, job.folder)
    job.check(names)
    model.many = model.many or len(names) > 1
    with _Summary(job.folder / SUMMARY) as summary:
        for row in job.rows(names, on_progress):
            summary.add(row)
            if on_file is not None:
                on_file(row)
    if job.joins(names):
        parts = [(row.file, row.outputs["table"]) for row in summary.rows if "table" in row.outputs]
        join_tables(job.folder / CLASSES, parts)
    return tuple(summary.rows)


@dataclass(frozen=True)
class _Job:
    """What is the same for all files of a batch."""

    model: Model
    folder: Path
    options: RunOptions
    save: tuple[str, ...]
    overwrite: bool
    _segs: dict[Input, str] = field(default_factory=dict)  # suffixes of DICOM segmentations, as found

    def check(self, names: Mapping[Input, str]) -> None:
        """Refuse what would fail, or do harm, for every file."""
        unknown = [word for word in self.save if word not in SAVES]
        if unknown:
            raise OptionError(f"Cannot save {', '.join(unknown)}.", f"Save any of {', '.join(SAVES)}.")
        if "rois" in self.save:
            check_rois()
        if "ctc" in self.save and not self.options.track:
            raise OptionError(
                "Only tracks can be saved as ctc, the format of the Cell Tracking Challenge.",
                "Set track (--track), or leave 'ctc' out of --save.",
            )
        check_table(self.folder / SUMMARY, ",".join(_Summary.columns), overwrite=self.overwrite)
        if self.joins(names):
            check_table(self.folder / CLASSES, "file,", overwrite=self.overwrite)
        taken = {file.path.resolve() for file in names}
        for file, name in names.items():
            for path in self.outputs(file, name).values():
                if path.resolve() in taken:
                    raise OptionError(
                        f"The result {path.name!r} of {file.path.name!r} would replace an input of that name.",
                        "Give another output folder with -o.",
                    )
        make_folder(self.folder)

    def joins(self, names: Mapping[Input, str]) -> bool:
        """Whether the tables of all files are also written as one."""
        return self.model.card.task == "classify" and "table" in self.save and len(names) > 1

    def outputs(self, file: Input, name: str) -> dict[str, Path]:
        """The files that are to be written for an input, by kind."""
        return {kind: self._path(kind, file, name) for kind in self.save}

    def _path(self, kind: str, file: Input, name: str) -> Path:
        if kind == "seg" and kind in self.save and file not in self._segs:
            self._segs[file] = seg_suffix(file)
        suffix = {
            "table": ".csv", "features": ".csv", "rois": ".zip", "overlay": ".png", "heatmap": ".png",
            "ctc": "",  # a folder
            "seg": self._segs.get(file, ".dcm"),
        }.get(kind)  # fmt: skip
        return self.folder / f"{name}-{kind}{_pixel_suffix(file) if suffix is None else suffix}"

    def rows(self, names: Mapping[Input, str], on_progress: Listener) -> Iterator[Row]:
        """Process one input after the other, and tell before each how far the batch is."""
        start = time.perf_counter()
        for number, (file, name) in enumerate(names.items()):
            if len(names) > 1:
                eta = (time.perf_counter() - start) / number * (len(names) - number) if number else None
                on_progress(Progress("files", number, len(names), eta, file.path.name))
            yield self.run(file, name, on_progress)

    def run(self, file: Input, name: str, on_progress: Listener) -> Row:
        """Process one input, unless that is done; its own errors become its row."""
        record = self.folder / f"{name}{RECORD}"
        outputs = self.outputs(file, name)
        start = time.perf_counter()
        try:
            check_lengths((record, *outputs.values()))
            wanted, found = self._wanted(file), read_record(record)
            is_same = found is not None and all(found.get(key) == value for key, value in wanted.items())
            if found and is_same and _all_there(outputs) and not self.overwrite:
                return Row(str(file), "skipped", found["seconds"], found["objects"], outputs=outputs)
            check_free(outputs, record, file, overwrite=self.overwrite)
            if "seg" in self.save:
                check_seg(file, on_progress)
            self._refuse_objects(file, outputs)
            image = self._read(file)
            notes = list(image.meta.get("notes", ()))
            for note in notes:  # what had to be assumed: a wrong guess would be a wrong result
                on_progress(Notice(note))
            paths = {kind: self._path(kind, file, name) for kind in SAVES}
            earlier = tell_earlier(found, wanted, paths, on_progress)
            options = self.options.replace(output=needed_for(self.save, self.model.card.task))
            result = self.model.run(image, options, on_progress=on_progress)
            objects = self._count(result)
            seconds = round(time.perf_counter() - start, 3)
            facts = {**wanted, "seconds": seconds, "objects": objects, "run": result.record}
            facts |= {key: words for key, words in (("notes", notes), ("earlier", earlier)) if words}
            save_result(
                result,
                image,
                outputs,
                record=Record(record, facts),
                title=f"{file.path.name}   {self.model.card.name}",
                source=file,
                card=self.model.card,
                turn=partial(self._turn, file, outputs, record),
            )
        except InTheWay as error:
            return Row(str(file), "failed", message=str(error), error=error)
        except _STOPS:
            raise
        except Exception as error:  # noqa: BLE001 - isolated: told in the summary and by the exit code
            seconds = round(time.perf_counter() - start, 3)
            return Row(str(file), "failed", seconds, message=_message(error), error=error)
        return Row(str(file), "done", round(time.perf_counter() - start, 3), objects, outputs=outputs)

    def _read(self, file: Input) -> Image:
        image = read(file.source, lazy=True, series=file.series)
        return replace(image, channels=self.model.card.input.channels) if file.channels else image

    def _count(self, result: Result) -> int | None:
        """How many objects were found, by the labels or, where those are not wanted, by the rows that measure them."""
        card = self.model.card
        if result.labels is not None:  # classes are no objects
            return None if result.labels.names else sum(count_per_frame(result.labels))
        is_counted = result.table is not None and card.task in ("", "segment") and not card.classes
        return len(result.table or ()) if is_counted else None

    @contextmanager
    def _turn(self, file: Input, outputs: Mapping[str, Path], record: Path) -> Iterator[None]:
        """Look once more, as another run may have been faster, and keep it out while files get their names."""
        with turn_in(self.folder):
            check_free(outputs, record, file, overwrite=self.overwrite)
            yield

    def _wanted(self, file: Input) -> dict[str, Any]:
        """What the record says when the outputs are those that this job would make."""
        facts = {
            "input": identity(file),
            "model": facts_of(self.model.card),
            "options": _listed(asdict(self.options)),
            "save": list(self.save),
        }
        if self.options.objects:
            labels = self._labels_of(file)
            facts["objects_from"] = (
                facts_of(find_model(self.options.objects)) if labels is None else identity(Input(labels))
            )
        return facts

    def _labels_of(self, file: Input) -> Path | None:
        """The label image whose objects are classified; None where a model finds them, or there are none."""
        words = self.options.objects
        return labels_of(words, file.path) if words and names_labels(words) else None

    def _refuse_objects(self, file: Input, outputs: Mapping[str, Path]) -> None:
        labels = self._labels_of(file)
        for path in outputs.values():
            if labels is not None and path.resolve() == labels.resolve():
                raise InTheWay(
                    f"The result '{path}' would replace the objects that are classified.",
                    "Give another output folder with -o.",
                )


def _pixel_suffix(file: Input) -> str:
    """Suffix of label maps and images: the input's, where that keeps a patient's geometry, else TIFF."""
    if file.is_dicom:
        return ".nii.gz"
    suffix = split_suffix(file.path)[1]
    return {".nii": ".nii.gz", ".nii.gz": ".nii.gz", ".nrrd": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}.get(
        suffix, ".tif"
    )


def _all_there(outputs: Mapping[str, Path]) -> bool:
    return all(path.exists() for path in outputs.values())


def _listed(value: Any) -> Any:
    """Tuples as lists, as they come back from JSON."""
    return json.loads(json.dumps(value))


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, DeepBioError) else f"{type(error).__name__}: {error}"


class _Summary:
    """``summary.csv``, written anew at most once a second and when the batch ends."""

    columns = ("file", "status", "seconds", "objects", "message")

    def __init__(self, path: Path) -> None:
        self.rows: list[Row] = []
        self._path = path
        self._saved = float("-inf")

    def __enter__(self) -> _Summary:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # the reason to stop matters more than that the summary cannot be written
        with suppress(*(() if error is None else (OutputError,))):
            self.save()

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if time.monotonic() - self._saved > 1:
            self.save()

    def save(self) -> None:
        with (
            atomic(self._path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(self.columns)
            for row in self.rows:
                objects = "" if row.objects is None else row.objects
                writer.writerow([row.file, row.status, f"{row.seconds:.3f}", objects, row.message])
        self._saved = time.monotonic()
