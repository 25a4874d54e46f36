"""Whether a model package does here what its author saw, and whether it keeps the format."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import CardError, MissingPackage
from deepbio.library.card import ModelCard, TensorSpec
from deepbio.library.cascade import stages

__all__ = ["CheckReport", "OutputCheck", "check_package", "validate_package"]

Runner = Callable[[ModelCard, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class OutputCheck:
    """How one output of the self-test compares with the package's own.

    Attributes
    ----------
    id : str
        Name of the output.
    difference : float
        Largest absolute difference; infinite where the shapes differ.
    relative_tolerance, absolute_tolerance : float
        A value passes if it differs by at most ``absolute + relative * abs(expected)``.
    mismatched, total : int
        Values that do not pass, and values in all.
    allowed : int
        How many may not pass, by the card.
    message : str
        What is wrong; empty if it passed.
    """

    id: str
    difference: float
    relative_tolerance: float
    absolute_tolerance: float
    mismatched: int
    total: int
    allowed: int
    message: str

    @property
    def passed(self) -> bool:
        """Whether the output is as expected."""
        return not self.message


@dataclass(frozen=True)
class CheckReport:
    """Outcome of :func:`check_package`."""

    name: str
    outputs: tuple[OutputCheck, ...]
    seconds: float
    messages: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the package could be tested and every output is as expected."""
        return bool(self.outputs) and not self.messages and all(output.passed for output in self.outputs)

    @property
    def difference(self) -> float:
        """Largest difference over all outputs; infinite if nothing could be compared."""
        return max((output.difference for output in self.outputs), default=float("inf"))


def check_package(card: ModelCard, run: Runner) -> CheckReport:
    """Run the package's own test input and compare with its expected output.

    Of a cascade its first stage, which is a package of its own, is tested as well.

    Parameters
    ----------
    card : ModelCard
        The model.
    run : callable
        ``run(card, inputs) -> outputs`` with arrays by tensor name, raw pixels in, values after
        post-processing out: ``deepbio.engine.tensors.run_tensors``.

    Returns
    -------
    CheckReport
        Not passed, with messages, if the package has no test files.

    Raises
    ------
    WeightsError
        If a weights file is missing or damaged.
    CardError
        If a test file is not a numpy array.
    """
    report, *others = [_check_stage(stage, run) for stage in stages(card)]
    for first in others:
        named = tuple(replace(one, id=f"{one.id} of the first stage") for one in first.outputs)
        messages = tuple(f"Of the first stage: {message}" for message in first.messages)
        report = CheckReport(
            report.name,
            (*report.outputs, *named),
            report.seconds + first.seconds,
            (*report.messages, *messages),
        )
    return report


def _check_stage(card: ModelCard, run: Runner) -> CheckReport:
    for weights in card.weights:
        weights.verify()
    missing = [tensor.id for tensor in (*card.inputs, *card.outputs) if tensor.test_tensor is None]
    if missing:
        return CheckReport(card.name, (), 0.0, (f"The package has no test file for {', '.join(missing)}.",))
    inputs = {tensor.id: _load(tensor) for tensor in card.inputs}
    start = time.perf_counter()
    found = run(card, inputs)
    seconds = time.perf_counter() - start
    return CheckReport(card.name, tuple(_compare(card, tensor, found) for tensor in card.outputs), seconds)


def _load(tensor: TensorSpec) -> np.ndarray:
    try:
        array: np.ndarray = np.load(str(tensor.test_tensor), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CardError(f"The test file '{tensor.test_tensor}' is not a numpy array: {error}") from error
    if array.ndim != len(tensor.axes):
        raise CardError(
            f"The test file '{tensor.test_tensor}' has shape {array.shape}; the card's tensor {tensor.id!r} has the "
            f"axes {', '.join(tensor.axis_ids)}."
        )
    return array


def _compare(card: ModelCard, tensor: TensorSpec, found: Mapping[str, np.ndarray]) -> OutputCheck:
    expected = _load(tensor)
    relative, absolute, per_million = _tolerance(card, tensor.id)
    allowed = int(expected.size * per_million / 1e6)

    def report(difference: float, mismatched: int, message: str) -> OutputCheck:
        return OutputCheck(
            tensor.id, difference, relative, absolute, mismatched, expected.size, allowed, message
        )

    if tensor.id not in found:
        return report(float("inf"), expected.size, f"The run gave no {tensor.id!r}, only {', '.join(found)}.")
    array = np.asarray(found[tensor.id])
    if array.shape != expected.shape:
        return report(float("inf"), expected.size, f"Its shape is {array.shape}; expected {expected.shape}.")
    difference = np.abs(array.astype(np.float64) - expected.astype(np.float64))
    largest = float(difference.max(initial=0.0))
    bad = int(np.count_nonzero(~(difference <= absolute + relative * np.abs(expected.astype(np.float64)))))
    message = f"{bad} of {expected.size} values differ, by up to {largest:.3g}." if bad > allowed else ""
    return report(largest, bad, message)


def _tolerance(card: ModelCard, output: str) -> tuple[float, float, float]:
    """Relative and absolute tolerance, and mismatches per million, from the card."""
    rows = card.config.get("bioimageio")
    rows = rows.get("reproducibility_tolerance") if isinstance(rows, Mapping) else None
    for row in rows if isinstance(rows, list) else ():
        if (
            isinstance(row, Mapping)
            and not row.get("weights_formats")
            and output in (row.get("output_ids") or [output])
        ):
            try:
                return (
                    float(row.get("relative_tolerance", 1e-3)),
                    float(row.get("absolute_tolerance", 1e-3)),
                    float(row.get("mismatched_elements_per_million", 100)),
                )
            except (TypeError, ValueError) as error:
                raise CardError(
                    f"The card's reproducibility_tolerance {dict(row)} is not in numbers."
                ) from error
    return 1e-3, 1e-3, 0.0


def validate_package(root: Path | str) -> tuple[str, ...]:
    """Ask the validator of BioImage.IO what is wrong with a package.

    Parameters
    ----------
    root : Path or str
        The package's folder.

    Returns
    -------
    tuple of str
        Errors; empty if the package is valid.

    Raises
    ------
    MissingPackage
        If bioimageio.spec is not installed.
    CardError
        If there is no card.
    """
    card = Path(root) / "bioimageio.yaml"
    if not card.is_file():
        raise CardError(f"'{root}' has no bioimageio.yaml.")
    try:
        from bioimageio.spec import InvalidDescr, ValidationContext, load_description
    except ImportError as error:
        raise MissingPackage("bioimageio.spec", "Validating a model package", extra="zoo") from error
    context = ValidationContext(perform_io_checks=True)
    with context:
        found: Any = load_description(card, format_version="discover")
    if not isinstance(found, InvalidDescr):
        return ()
    return tuple(
        f"{'.'.join(str(part) for part in entry.loc)}: {entry.msg}"
        for detail in found.validation_summary.details
        for entry in detail.errors
    )
