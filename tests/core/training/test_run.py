"""From a folder of cases to a model that segments: plan, fit, resume, package, self-test."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from deepbio import io  # noqa: E402
from deepbio.cases import read_cases, split_cases  # noqa: E402
from deepbio.engine.tensors import run_tensors  # noqa: E402
from deepbio.errors import Cancelled, InputMismatch, OptionError, WeightsError  # noqa: E402
from deepbio.events import Event, Notice, Progress  # noqa: E402
from deepbio.image import Grid, Image, LabelMap  # noqa: E402
from deepbio.library.check import check_package  # noqa: E402
from deepbio.metrics import average_precision  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model  # noqa: E402
from deepbio.training import Description, Plan, Wishes, propose_plan, read_plan, run, train  # noqa: E402
from deepbio.training.fingerprint import Fingerprint, make_fingerprint  # noqa: E402
from deepbio.training.fit import fit  # noqa: E402
from deepbio.training.sampler import PatchSampler  # noqa: E402
from deepbio.training.volumes import Volumes  # noqa: E402
from tests.core.command import deepbio  # noqa: E402


def _tiny(plan: Plan, **changes) -> Plan:
    arguments = {**plan.network["arguments"]}
    for name in ("features", "strides", "kernels"):
        arguments[name] = arguments[name][:3]
    arguments["features"] = [8, 12, 16]
    patch = tuple(32 if plan.dims == 2 else 16 for _ in plan.patch)
    small = {
        "network": {"name": "unet", "arguments": arguments},
        "patch": patch,
        "batch": 4,
        "learning_rate": 5e-3,
    }
    return replace(plan, **{**small, **changes})


@pytest.fixture(scope="module")
def trained(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A network of 12,000 parameters after 160 steps: seconds, and it finds the discs."""
    heard: list[Event] = []
    plan = _tiny(propose_plan(discs), steps=160, validate_every=80, ema=0.95)
    about = Description(
        title="Discs", license="CC0-1.0", authors=[{"name": "A. Tester"}], modality=["fluorescence"]
    )
    output = tmp_path_factory.mktemp("models") / "discs"
    return train(discs, output, plan=plan, about=about, device="cpu", on_progress=heard.append), heard


def test_the_model_finds_the_objects(trained, discs: Path) -> None:
    package, _ = trained
    case = split_cases(read_cases(discs))[1][0]
    image = io.read(case.image)
    result = load_model(package).run(image, RunOptions(device="cpu"))
    truth = io.read_labels(case.labels).numpy()
    assert average_precision(truth, result.labels.numpy(), (0.5,))[0] > 0.6
    assert result.labels.grid == image.grid
    assert len(result.table) == result.labels.count


def test_the_card_tells_what_was_measured(trained) -> None:
    card = load_model(trained[0]).card
    assert (card.title, card.license, card.task, card.ndim) == ("Discs", "CC0-1.0", "segment", 2)
    (ap50,) = [row for row in card.scores if row["metric"] == "AP at IoU 0.5"]
    assert (ap50["split"], ap50["n"]) == ("val", 2)
    assert 0.6 < ap50["value"] <= 1
    assert {row["method"] for row in card.deepbio["calibration"]} == {"watershed", "votes"}
    assert card.deepbio["decode"]["method"] in ("watershed", "votes")
    assert card.deepbio["training"]["steps"] == 160


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
def test_the_package_passes_its_own_test(trained, runtime: str) -> None:
    if runtime != "torch":
        pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}[runtime])
    card = load_model(trained[0]).card
    report = check_package(card, lambda card, tensors: run_tensors(card, tensors, runtime=runtime))
    assert report.passed
    assert report.difference < 1e-4


def test_weights_are_stored_in_half_precision(trained) -> None:
    from safetensors.numpy import load_file

    weights = load_file(trained[0] / "weights.safetensors")
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float16)}
    size = sum(value.nbytes for value in weights.values())
    assert (trained[0] / "weights.onnx").stat().st_size < 1.5 * size + 20_000


def test_nothing_of_this_machine_is_in_the_package(trained) -> None:
    for path in trained[0].iterdir():
        assert str(Path(__file__).parents[3]).encode() not in path.read_bytes(), path.name


def test_the_run_leaves_a_plan_and_a_curve(trained) -> None:
    folder = trained[0].with_name("discs.training")
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [80, 160]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert (folder / "history.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "plan.yaml").is_file()
    steps = [e for e in trained[1] if isinstance(e, Progress) and e.stage == "fit"]
    assert (steps[-1].current, steps[-1].total) == (160, 160)
    assert any("Plan (" in e.message for e in trained[1] if isinstance(e, Notice))


def test_a_killed_run_ends_as_if_it_had_not_been(discs: Path, tmp_path: Path) -> None:
    plan = _tiny(propose_plan(discs), steps=6, validate_every=2)
    cases = split_cases(read_cases(discs))

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.current == 5:
            raise Cancelled

    whole, _ = fit(plan, *cases, tmp_path / "whole")
    with pytest.raises(Cancelled):
        fit(plan, *cases, tmp_path / "killed", on_progress=kill)
    resumed, state = fit(plan, *cases, tmp_path / "killed")
    assert state.step == 6
    assert [row["step"] for row in state.history] == [2, 4, 6]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_batches_depend_on_seed_and_step_only(discs: Path) -> None:
    plan = _tiny(propose_plan(discs, Wishes(seed=3)))
    cases, _ = split_cases(read_cases(discs))
    one = [images for images, _ in PatchSampler(Volumes(cases, plan), plan).batches(0, 4)]
    other = [images for images, _ in PatchSampler(Volumes(cases, plan), plan).batches(2, 4)]
    np.testing.assert_array_equal(one[2:], other)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(PatchSampler(Volumes(cases, plan), replace(plan, seed=4)).batch(0)[0], one[0])


def test_groups_are_drawn_evenly_on_request(discs: Path) -> None:
    cases = [replace(c, group="rare" if i == 0 else "common") for i, c in enumerate(read_cases(discs))]
    for power, expected in ((0.0, 0.5), (1.0, 0.1)):
        plan = _tiny(propose_plan(discs), group_power=power)
        sampler = PatchSampler(Volumes(cases, plan), plan)
        assert sampler._chance[0] == pytest.approx(expected)


def test_another_plan_does_not_mix_with_a_run(trained, discs: Path) -> None:
    plan = propose_plan(discs, Wishes(steps=3000))
    with pytest.raises(OptionError, match="holds a run with another plan"):
        train(discs, trained[0], plan=plan, device="cpu")


@pytest.mark.parametrize(
    ("target", "changes", "told"),
    [
        ("instances", {"channels": 3}, "channels: 3 in the plan, 1 in the data"),
        ("classes", {"classes": 1}, "number of classes: 1 in the plan, "),
        ("classes", {"classes": 99}, "number of classes: 99 in the plan, "),
        ("instances", {"dims": 3}, "spatial axes: 3 in the plan, 2 in the data"),
    ],
)
def test_a_plan_that_was_edited_is_for_this_data(
    discs: Path, tmp_path: Path, target: str, changes: dict, told: str
) -> None:
    begun = tmp_path / "model.training" / "plan.yaml"
    plan = propose_plan(discs, Wishes(target=target), save=begun)
    content = yaml.safe_load(begun.read_text())
    content["plan"] |= changes
    begun.write_text(yaml.safe_dump(content))
    for output, given in (("model", None), ("new", replace(plan, **changes))):
        with pytest.raises(InputMismatch) as error:
            train(discs, tmp_path / output, plan=given)
        assert str(error.value).startswith(f"The plan does not fit the data ({told}")


def test_data_is_measured_once(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def counted(cases: list, *more: object) -> Fingerprint:
        measured.append(len(cases))
        return make_fingerprint(cases, *more)

    monkeypatch.setattr(run, "make_fingerprint", counted)
    monkeypatch.setattr(run._Job, "run", lambda job, parts, work, output: output)
    train(discs, tmp_path / "model", plan=Wishes(steps=5))
    assert len(measured) == 1
    train(discs, tmp_path / "model")
    assert len(measured) == 1  # the plan is as it was written
    train(discs, tmp_path / "model", plan=Wishes(steps=6))
    assert len(measured) == 2
    assert read_plan(tmp_path / "model.training" / "plan.yaml").steps == 6


def test_a_checkpoint_of_another_network_is_told(trained, discs: Path, tmp_path: Path) -> None:
    plan = _tiny(propose_plan(discs), steps=6)
    other = {**plan.network["arguments"], "features": [4, 6, 8]}
    checkpoint = trained[0].with_name("discs.training") / "checkpoint.pt"
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint.read_bytes())
    with pytest.raises(WeightsError, match="does not fit this plan"):
        fit(
            replace(plan, network={"name": "unet", "arguments": other}),
            *split_cases(read_cases(discs)),
            tmp_path,
        )


def test_volumes_and_classes(balls: Path, tmp_path: Path) -> None:
    plan = _tiny(propose_plan(balls), steps=3, validate_every=3)
    assert (plan.dims, plan.target) == (3, "instances")
    package = train(balls, tmp_path / "balls", plan=plan, device="cpu")
    card = load_model(package).card
    assert card.ndim == 3
    image = io.read(split_cases(read_cases(balls))[1][0].image)
    result = load_model(package).run(image, RunOptions(device="cpu"))
    assert result.labels.shape == image.shape


def test_classes_per_pixel(discs: Path, tmp_path: Path) -> None:
    for path in discs.glob("*/labels/*.tif"):
        labels = io.read_labels(path)
        target = tmp_path / "data" / path.relative_to(discs)
        target.parent.mkdir(parents=True, exist_ok=True)
        io.write(target, replace(labels, array=(labels.numpy() > 0).astype(np.uint8)))
        images = tmp_path / "data" / path.relative_to(discs).parent.parent / "images"
        images.mkdir(exist_ok=True)
        (images / path.name).write_bytes((path.parent.parent / "images" / path.name).read_bytes())
    plan = _tiny(propose_plan(tmp_path / "data"), steps=40, validate_every=40, ema=0.9)
    assert (plan.target, plan.classes) == ("classes", 1)
    about = Description(title="Disc or not", class_names={1: "disc"})
    model = load_model(train(tmp_path / "data", tmp_path / "disc", plan=plan, about=about, device="cpu"))
    case = split_cases(read_cases(tmp_path / "data"))[1][0]
    result = model.run(io.read(case.image), RunOptions(device="cpu"))
    assert dict(result.labels.names) == {1: "disc"}
    assert (result.labels.numpy() == io.read_labels(case.labels).numpy()).mean() > 0.9
    assert asdict(plan)["classes"] == 1


def test_classes_without_names_have_those_of_their_labels(trained, discs: Path, tmp_path: Path) -> None:
    plan = replace(_tiny(propose_plan(discs, Wishes(target="classes"))), steps=1, validate_every=1)
    card = load_model(train(discs, tmp_path / "some", plan=plan, device="cpu")).card
    count = plan.classes
    assert dict(card.classes) == {label: f"class_{label}" for label in range(1, count + 1)}
    assert card.output.channels == ("background", *card.classes.values())
    assert not load_model(trained[0]).card.classes  # objects


def test_classes_with_gaps_are_told(discs: Path, tmp_path: Path) -> None:
    for path in discs.glob("*/labels/*.tif"):
        labels = io.read_labels(path)
        target = tmp_path / "data" / path.relative_to(discs)
        numbers = np.select([labels.numpy() == 1, labels.numpy() > 1], [3, 7], 0).astype(np.uint8)
        for folder in (target.parent, target.parent.parent / "images"):
            folder.mkdir(parents=True, exist_ok=True)
        io.write(target, replace(labels, array=numbers))
        (target.parent.parent / "images" / path.name).write_bytes(
            (path.parent.parent / "images" / path.name).read_bytes()
        )
    heard: list[object] = []
    plan = propose_plan(tmp_path / "data", on_progress=heard.append)
    assert (plan.target, plan.classes) == ("classes", 7)
    (told,) = heard
    assert told.level == "warning"  # type: ignore[attr-defined]
    for words in (
        "The labels are 3, 7, so the network learns 7 classes, of which 5 have no pixel (1, 2, 4, 5, 6).",
        "(3 as 1, 7 as 2)",
        "'classes' in the description (--about)",
        "--target instances",
    ):
        assert words in told.message  # type: ignore[attr-defined]
    named = Description(classes={3: "nucleus", 7: "gland"})
    for wishes, about in ((Wishes(), named), (Wishes(target="instances"), None)):
        propose_plan(tmp_path / "data", wishes, about=about, on_progress=heard.append)
    propose_plan(discs, on_progress=heard.append)
    assert len(heard) == 1
    done = deepbio("train", tmp_path / "data", "-o", tmp_path / "mine", "--plan-only")
    assert "of which 5 have no pixel" in " ".join(done.err.split())
    told = deepbio("train", tmp_path / "data", "-o", tmp_path / "mine", "--plan-only", "--json").lines[-1]
    assert (told["event"], told["file"]) == ("plan", str(tmp_path / "mine.training" / "plan.yaml"))
    saved = yaml.safe_load(Path(told["file"]).read_text())
    assert told["plan"].keys() == saved.keys()
    assert told["plan"]["plan"] == saved["plan"]


def test_a_data_set_of_nnunet_is_learned_and_run_as_it_is(tmp_path: Path) -> None:
    """Two channels of very different ranges, each in a file of its own; the second alone shows the object."""
    folder = tmp_path / "Dataset007_Balls"
    drawn = np.random.default_rng(0)
    grid = Grid((12, 20, 24), (2.0, 1.0, 1.1), unit="millimeter")
    places = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"))
    for number in range(8):
        centre = drawn.uniform((4, 6, 7), (8, 14, 17)).reshape(3, 1, 1, 1)
        ball = (((places - centre) * np.array([2, 1, 1.1]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 30
        for k, pixels in enumerate(
            (drawn.normal(9000, 500, ball.shape), drawn.normal(10, 1, ball.shape) + 8 * ball)
        ):
            path = folder / "imagesTr" / f"ball_{number}_{k:04d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            io.write(path, Image(pixels.astype(np.float32), "ZYX", grid))
        (folder / "labelsTr").mkdir(exist_ok=True)
        io.write(folder / "labelsTr" / f"ball_{number}.nii.gz", LabelMap(ball.astype(np.uint8), "ZYX", grid))
    about = {"name": "Balls", "channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "ball": 1}}
    (folder / "dataset.json").write_text(json.dumps(about))
    plan = propose_plan(folder)
    assert plan.normalisation[0]["kwargs"]["axes"] == ["z", "y", "x"]
    package = train(
        folder, tmp_path / "balls", plan=_tiny(plan, steps=120, validate_every=60, ema=0.9), device="cpu"
    )
    card = load_model(package).card
    assert (card.classes, card.input.channels, card.training_data) == ({1: "ball"}, ("T1", "T2"), "Balls")
    assert card.deepbio["channel_files"] is True
    assert "grey" not in card.deepbio
    done = deepbio(
        "run", package, folder / "imagesTr", "-o", tmp_path / "out", "--save", "labels", "--device", "cpu"
    )
    assert done.code == 0
    assert len(list((tmp_path / "out").glob("*-labels.nii.gz"))) == 8
    found = io.read_labels(tmp_path / "out" / "ball_3-labels.nii.gz").numpy()
    truth = io.read_labels(folder / "labelsTr" / "ball_3.nii.gz").numpy()
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
    scored = deepbio("evaluate", package, folder, "-o", tmp_path / "scores.csv", "--device", "cpu")
    assert scored.code == 0
