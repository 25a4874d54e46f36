"""A plan that is given: not made a second time, and refused at once where it is for other data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")

from deepbio import io  # noqa: E402
from deepbio.errors import Cancelled, ImageError, InputMismatch, OptionError  # noqa: E402
from deepbio.events import Event, Progress  # noqa: E402
from deepbio.image import Grid, Image, LabelMap  # noqa: E402
from deepbio.training import (  # noqa: E402
    Description,
    classify,
    generate,
    propose_plan,
    read_plan,
    restore,
    sequence,
    train,
)
from tests.core.training.shapes import write_arrays, write_folders  # noqa: E402


class Begun(Exception):
    """A plan went through, and training would start."""


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(*_: Any) -> Path:
        raise Begun

    for module in (classify, generate, restore, sequence):
        monkeypatch.setattr(module, "train_plan", instead)


def write_restore(folder: Path, factor: int = 1, *, axes: str = "YX") -> Path:
    """Three pairs of 12 x 15 pixels (and 5 slices, 2 channels), whose targets are `factor` times as large."""
    sizes = {"C": 2, "Z": 5, "Y": 12, "X": 15}
    shape = tuple(sizes[axis] for axis in axes)
    times = tuple(factor if axis in "ZYX" else 1 for axis in axes)
    for number, part in enumerate(("train", "train", "val")):
        image = np.random.default_rng(number).integers(0, 4000, shape).astype(np.uint16)
        for name, pixels in (("input", image), ("target", np.kron(image, np.ones(times, np.uint16)))):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            io.write(folder / part / name / f"{number}.tif", Image(pixels.astype(np.uint16), axes))
    return folder


def write_movies(path: Path, labels: int, channels: int = 1) -> Path:
    """Two movies of 4 frames with as many labels."""
    rows = ["image,label,split"]
    grid = Grid((17, 19))
    for number, split in enumerate(("train", "val")):
        pixels = np.random.default_rng(number).integers(0, 255, (4, channels, 17, 19)).astype(np.uint8)
        marks = np.zeros((4, 17, 19), np.uint8)
        marks[1] = np.arange(19) * (labels + 1) // 19
        io.write(path.parent / f"{path.stem}{number}.tif", Image(pixels, "TCYX", grid))
        io.write(path.parent / f"{path.stem}{number}-labels.tif", LabelMap(marks, "TYX", grid))
        rows.append(f"{path.stem}{number}.tif,{path.stem}{number}-labels.tif,{split}")
    path.write_text("\n".join(rows))
    return path


def write_named(path: Path, classes: str) -> Path:
    """A movie of two frames for each letter, which is its class, to learn from and to hold out."""
    rows = ["image,class,split"]
    for number, (split, name) in enumerate((split, name) for split in ("train", "val") for name in classes):
        pixels = np.random.default_rng(number).integers(0, 255, (2, 17, 19)).astype(np.uint8)
        io.write(path.parent / f"{path.stem}{number}.tif", Image(pixels, "TYX"))
        rows.append(f"{path.stem}{number}.tif,{name},{split}")
    path.write_text("\n".join(rows))
    return path


COUNTS = {"train": (9, 8), "val": (1, 1)}
RESTORE = {"width": 4, "stages": 2, "patch": 8}


def other_classes(path: Path) -> Path:
    """Discs and squares in colour, where `COUNTS` alone are discs and crosses in grey."""
    write_folders(path, COUNTS, colour=True)
    for part in COUNTS:
        (path / part / "cross").rename(path / part / "square")
    return path


# --- the plan is for other data -----------------------------------------------------------------


def test_a_classifier_for_other_classes_and_channels(tmp_path, no_training) -> None:
    plan = propose_plan(write_folders(tmp_path / "grey", COUNTS), task="classify")
    with pytest.raises(InputMismatch) as error:
        train(other_classes(tmp_path / "other"), tmp_path / "model", plan=plan)
    assert str(error.value).startswith(
        "The plan does not fit the data (classes: only the plan has cross, only the data has square; "
        "channels: 1 in the plan, 3 in the data)."
    )
    assert not (tmp_path / "model.training" / "plan.yaml").exists()


def test_a_classifier_of_bytes_on_deeper_pixels(tmp_path, no_training) -> None:
    data = write_arrays(tmp_path / "bytes.npz", COUNTS)
    plan = propose_plan(data)
    with np.load(data) as file:
        deep = {name: one.astype(np.uint16) * 16 if "images" in name else one for name, one in file.items()}
    np.savez(tmp_path / "deep.npz", **deep)
    with pytest.raises(InputMismatch, match=r"\(type of the pixels: uint8 in the plan, uint16 in the data\)"):
        train(tmp_path / "deep.npz", tmp_path / "model", plan=plan)
    with pytest.raises(Begun):
        train(tmp_path / "deep.npz", tmp_path / "model", plan=replace(plan, normalise="image"))


def test_a_generator_for_other_classes_and_channels(tmp_path, no_training) -> None:
    plan = propose_plan(write_folders(tmp_path / "grey", COUNTS), generate.Wishes(size=16), task="generate")
    with pytest.raises(
        InputMismatch, match="only the data has square; channels: 1 in the plan, 3 in the data"
    ):
        train(other_classes(tmp_path / "other"), tmp_path / "model", plan=plan)


def test_a_restorer_for_other_images(tmp_path, no_training) -> None:
    plain, colours = write_restore(tmp_path / "plain"), write_restore(tmp_path / "colours", axes="CYX")
    plan = propose_plan(plain, restore.Wishes(**RESTORE))
    with pytest.raises(InputMismatch, match=r"\(channels: 1 in the plan, 2 in the data\)"):
        train(colours, tmp_path / "model", plan=plan)
    stacks = write_restore(tmp_path / "stacks", axes="CZYX")
    deep = propose_plan(stacks, restore.Wishes(**RESTORE, dims=3))
    with pytest.raises(
        InputMismatch,
        match=r"\(channels: 2 in the plan, 1 in the data; spatial axes: 3 in the plan, 2 in the",
    ):
        train(plain, tmp_path / "model", plan=deep)
    with pytest.raises(Begun):  # slices of a stack are what a network of planes takes
        train(stacks, tmp_path / "slices", plan=propose_plan(colours, restore.Wishes(**RESTORE)))
    with pytest.raises(OptionError, match="'paired' needs a target for each image; 2 have none"):
        train(plain / "train" / "input", tmp_path / "model", task="restore", plan=plan)


def test_a_network_with_memory_for_other_movies(tmp_path, no_training) -> None:
    one, two = write_movies(tmp_path / "one.csv", 1), write_movies(tmp_path / "two.csv", 2, channels=3)
    plan = propose_plan(two, task="sequence")
    with pytest.raises(InputMismatch) as error:
        train(one, tmp_path / "model", plan=plan)
    assert "(number of classes: 2 in the plan, 1 in the data; channels: 3 in the plan, 1 in the data)" in str(
        error.value
    )
    # one of two labels is learned, as a description had it; the other is background
    narrow = propose_plan(two, task="sequence", about=Description(classes={1: "wall"}))
    with pytest.raises(Begun):
        train(two, tmp_path / "narrow", task="sequence", plan=narrow)
    described = Description(classes={1: "wall", 2: "blood"})
    with pytest.raises(InputMismatch, match="number of classes: 1 in the plan, 2 in the data"):
        train(two, tmp_path / "other", task="sequence", plan=narrow, about=described)
    named = propose_plan(write_named(tmp_path / "ab.csv", "ab"), task="sequence")
    with pytest.raises(InputMismatch, match="only the plan has a, only the data has c"):
        train(write_named(tmp_path / "bc.csv", "bc"), tmp_path / "named", plan=named)
    with pytest.raises(ImageError, match="has no label image"):
        train(tmp_path / "bc.csv", tmp_path / "named", plan=plan)


# --- the plan fits ------------------------------------------------------------------------------


def test_a_plan_that_is_given_is_not_made_again(tmp_path, no_training, monkeypatch) -> None:
    data = {
        "classify": write_folders(tmp_path / "shapes", COUNTS),
        "generate": tmp_path / "shapes",
        "restore": write_restore(tmp_path / "pairs"),
        "sequence": write_movies(tmp_path / "movies.csv", 1),
    }
    wishes = {"generate": generate.Wishes(size=16), "restore": restore.Wishes(**RESTORE)}
    made = {
        task: propose_plan(where, wishes.get(task), task=task, save=tmp_path / f"{task}.yaml")
        for task, where in data.items()
    }

    def again(*_: Any) -> None:
        raise AssertionError("planned a second time")

    for task, module in zip(data, (classify, generate, restore, sequence), strict=True):
        monkeypatch.setattr(module, "make_plan", again)
        with pytest.raises(Begun):
            train(data[task], tmp_path / task, task=task, plan=made[task])
        written = yaml.safe_load((tmp_path / f"{task}.training" / "plan.yaml").read_text())
        assert written == yaml.safe_load((tmp_path / f"{task}.yaml").read_text())


def test_super_resolution_of_real_pairs_follows_a_plan(tmp_path, no_training) -> None:
    """Default wishes would be those of another method, which pairs of two sizes contradict."""
    data = write_restore(tmp_path / "pairs", 2)
    plan = propose_plan(data, restore.Wishes(**RESTORE, method="superresolution"))
    with pytest.raises(Begun):
        train(data, tmp_path / "model", plan=plan)
    with pytest.raises(
        InputMismatch, match=r"has size \(12, 15\).*with the factor 4 it must have \(48, 60\)"
    ):
        train(data, tmp_path / "other", plan=replace(plan, factor=4))


# --- what was begun -----------------------------------------------------------------------------


def test_a_plan_that_does_not_fit_leaves_the_begun_one(tmp_path, no_training) -> None:
    data = write_folders(tmp_path / "grey", COUNTS)
    begun = tmp_path / "model.training" / "plan.yaml"
    plan = propose_plan(data, classify.Wishes(steps=7), save=begun)
    before = begun.read_bytes()
    with pytest.raises(InputMismatch, match="only the plan has square"):
        train(data, tmp_path / "model", plan=replace(plan, labels=("disc", "square")))
    assert begun.read_bytes() == before
    with pytest.raises(Begun):
        train(data, tmp_path / "model", plan=replace(plan, steps=8))
    assert yaml.safe_load(begun.read_text())["plan"]["steps"] == 8


def test_a_plan_of_another_task(tmp_path, no_training) -> None:
    data = write_folders(tmp_path / "grey", COUNTS)
    plan = propose_plan(data, save=tmp_path / "model.training" / "plan.yaml")
    with pytest.raises(
        OptionError, match="The plan is of the task 'classify'; the task asked for is 'restore'"
    ):
        train(data, tmp_path / "new", task="restore", plan=plan)
    with pytest.raises(OptionError, match=r"plan.yaml' is of the task 'classify'; .* is 'generate'"):
        train(data, tmp_path / "model", task="generate")


def test_a_run_that_was_begun_is_not_measured_again(tmp_path, monkeypatch) -> None:
    data = write_folders(tmp_path / "grey", COUNTS)
    plan = propose_plan(data, classify.Wishes(steps=2, width=0.25, batch=4))

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "fit":
            raise Cancelled

    with pytest.raises(Cancelled):
        train(data, tmp_path / "model", plan=plan, device="cpu", on_progress=stop)

    def again(*_: Any) -> None:
        raise AssertionError("measured a second time")

    monkeypatch.setattr(classify, "check_plan", again)
    with pytest.raises(Cancelled):
        train(data, tmp_path / "model", plan=plan, device="cpu", on_progress=stop)


# --- a plan on disk that somebody edited, and how often the data is measured ----------------------


def edit(path: Path, **changes: Any) -> None:
    content = yaml.safe_load(path.read_text())
    content["plan"] |= changes
    path.write_text(yaml.safe_dump(content))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, no_training: None) -> list[str]:
    """How often, and for what, a family looked at its data."""
    calls: list[str] = []

    def counted(module: ModuleType, name: str) -> None:
        original = getattr(module, name)

        def count(*args: Any) -> Any:
            calls.append(name)
            return original(*args)

        monkeypatch.setattr(module, name, count)

    for module in (classify, generate, restore, sequence):
        counted(module, "make_plan")
        counted(module, "check_plan")
    return calls


EDITS = {
    "classify": ({"labels": ["disc", "square"]}, {"channels": 3}),
    "generate": ({"labels": ["disc", "square"]}, {"channels": 3}),
    "restore": ({"channels": 2},),
    "sequence": ({"classes": ["one", "two"]}, {"channels": 3}),
}


@pytest.mark.parametrize(("task", "changes"), [(task, one) for task, all_ in EDITS.items() for one in all_])
def test_an_edited_plan_is_refused_as_a_given_one_is(tmp_path, no_training, task, changes) -> None:
    data = {
        "classify": lambda: write_folders(tmp_path / "shapes", COUNTS),
        "generate": lambda: write_folders(tmp_path / "shapes", COUNTS),
        "restore": lambda: write_restore(tmp_path / "pairs"),
        "sequence": lambda: write_movies(tmp_path / "movies.csv", 1),
    }[task]()
    wishes = {"generate": generate.Wishes(size=16), "restore": restore.Wishes(**RESTORE)}.get(task)
    begun = tmp_path / "model.training" / "plan.yaml"
    propose_plan(data, wishes, task=task, save=begun)
    edit(begun, **changes)
    before = begun.read_bytes()
    with pytest.raises(InputMismatch, match="The plan does not fit the data") as going_on:
        train(data, tmp_path / "model")
    with pytest.raises(InputMismatch) as given:
        train(data, tmp_path / "new", plan=read_plan(begun))
    assert str(going_on.value) == str(given.value)
    assert begun.read_bytes() == before


def test_only_an_edited_plan_or_other_data_is_measured_again(tmp_path, measured) -> None:
    data = write_folders(tmp_path / "grey", COUNTS)
    begun = tmp_path / "model.training" / "plan.yaml"
    propose_plan(data, save=begun)
    with pytest.raises(Begun):
        train(data, tmp_path / "model")
    assert measured == ["make_plan"]
    with pytest.raises(InputMismatch, match="only the plan has cross"):
        train(other_classes(tmp_path / "other"), tmp_path / "model")
    assert measured == ["make_plan", "check_plan"]
    edit(begun, steps=9)
    with pytest.raises(Begun):
        train(data, tmp_path / "model")
    assert measured == ["make_plan", "check_plan", "check_plan"]
    assert read_plan(begun).steps == 9


def test_wishes_are_planned_and_measured_once(tmp_path, measured) -> None:
    data = write_folders(tmp_path / "grey", COUNTS)
    with pytest.raises(Begun):
        train(data, tmp_path / "model", plan=classify.Wishes(steps=9))
    assert measured == ["make_plan"]
    begun = tmp_path / "model.training" / "plan.yaml"
    assert read_plan(begun) == propose_plan(data, classify.Wishes(steps=9))
    (begun.parent / "checkpoint.pt").touch()
    with pytest.raises(Begun):
        train(data, tmp_path / "model", plan=classify.Wishes(steps=9))
    with pytest.raises(OptionError, match="holds a run with another plan"):
        train(data, tmp_path / "model", plan=classify.Wishes(steps=8))
    with pytest.raises(OptionError, match="is of the task 'classify'; the task asked for is 'restore'"):
        train(data, tmp_path / "new", task="restore", plan=classify.Wishes(steps=8))
