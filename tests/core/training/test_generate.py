"""Training generators: plans, errors, and runs that go on where they were stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from safetensors.torch import load_file

from deepbio.engine.tensors import run_tensors
from deepbio.errors import Cancelled, ImageError, InputMismatch, OptionError, WeightsError
from deepbio.evaluation.generate import evaluate_cases
from deepbio.events import Event, Progress
from deepbio.image import RGB, Image
from deepbio.library.check import check_package
from deepbio.options import RunOptions
from deepbio.predict import generate, load_model
from deepbio.tasks.random_masks import MaskStyle, make_mask
from deepbio.training import propose_plan, train
from deepbio.training.classify import Wishes as ClassifyWishes
from deepbio.training.differentiable import change
from deepbio.training.generate import Wishes, matches
from deepbio.training.generate_class import ClassBatches

TINY = Wishes(method="adversarial", size=16, batch=4, width=8, steps=4)
CPU = RunOptions(device="cpu", runtime="torch", output=("image", "table"))


def write_classes(folder: Path, counts: dict[str, int], *, grey: bool = False) -> Path:
    """Odd images, in colour or grey, of a grey value for each class."""
    random = np.random.default_rng(0)
    for split, part in (("train", 1.0), ("val", 0.5)):
        for number, (name, count) in enumerate(counts.items()):
            (folder / split / name).mkdir(parents=True)
            for i in range(round(count * part)):
                pixels = np.clip(random.normal(60 + 90 * number, 20, (21, 26, 3)), 0, 255).astype(np.uint8)
                shown = pixels[:, :, 0] if grey else pixels
                Picture.fromarray(shown).save(folder / split / name / f"{i}.png")
    return folder


def write_pairs(folder: Path, count: int = 4, channels: int = 1) -> Path:
    """Odd grey images with the masks that they show."""
    random = np.random.default_rng(0)
    style = MaskStyle(64, (80.0, 120.0), 0.2, (0.15, 0.3), 1.3, 0.2)
    for split, number in (("train", count), ("val", 2)):
        for part in ("images", "labels"):
            (folder / split / part).mkdir(parents=True)
        for i in range(number):
            mask = make_mask(style, random)[:57, :50]
            pixels = 20 + 100 * (mask > 0) + random.normal(0, 8, mask.shape)
            pixels = np.clip(pixels, 0, 255).astype(np.uint8)
            if channels == 3:
                pixels = np.stack([pixels, 255 - pixels, pixels], -1)
            Picture.fromarray(pixels).save(folder / split / "images" / f"{i}.png")
            Picture.fromarray(mask.astype(np.uint16)).save(folder / split / "labels" / f"{i}.png")
    return folder


def size_of(path: Path) -> tuple[int, int]:
    with Picture.open(path) as picture:
        return picture.size


def stop_at(step: int) -> Callable[[Event], None]:
    def listener(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "fit" and event.current == step:
            raise Cancelled

    return listener


def test_a_generator_of_classes(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 10, "light": 8})
    plan = propose_plan(data, TINY, task="generate")
    assert (plan.kind, plan.classes, plan.size, plan.channels) == ("class", ("dark", "light"), 16, 3)
    assert plan.network["arguments"] == {
        "latent": 64, "classes": 2, "out_channels": 3, "features": [8, 8], "patch": 2,
    }  # fmt: skip
    package = train(data, tmp_path / "made", task="generate", plan=plan)
    model = load_model(package)
    assert check_package(model.card, run_tensors).passed
    assert dict(model.card.classes) == {1: "dark", 2: "light"}
    image = generate(model, CPU.replace(count=3)).image
    assert image is not None
    assert image.shape == (3, 3, 16, 16)
    metrics = {row["metric"]: row for row in model.card.scores}
    assert list(metrics) == ["KID", "FID", "KID of real images", "FID of real images", "copies"]
    assert metrics["FID"]["n"] == 9
    assert metrics["FID"]["value"] > metrics["FID of real images"]["value"]
    work = tmp_path / "made.training"
    assert size_of(work / "samples" / "step_000004.png") == (8 * 16, 2 * 16)
    assert (package / "training.png").exists()
    report = evaluate_cases(model, data, "val", CPU)
    assert report.figure is not None
    report.figure(tmp_path / "sheet.png")
    assert size_of(tmp_path / "sheet.png") == (16 * 16 + 8, 2 * 16)


def test_a_run_that_was_stopped_is_the_same_run(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    plan = propose_plan(data, TINY, task="generate")
    plan = replace(plan, schedule=replace(plan.schedule, report_every=2, r1_every=2))
    train(data, tmp_path / "whole", task="generate", plan=plan)
    with pytest.raises(Cancelled):
        train(data, tmp_path / "parts", task="generate", plan=plan, on_progress=stop_at(3))
    train(data, tmp_path / "parts", task="generate", plan=plan)
    states = [
        torch.load(tmp_path / f"{name}.training" / "checkpoint.pt", weights_only=True)
        for name in ("whole", "parts")
    ]
    for key, value in states[0]["average"].items():
        torch.testing.assert_close(value, states[1]["average"][key], atol=0, rtol=0, msg=key)
    assert states[0]["state"] == states[1]["state"]


def write_judge(folder: Path, classes: tuple[str, ...] = ("dark", "light")) -> Path:
    """A classifier that knows brightness, as a package."""
    data = write_classes(folder / "judged", dict.fromkeys(("a", "b"), 8))
    names = tuple(f"{old}={new}" for old, new in zip("ab", classes, strict=True))
    wishes = ClassifyWishes(steps=2, names=names, width=0.25, batch=4)
    plan = propose_plan(data, wishes, task="classify")
    return train(data, folder / "judge", task="classify", plan=plan)


def test_a_discriminator_that_looks_through_a_classifier(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    judge = write_judge(tmp_path)
    plan = propose_plan(data, replace(TINY, judge=str(judge)), task="generate")
    assert plan.rival["name"] == "projected_discriminator"
    assert plan.rival["arguments"]["order"] == [0, 1]
    assert (plan.naming, plan.likeness, plan.schedule.r1) == (0.1, 0.0, 0.0)
    package = train(data, tmp_path / "made", task="generate", plan=plan)
    assert check_package(load_model(package).card, run_tensors).passed
    content = torch.load(tmp_path / "made.training" / "checkpoint.pt", weights_only=True)
    assert not any(key.startswith("encoder") for key in content["average"])
    stored = load_file(judge / "weights.safetensors")
    for key, value in stored.items():
        torch.testing.assert_close(content["discriminator"][f"judge.{key}"], value.float(), msg=key)


def test_a_judge_of_other_classes_cannot_name_them(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    judge = str(write_judge(tmp_path, ("round", "long")))
    with pytest.raises(OptionError, match="does not know the classes dark, light"):
        propose_plan(data, replace(TINY, judge=judge, naming=0.5), task="generate")
    assert propose_plan(data, replace(TINY, judge=judge), task="generate").naming == 0


@pytest.mark.parametrize(
    ("judge", "told"), [("nuclei", "no 2D classifier of ours"), ("chest-xray", "takes 1")]
)
def test_what_cannot_judge(tmp_path: Path, judge: str, told: str) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    with pytest.raises(OptionError, match=told):
        propose_plan(data, replace(TINY, judge=judge), task="generate")


def test_a_generator_from_masks(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data")
    wishes = Wishes(size=32, batch=2, width=8, steps=3)
    package = train(
        data, tmp_path / "made", task="generate", plan=propose_plan(data, wishes, task="generate")
    )
    model = load_model(package)
    assert check_package(model.card, run_tensors).passed
    said = model.card.deepbio["generator"]
    assert len(said["appearances"]) == 4
    for background, foreground, spread in said["appearances"]:
        assert background == pytest.approx(20 / 255, abs=0.02)
        assert foreground == pytest.approx(120 / 255, abs=0.02)
        assert spread < 0.05
    assert 80 <= said["masks"]["areas"][2] <= 120
    metrics = {row["metric"] for row in model.card.scores}
    assert metrics == {"AP50 of 'nuclei' on made images", "AP50 of 'nuclei' on real images", "FID of patches"}
    assert size_of(tmp_path / "made.training" / "samples" / "step_000003.png") == (3 * 32, 6 * 32)


def test_a_translator(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    wishes = Wishes(kind="cycle", size=32, batch=2, width=8, steps=2)
    package = train(
        data, tmp_path / "made", task="generate", plan=propose_plan(data, wishes, task="generate")
    )
    model = load_model(package)
    assert check_package(model.card, run_tensors).passed
    assert {row["metric"] for row in model.card.scores} == {"FID", "FID before"}
    stack = np.random.default_rng(0).integers(0, 255, (2, 3, 21, 26), np.uint8)
    image = model.run(Image(stack, "TCYX", channels=RGB), CPU).image
    assert image is not None
    assert (image.axes, image.shape, image.is_rgb) == ("TCYX", (2, 3, 21, 26), True)
    alone = model.run(Image(stack[1], "CYX", channels=RGB), CPU).image
    assert alone is not None
    np.testing.assert_array_equal(image.numpy()[1], alone.numpy())
    deep = model.run(Image(np.moveaxis(stack, 0, 1), "CZYX", channels=RGB), CPU.replace(per_slice=True)).image
    assert deep is not None
    np.testing.assert_array_equal(deep.numpy(), np.moveaxis(image.numpy(), 0, 1))
    with pytest.raises(InputMismatch, match="translates images; found none"):
        generate(model, CPU)


@pytest.mark.parametrize("grey", [True, False])
def test_a_classifier_of_such_images_looks_at_translations(tmp_path: Path, grey: bool) -> None:
    data = write_classes(tmp_path / "data", {"a": 8, "b": 8}, grey=grey)
    wishes = Wishes(kind="cycle", size=32, batch=2, width=8, steps=2, names=("a=normal", "b=pneumonia"))
    plan = propose_plan(data, wishes, task="generate")
    model = load_model(train(data, tmp_path / "made", task="generate", plan=plan))
    judged = {"recognised", "recognised before", "recognised, of real images"} if grey else set()
    assert {row["metric"] for row in model.card.scores} == {"FID", "FID before"} | judged
    report = evaluate_cases(model, data, "val", CPU)
    assert (report.table["change"] > 0).all()
    assert report.figure is not None
    report.figure(tmp_path / "sheet.png")
    assert size_of(tmp_path / "sheet.png") == (4 * 32, 2 * 32)
    if grey:  # chest-xray takes grey images and knows both classes
        known = {"normal", "pneumonia"}
        assert set(report.table["taken_for"]) | set(report.table["taken_for_before"]) <= known


def test_a_translation_is_between_two_classes(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "grey": 8, "light": 8})
    with pytest.raises(OptionError, match="from one class to another; the data has dark, grey, light"):
        propose_plan(data, Wishes(kind="cycle"), task="generate")


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"dark": 9}, "the single class 'dark'"),
        ({"dark": 9, "light": 3}, "The class 'light' has 3 cases"),
    ],
)
def test_classes_that_cannot_be_learned(tmp_path: Path, counts: dict[str, int], told: str) -> None:
    with pytest.raises(ImageError, match=told):
        propose_plan(write_classes(tmp_path / "data", counts), TINY, task="generate")


def test_a_class_without_cases_to_learn_from(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    (data / "val" / "red").mkdir()
    Picture.new("RGB", (20, 20)).save(data / "val" / "red" / "0.png")
    with pytest.raises(ImageError, match="The class 'red' has no case to learn from"):
        propose_plan(data, TINY, task="generate")


def test_images_of_mixed_channels(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    Picture.new("L", (20, 20)).save(data / "train" / "light" / "3.png")
    plan = propose_plan(data, TINY, task="generate")
    with pytest.raises(InputMismatch, match=r"3.png.* has shape \(1, 20, 20\)"):
        train(data, tmp_path / "made", task="generate", plan=plan)


def test_pairs_that_cannot_be_learned(tmp_path: Path) -> None:
    colour = write_pairs(tmp_path / "colour", channels=3)
    with pytest.raises(InputMismatch, match="in colour; expected a grey 2D image"):
        propose_plan(colour, Wishes(), task="generate")
    with pytest.raises(ImageError, match="of the group 'fluo'"):
        propose_plan(colour, Wishes(group="fluo"), task="generate")
    with pytest.raises(OptionError, match="multiple of 4"):
        propose_plan(write_pairs(tmp_path / "grey"), Wishes(size=30), task="generate")


def test_sizes_of_classes(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    with pytest.raises(OptionError, match=r"The size is 48; .* 16, 32, 64"):
        propose_plan(data, Wishes(size=48), task="generate")
    assert not matches(data)


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    train(data, tmp_path / "made", task="generate", plan=propose_plan(data, TINY, task="generate"))
    wider = propose_plan(data, TINY.replace(width=16), task="generate")
    (tmp_path / "other.training").mkdir()
    (tmp_path / "made.training" / "checkpoint.pt").rename(tmp_path / "other.training" / "checkpoint.pt")
    with pytest.raises(WeightsError, match="does not fit this plan"):
        train(data, tmp_path / "other", task="generate", plan=wider)


def test_batches_have_every_class_as_often() -> None:
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1) * np.ones((1, 1, 6, 6), np.uint8)
    labels = np.array([0] * 17 + [1] * 2 + [2])
    batches = ClassBatches(images, labels, 6, 5, turn=True)
    first, second = (list(batches(0, 2)) for _ in range(2))
    assert torch.equal(first[1]["images"], second[1]["images"])
    for batch in first:
        assert sorted(batch["labels"].tolist()) == [0, 0, 1, 1, 2, 2]
        value = ((batch["images"][:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
        assert [labels[v] for v in value] == batch["labels"].tolist()
    assert torch.equal(next(iter(batches(1, 2)))["labels"], first[1]["labels"])


def test_changes_move_and_cut_each_image_for_itself() -> None:
    images = torch.arange(1.0, 257).reshape(1, 1, 16, 16).repeat(3, 1, 1, 1)
    random = torch.Generator().manual_seed(3)
    moved = change(images, random, ("shift",))
    for one in moved[:, 0]:
        inside = one[4, 4] - images[0, 0, 4, 4]
        assert torch.equal(one[3:13, 3:13], images[0, 0, 3:13, 3:13] + inside)
    assert not torch.equal(moved[0], moved[1])
    cut = change(images, random, ("cut",))
    assert ((cut == 0).flatten(1).sum(1) > 9).all()
    coloured = change(images.repeat(1, 3, 1, 1) / 256, random, ("colour",))
    assert (coloured[0] - coloured[0].mean() - (images[0] - images[0].mean()) / 256).abs().max() > 0.01


def test_gradients_pass_through_every_change() -> None:
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    change(images, torch.Generator().manual_seed(0), ("colour", "shift", "cut")).sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).any()
