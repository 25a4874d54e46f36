"""Leave one patient out: train on the others, run on his cine, compare with frame-by-frame `heart-lv`.

    python leave_one_out.py CINE DATA PLAN OUT [PATIENT...]

CINE: the unzipped data; DATA: the folder of the CSVs of make_csv.py; PLAN: plan.yaml of the model; OUT: a folder.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepbio import RunOptions, load_model
from deepbio.cases import split_cases
from deepbio.cases.sequence import load_clips, read_sequences
from deepbio.evaluation.sequence import score_series
from deepbio.io import read
from deepbio.library.package import write_package
from deepbio.tasks.curve import ejection, jitter
from deepbio.training.description import Description
from deepbio.training.families import read_plan
from deepbio.training.loop import Loop, Schedule
from deepbio.training.sequence import _loss_on, _maker, _score, _some, learned
from deepbio.training.sequence_data import animated, clip_batches, ready_clips
from deepbio.training.sequence_package import sequence_content


def train(data: Path, plan, folder: Path) -> Path:
    """A package without ONNX, trained without the patient that the CSV leaves out."""
    parts = split_cases(read_sequences(data))
    clips, held = (
        ready_clips([c for case in part for c in load_clips(case, "segment")], plan) for part in parts
    )
    clips = learned(clips, plan)
    shown = [animated(one, plan, number) for number, one in enumerate(_some(held, 20))]
    schedule = Schedule(
        plan.steps, plan.learning_rate, plan.weight_decay, plan.ema, plan.validate_every, plan.seed
    )
    loop = Loop(_maker(plan), schedule, "cpu", _loss_on(plan, "cpu"))
    network, _ = loop.fit(
        lambda first, last: clip_batches(clips, plan, first, last),
        lambda network: _score(network, shown, plan, "cpu"),
        folder / "work",
    )
    network.keep_share(plan.memory_share)
    about = Description(title="One patient left out", classes={1: "left ventricle blood pool"})
    sample = max(clips, key=lambda one: len(one.frames)).clip
    with sequence_content(network, plan, sample, about, onnx=False) as content:
        write_package(folder / "model", content, replace=True)
    return folder / "model"


def told(found: np.ndarray, truth: np.ndarray, size: float) -> dict[str, float]:
    """What is written down of one model on one patient."""
    series = score_series(found, truth, 1, size, "ml")
    return {
        "dice": float(np.mean(series.dice)),
        "slices": len(series.dice),
        "jitter": jitter(series.curve),
        "jitter_labelled_slices": jitter(series.inside),
        "ejection_fraction": series.fraction,
        "reference": series.reference,
        "ejection_fraction_whole_curve": ejection(series.curve)[2],
        "curve": [round(float(v), 1) for v in series.curve],
        "curve_labelled_slices": [round(float(v), 1) for v in series.inside],
    }


def main(cine: Path, data: Path, plan_file: Path, out: Path, patients: list[str]) -> None:
    """Write ``OUT/PATIENT/scores.json`` for each patient."""
    plan = read_plan(plan_file)
    for patient in patients:
        folder = out / patient
        package = train(data / f"cine-without-{patient}.csv", replace(plan), folder)
        image = read(cine / f"{patient}_cine.nii.gz")
        case = next(one for one in read_sequences(data / "cine.csv") if one.name == f"{patient}_cine")
        truth = np.stack([clip.labels for clip in load_clips(case, "segment")], axis=1)
        size = float(np.prod(image.grid.spacing)) / 1000
        rows = {}
        for name, where in (("sequence", package), ("heart-lv", "heart-lv")):
            labels = load_model(where).run(image, RunOptions(output=("labels",))).labels
            assert labels is not None  # noqa: S101
            rows[name] = told(labels.numpy(), truth, size)
        (folder / "scores.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(patient, json.dumps(rows))  # noqa: T201


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:5]]
    main(*paths, sys.argv[5:] or ["SCD0000101", "SCD0000201", "SCD0000301"])
