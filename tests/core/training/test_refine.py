"""Cascades: the second stage sees what the first found, in training as in use."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from deepbio.cases import fold_cases, load_sample, read_cases  # noqa: E402
from deepbio.engine.tensors import run_tensors  # noqa: E402
from deepbio.errors import InputMismatch, OptionError  # noqa: E402
from deepbio.events import Event, Notice  # noqa: E402
from deepbio.image import Grid, Image, LabelMap  # noqa: E402
from deepbio.io import read, read_labels, write  # noqa: E402
from deepbio.library.check import check_package, validate_package  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model  # noqa: E402
from deepbio.training import Description, Plan, Wishes, propose_plan, read_plan, train  # noqa: E402
from deepbio.training.refine import FirstStage, check_first_stage  # noqa: E402
from deepbio.training.sampler import PatchSampler  # noqa: E402
from deepbio.training.volumes import Volumes  # noqa: E402

SHAPE = (6, 14, 41)
NAMES = Description(classes={1: "marked left", 2: "marked right"})
TORCH = RunOptions(device="cpu", runtime="torch", output=("labels",))


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes whose block is of class 1 or 2 by where a far bright end is: no small patch can tell.

    Oblique, anisotropic and left-handed.
    """
    folder = tmp_path_factory.mktemp("marked")
    direction = np.linalg.qr(np.array([[0.1, 0.0, 1.0], [0.1, 1.0, 0.0], [1.0, 0.0, 0.1]]))[0]
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    lines = ["file,patient,split"]
    for number in range(8):
        grid = Grid(SHAPE, (2.0, 1.0, 0.9), (5.0, -7.0, 11.0), direction, "millimeter")
        labels, values = np.zeros(SHAPE, np.uint8), rng.normal(20, 4, SHAPE)
        low = 2 + number % 3
        labels[1:5, low : low + 8, 15:26] = 1 + number % 2
        values[labels > 0] += 90
        values[..., :5] += 150 * (number % 2 == 0)
        values[..., -5:] += 150 * (number % 2 == 1)
        write(folder / "images" / f"{number}.nrrd", Image(values.astype(np.int16), "ZYX", grid))
        write(folder / "labels" / f"{number}.nrrd", LabelMap(labels, "ZYX", grid))
        lines.append(f"{number}.nrrd,P{number},{'val' if number > 5 else 'train'}")
    (folder / "index.csv").write_text("\n".join(lines))
    return folder


def _small(plan: Plan, **changes) -> Plan:
    arguments = {**plan.network["arguments"], "features": [8, 12]}
    arguments |= {"strides": [[1, 1, 1], [1, 2, 2]], "kernels": [[3, 3, 3]] * 2}
    network = {"name": plan.network["name"], "arguments": arguments}
    how = {"batch": 4, "validate_every": 80, "steps": 80, "ema": 0.9, "learning_rate": 1e-2}
    still = replace(plan.augmentation, mirror=(0, 1), rotation=5.0, scale=(0.95, 1.05))
    return replace(plan, network=network, augmentation=still, **how | changes)


@pytest.fixture(scope="module")
def first(marked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first stage on a coarse grid, whose patch holds a whole volume; two folds."""
    plan = propose_plan(marked, Wishes(folds=2, memory=1.5), about=NAMES)
    grid = {**plan.grid, "spacing": [2.0, 2.0, 2.7]}
    arguments = {"features": [8, 12, 16, 16], "kernels": [[3, 3, 3]] * 4}
    strides = {"strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2], [1, 1, 2]]}
    small = _small(plan, grid=grid, patch=(6, 8, 16), batch=4, steps=150, validate_every=150)
    network = {"name": "unet", "arguments": small.network["arguments"] | arguments | strides}
    output = tmp_path_factory.mktemp("models") / "marked-low"
    return train(marked, output, plan=replace(small, network=network), about=NAMES, device="cpu")


@pytest.fixture(scope="module")
def cascade(marked: Path, first: Path) -> Path:
    plan = propose_plan(marked, Wishes(folds=2, memory=1.5, refine=str(first)), about=NAMES)
    output = first.with_name("marked")
    return train(marked, output, plan=_small(plan, patch=(6, 12, 12)), about=NAMES, device="cpu")


def _dice(package: Path, marked: Path) -> list[float]:
    model, scores = load_model(package), []
    for case in read_cases(marked):
        truth = read_labels(case.labels).numpy()
        found = model.run(read(case.image), TORCH).labels
        assert found.grid == read(case.image).grid
        kept = [2 * ((found.numpy() == n) & (truth == n)).sum() for n in (1, 2)]
        sizes = [(found.numpy() == n).sum() + (truth == n).sum() for n in (1, 2)]
        scores.append(sum(kept) / sum(sizes))
    return scores


def test_the_second_stage_knows_by_the_first_what_no_patch_shows(cascade: Path, marked: Path) -> None:
    scores = _dice(cascade, marked)
    assert min(scores) > 0.8, scores


def test_the_class_is_that_of_the_guide(cascade: Path) -> None:
    card, tensor = load_model(cascade).card, np.load(cascade / "test_input.npy")
    (label,) = np.unique(tensor[0, 1])[1:]
    for given in (1, 2):
        tensor[0, 1] = np.where(tensor[0, 1] > 0, given, 0)
        found = run_tensors(card, {card.input.id: tensor}, runtime="torch")[card.output.id][0].argmax(0)
        inside = tensor[0, 1] > 0
        assert (found[inside] == given).mean() > 0.8, (label, given)


def test_the_plan_says_what_is_refined_and_is_read_back(cascade: Path, first: Path) -> None:
    plan = read_plan(cascade.with_name("marked.training") / "plan.yaml")
    assert (plan.refine, plan.network["name"]) == (str(first), "guided_unet")
    arguments = plan.network["arguments"]
    assert (arguments["in_channels"], arguments["labels"], plan.channels) == (3, 2, 1)


def test_the_package_holds_both_stages(cascade: Path, first: Path) -> None:
    card = load_model(cascade).card
    assert card.first_stage == cascade / "first_stage"
    assert (card.input.channels, len(card.input.steps)) == (("intensity",), 1)
    assert card.deepbio["training"]["refine"] == "marked-low"  # not where it lay
    inner, outer = load_model(card.first_stage).card, load_model(first).card
    assert inner.weights_hash == outer.weights_hash
    # a fold is scored with the fold of the first stage that has not seen its cases either
    for number in range(2):
        fold = load_model(cascade.with_name("marked.training") / f"fold_{number}" / "marked").card
        own = load_model(first.with_name("marked-low.training") / f"fold_{number}" / "marked-low").card
        assert load_model(fold.first_stage).card.weights_hash == own.weights_hash


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
def test_the_package_passes_its_own_test(cascade: Path, runtime: str) -> None:
    if runtime != "torch":
        pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}[runtime])
    card = load_model(cascade).card
    tensor = np.load(cascade / "test_input.npy")
    assert tensor.shape[1] == 2  # as the network takes it: the image, and labels
    assert set(np.unique(tensor[0, 1])) <= {0.0, 1.0, 2.0}
    report = check_package(card, lambda card, tensors: run_tensors(card, tensors, runtime=runtime))
    assert report.passed, report


# bioimageio.spec leaves files open and says so by its own warnings
@pytest.mark.filterwarnings("ignore")
def test_the_package_keeps_the_format(cascade: Path) -> None:
    pytest.importorskip("bioimageio.spec")
    assert list(validate_package(cascade)) == []


def test_each_case_is_asked_of_the_fold_that_never_saw_it(marked: Path, first: Path) -> None:
    cases = read_cases(marked)
    stage = FirstStage(str(first), cases, 2)
    work = first.with_name("marked-low.training")
    for number, (_, held) in enumerate(fold_cases(cases, 2)):
        model = load_model(work / f"fold_{number}" / "marked-low")
        for case in held:
            expected = model.run(read(case.image), RunOptions(output=("labels",))).labels.numpy()
            np.testing.assert_array_equal(stage.labels(case, load_sample(case, 1)), expected)
    stage.close()
    with pytest.raises(
        OptionError, match="has 2 folds, the plan to refine it has none; expected the same"
    ) as told:
        FirstStage(str(first), cases, 0)
    assert told.value.hint == "Make the plan with --folds 2."


def test_a_patch_shows_image_and_guide_at_the_same_place(marked: Path, first: Path, tmp_path: Path) -> None:
    cases = read_cases(marked)
    plan = _small(
        propose_plan(marked, Wishes(folds=2, memory=1.5, refine=str(first)), about=NAMES), patch=(6, 12, 12)
    )
    # turned, zoomed and mirrored, and nothing else: bright is labelled, wherever the patch lies
    strong = replace(
        plan.augmentation,
        rotation=40.0,
        scale=(0.7, 1.4),
        gamma=(1, 1),
        contrast=(1, 1),
        brightness=0.0,
        noise=0.0,
        blur=0.0,
        low_resolution=1.0,
    )
    plan = replace(plan, augmentation=strong, object_patches=1.0, batch=8)
    volumes = Volumes(cases, plan, tmp_path, FirstStage(str(first), cases, 2))
    volumes.prepare()
    assert volumes[0].seen.shape == (2, *SHAPE)
    images, targets = PatchSampler(volumes, plan).batch(0)
    assert images.shape == (8, 2, 6, 12, 12)
    assert set(np.unique(images[:, 1])) <= {0.0, 1.0, 2.0}
    assert set(np.unique(targets)) == {0, 1, 2}
    both = (images[:, 1] > 0) & (targets > 0)
    either = (images[:, 1] > 0) | (targets > 0)
    assert both.sum() / either.sum() > 0.7  # spoilt on purpose in some


def test_a_first_stage_without_folds_is_told(marked: Path) -> None:
    stage = FirstStage("hippocampus", read_cases(marked), 0)
    heard: list[Event] = []
    stage.tell(heard.append)
    (notice,) = heard
    assert isinstance(notice, Notice)
    assert notice.level == "warning"
    assert "'hippocampus' was not cross-validated" in notice.message


def test_a_first_stage_of_other_cases_is_refused(marked: Path, first: Path) -> None:
    cases = read_cases(marked)
    more = [*cases, replace(cases[0], patient="P99", image=cases[0].image.with_name("99.nrrd"))]
    # one case more, and others are held out by another fold than before
    held = [{case.key for case in fold_cases(some, 2)[0][1]} for some in (cases, more)]
    assert held[0] - held[1]
    with pytest.raises(
        OptionError, match=r"made of 8 cases, the data set has 9; expected the same ones, found .*: 99.nrrd"
    ):
        FirstStage(str(first), more, 2)
    assert FirstStage(str(first), [*cases, replace(more[-1], split="test")], 2).card.name == "marked-low"


def test_a_run_does_not_go_on_with_other_weights_of_its_first_stage(
    marked: Path, first: Path, tmp_path: Path
) -> None:
    shutil.copytree(first, tmp_path / "marked-low")
    for file in ("fingerprint.csv", "fold_0/marked-low", "fold_1/marked-low"):
        source, target = (one / "marked-low.training" / file for one in (first.parent, tmp_path))
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.parent.mkdir()
            shutil.copyfile(source, target)
    cases, work = read_cases(marked), tmp_path / "marked.training"
    (work / "fold_0").mkdir(parents=True)
    FirstStage(str(first), cases, 2).begin(work)
    FirstStage(str(tmp_path / "marked-low"), cases, 2).begin(work)  # the same weights elsewhere
    one = tmp_path / "marked-low.training" / "fold_1" / "marked-low"
    shutil.rmtree(one)
    shutil.copytree(one.parents[1] / "fold_0" / "marked-low", one)
    FirstStage(str(tmp_path / "marked-low"), cases, 2).begin(work)  # nothing has been learned yet
    (work / "fold_0" / "checkpoint.pt").touch()
    with pytest.raises(OptionError, match="begun with other weights of the first stage 'marked-low'"):
        FirstStage(str(first), cases, 2).begin(work)
    FirstStage(str(tmp_path / "marked-low"), cases, 2).begin(work)


def test_a_plan_names_the_first_stage_from_everywhere(
    marked: Path, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(first.parent)
    plan = propose_plan(marked, Wishes(folds=2, memory=1.5, refine=first.name), about=NAMES)
    assert plan.refine == str(first.resolve())


def test_classes_with_a_gap_and_names_of_channels_are_those_of_the_first_stage(
    marked: Path, first: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(first, other)
    path = other / "bioimageio.yaml"
    content = yaml.safe_load(path.read_text())
    ours = content["config"]["deepbio"]
    ours["classes"] = {1: {"name": "a"}, 4: {"name": "b"}}
    ours["training"]["folds"] = 0
    (channels,) = (axis for axis in content["inputs"][0]["axes"] if axis["type"] == "channel")
    channels["channel_names"] = ["MR"]
    path.write_text(yaml.safe_dump(content))
    assert check_first_stage(str(other), 3, 1, (4, 1)).input.channels == ("MR",)
    with pytest.raises(OptionError, match=r"the labels \[1, 4\]; expected .* the labels \[1, 2, 4\]"):
        check_first_stage(str(other), 3, 1, (1, 2, 4))
    stage = FirstStage(str(other), read_cases(marked), 0)
    assert tuple(stage.named(NAMES, 1).channels) == ("MR",)
    with pytest.raises(OptionError, match=r"sees the channels \['MR'\]; the description has \['CT'\]"):
        stage.named(replace(NAMES, channels=("CT",)), 1)
    plain = FirstStage(str(first), read_cases(marked), 2)
    assert plain.named(NAMES, 1) is NAMES


def test_models_that_cannot_be_refined_are_refused(first: Path, cascade: Path) -> None:
    with pytest.raises(
        OptionError, match=r"for segment in 3D, 1 channels, the labels \[1, 2\]; expected segment in 3D, 2"
    ):
        check_first_stage(str(first), 3, 2, (1, 2))
    with pytest.raises(OptionError, match=r"labels \[1, 2\]; expected .* the labels \[1, 2, 3\]"):
        check_first_stage(str(first), 3, 1, (1, 2, 3))
    with pytest.raises(OptionError, match=r"for classes in volumes; the data set has objects"):
        check_first_stage(str(first), 3, 1, ())
    with pytest.raises(OptionError, match=r"the data set has 2D images, or is learned slice by slice"):
        check_first_stage(str(first), 2, 1, (1, 2))
    with pytest.raises(OptionError, match=r"and is a cascade itself; expected segment"):
        check_first_stage(str(cascade), 3, 1, (1, 2))
    with pytest.raises(OptionError, match=r"both a model to start from, 'nuclei', and one to refine, 'b'"):
        Wishes(start="nuclei", refine="b")


def test_what_a_cascade_cannot_do_is_refused_before_the_work(cascade: Path, marked: Path) -> None:
    from deepbio.extraction import features

    image = read(read_cases(marked)[0].image)
    model = load_model(cascade)
    for options in ({"explain": "gradcam"}, {"uncertainty": "tta"}):
        with pytest.raises(
            InputMismatch, match="is a cascade, whose network needs what its first stage found"
        ):
            model.run(image, RunOptions(**options))
    with pytest.raises(InputMismatch, match="is a cascade"):
        features(image, model)
    with pytest.raises(InputMismatch, match="'marked' takes 3D stacks; the image is 2D"):
        model.run(Image(np.zeros((8, 8), np.uint8)))
