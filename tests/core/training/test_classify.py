"""Training of classifiers: plans, losses, batches, calibration, and the whole way to a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.special import softmax  # noqa: E402

from deepbio import io  # noqa: E402
from deepbio.engine.tensors import run_tensors  # noqa: E402
from deepbio.errors import Cancelled, ImageError, InputMismatch, OptionError  # noqa: E402
from deepbio.evaluation.classify import evaluate_cases  # noqa: E402
from deepbio.events import Progress, silent  # noqa: E402
from deepbio.image import Grid, Image  # noqa: E402
from deepbio.library.check import check_package, validate_package  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model  # noqa: E402
from deepbio.training import Description, guess_task, propose_plan, read_plan, train, wishes_of  # noqa: E402
from deepbio.training.classify import Wishes, make_plan  # noqa: E402
from deepbio.training.classify_data import Pictures, Variation, batches, gather, vary  # noqa: E402
from deepbio.training.classify_losses import BALANCES, class_weights, classification_loss  # noqa: E402
from deepbio.training.classify_package import calibrate  # noqa: E402
from tests.core.training.shapes import shape_image, write_arrays, write_folders  # noqa: E402


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs four times as often as crosses."""
    return write_folders(tmp_path_factory.mktemp("shapes"), {"train": (40, 10), "val": (9, 6)})


# --- plans --------------------------------------------------------------------------------------


def test_a_plan_follows_from_the_data(shapes) -> None:
    plan, facts = make_plan(shapes, Wishes(), Description())
    assert (plan.classes, plan.counts, plan.balance) == (("cross", "disc"), (10, 40), "sampling")
    assert (plan.dims, plan.channels, plan.size, plan.normalise) == (2, 1, (24, 28), "dataset")
    assert plan.variation.flip == (0, 1)
    assert plan.mean[0] == pytest.approx(facts["mean"][0])
    assert plan.network["arguments"]["strides"][0] == [1, 1]  # small images are not reduced at once
    assert plan.coarse_steps == 0
    assert facts["classes"] == {"cross": 10, "disc": 40}
    upright, _ = make_plan(shapes, Wishes(), Description(modality=("DX",)))
    assert upright.variation.flip == ()
    assert upright.variation.rotation < 20


def test_names_for_the_classes(shapes, tmp_path) -> None:
    plan, _ = make_plan(shapes, Wishes(names=("disc=round thing",)), Description())
    assert (plan.classes, plan.labels) == (("cross", "round thing"), ("cross", "disc"))
    plan, _ = make_plan(shapes, Wishes(), Description(classes={1: "disc", 2: "cross"}))
    assert plan.classes == plan.labels == ("disc", "cross")
    path = write_arrays(tmp_path / "a.npz", {"train": (2, 2), "val": (1, 1)})
    plan, _ = make_plan(path, Wishes(), Description(classes={1: "disc", 2: "cross"}))
    assert (plan.classes, plan.labels) == (("disc", "cross"), ("0", "1"))
    with pytest.raises(OptionError, match="one of the classes cross, disc, '=' and a name"):
        make_plan(shapes, Wishes(names=("square=x",)), Description())


def test_data_that_cannot_be_learned_from(shapes, tmp_path) -> None:
    one = write_folders(tmp_path / "one", {"train": (3, 0), "val": (2, 0)})
    with pytest.raises(ImageError, match="the one class 'disc'; a classifier needs at least two"):
        make_plan(one, Wishes(), Description())
    absent = write_folders(tmp_path / "absent", {"train": (3, 0), "val": (2, 1)})
    with pytest.raises(ImageError, match="class 'cross' has no training images"):
        make_plan(absent, Wishes(), Description())
    with pytest.raises(ImageError, match="'square' of the description has no cases"):
        make_plan(shapes, Wishes(), Description(classes={1: "disc", 2: "cross", 3: "square"}))
    mixed = write_folders(tmp_path / "mixed", {"train": (2, 2), "val": (1, 1)})
    write_folders(tmp_path / "colour", {"train": (0, 1)}, colour=True)
    (tmp_path / "colour/train/cross/0.tif").rename(mixed / "train/cross/9.tif")
    with pytest.raises(InputMismatch, match=r"has 1 channel in 2D, .*9.tif' has 3 channels in 2D"):
        make_plan(mixed, Wishes(), Description())


def test_volumes_get_a_network_of_volumes(tmp_path) -> None:
    random = np.random.default_rng(0)
    arrays = {
        f"{part}_images": random.integers(0, 900, (4, 6, 30, 22)).astype(np.int16)
        for part in ("train", "val")
    }
    labels = {f"{part}_labels": np.array([[0], [1], [2], [1]]) for part in ("train", "val")}
    np.savez(tmp_path / "volumes.npz", **arrays, **labels)
    plan, _ = make_plan(tmp_path / "volumes.npz", Wishes(), Description())
    assert (plan.dims, plan.size, plan.normalise) == (3, (6, 32, 24), "image")
    assert plan.network["arguments"]["strides"] == [[1, 1, 1], [1, 2, 2], [1, 2, 2], [1, 2, 1]]
    with pytest.raises(OptionError, match="normalise=dataset is for 8-bit images"):
        make_plan(tmp_path / "volumes.npz", Wishes(normalise="dataset"), Description())


def test_settings_are_read_from_texts() -> None:
    wishes = wishes_of("classify", {"balance": "focal", "steps": "7", "names": "0=a,1=b"})
    assert (wishes.balance, wishes.steps, wishes.names) == ("focal", 7, ("0=a", "1=b"))
    with pytest.raises(OptionError, match="expected one of auto, none, sampling, focal, logits"):
        Wishes(balance="luck")


# --- losses, batches, calibration ---------------------------------------------------------------


def test_the_losses_are_their_formulas() -> None:
    scores = torch.tensor([[1.0, -0.5, 0.2], [0.3, 0.1, -2.0]], requires_grad=True)
    classes, counts = torch.tensor([2, 0]), (70, 20, 10)
    given = softmax(scores.detach().numpy(), 1)
    right = np.array([given[0, 2], given[1, 0]])
    plain = -np.log(right).mean()

    def value(balance: str) -> float:
        return float(classification_loss(balance, counts)(scores.detach(), classes))

    assert value("none") == pytest.approx(plain, rel=1e-5)
    assert value("sampling") == pytest.approx(plain, rel=1e-5)
    weight = class_weights(counts).numpy()[[2, 0]]
    focal = (weight * (1 - right) ** 2 * -np.log(right)).sum() / weight.sum()
    assert value("focal") == pytest.approx(focal, rel=1e-5)
    shifted = softmax(scores.detach().numpy() + np.log([0.7, 0.2, 0.1]), 1)
    logits = -np.log([shifted[0, 2], shifted[1, 0]]).mean()
    assert value("logits") == pytest.approx(logits, rel=1e-5)
    # smoothed by the frequencies, the best answer to a class is that answer, not a rarer one
    even = classification_loss("logits", counts, 0.1)
    assert float(even(torch.zeros(1, 3), torch.tensor([0]))) == pytest.approx(
        -(0.97 * np.log(0.7) + 0.02 * np.log(0.2) + 0.01 * np.log(0.1)), rel=1e-5
    )
    for balance in BALANCES:
        classification_loss(balance, counts, 0.1)(scores, classes).backward()


def _pictures(count: int = 30) -> Pictures:
    classes = np.array([0] * (count - 3) + [1] * 3)
    pixels = np.stack([shape_image(k, n)[None] for n, k in enumerate(classes)])
    return Pictures(pixels, classes, [60.0], [50.0])


def test_batches_follow_from_seed_and_step() -> None:
    pictures = _pictures()
    draw = batches(pictures, 8, 5, Variation(flip=(0, 1), rotation=180))
    straight = list(draw(0, 6))
    for batch, again in zip(straight[4:], draw(4, 6), strict=True):
        assert torch.equal(batch.images, again.images)
        assert torch.equal(batch.classes, again.classes)
    other = next(iter(batches(pictures, 8, 6, Variation())(0, 1)))
    assert not torch.equal(other.images, straight[0].images)
    coarse = next(iter(batches(pictures, 8, 5, Variation(), coarse_until=1)(0, 1)))
    assert coarse.images.shape == (8, 1, 14, 17)


def test_rare_classes_are_drawn_as_often() -> None:
    draw = batches(_pictures(), 10, 0, Variation(), balanced=True)
    drawn = torch.cat([batch.classes for batch in draw(0, 60)])
    assert float(drawn.float().mean()) == pytest.approx(0.5, abs=0.08)
    every = batches(_pictures(), 10, 0, Variation())
    assert sorted(torch.cat([batch.classes for batch in every(0, 3)]).tolist()) == [0] * 27 + [1] * 3


@pytest.mark.parametrize("shape", [(4, 3, 17, 23), (4, 1, 5, 9, 13)])
def test_variation_off_changes_nothing(shape) -> None:
    still = Variation((), 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    images = torch.randn(shape)
    torch.testing.assert_close(
        vary(images, still, torch.Generator().manual_seed(0)), images, rtol=1e-4, atol=1e-4
    )
    strong = Variation(tuple(range(len(shape) - 2)), 180.0, colour=0.2, blur=1.0, erase=1.0)
    varied = vary(images, strong, torch.Generator().manual_seed(0))
    assert varied.shape == images.shape
    assert torch.isfinite(varied).all()


def test_flips_and_turns_are_what_they_say() -> None:
    still = {"zoom": 1.0, "shift": 0.0, "contrast": 0.0, "brightness": 0.0, "noise": 0.0, "blur": 0.0}
    images = torch.arange(6 * 35.0).reshape(6, 1, 5, 7)
    flipped = vary(images, Variation(flip=(1,), rotation=0.0, **still), torch.Generator().manual_seed(1))
    for before, after in zip(images, flipped, strict=True):
        assert torch.allclose(after, before, atol=1e-3) or torch.allclose(after, before.flip(2), atol=1e-3)
    disc = torch.from_numpy(shape_image(0, 3, (31, 41)) * 1.0).float()[None, None]
    turned = vary(disc, Variation(rotation=90.0, **still), torch.Generator().manual_seed(3))
    assert float(turned.mean()) == pytest.approx(float(disc.mean()), rel=0.03)  # a disc stays one


def test_a_temperature_and_biases_are_found_again() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(0, 2, (4000, 3))
    chances = softmax(scores / 2.5 + [1.0, 0.0, -1.0], 1)
    classes = (random.random((4000, 1)) > chances.cumsum(1)).sum(1)
    found = calibrate(scores, classes, with_bias=True)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.bias == pytest.approx((1.0, 0.0, -1.0), abs=0.15)
    assert found.after < 0.03 < found.before
    plain = calibrate(scores, (random.random((4000, 1)) > softmax(scores / 2.5, 1).cumsum(1)).sum(1))
    assert (plain.temperature, plain.bias) == (pytest.approx(2.5, rel=0.1), ())


def test_gathered_images_are_kept_until_files_change(shapes, tmp_path) -> None:
    from deepbio.cases.classify import read_class_cases

    cases = read_class_cases(shapes)[:6]
    args = (("cross", "disc"), (10, 12), "dataset", ((60.0,), (50.0,)), tmp_path)
    first = gather(cases, *args, silent)
    assert first.pixels.shape == (6, 1, 10, 12)
    assert first.pixels.dtype == np.uint8
    gather(cases, *args, silent)
    assert len(list(tmp_path.iterdir())) == 1
    gather(cases[:5], *args, silent)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(InputMismatch, match="is of the class 'cross'"):
        gather(cases, ("disc",), *args[1:], silent)


# --- the whole way ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(shapes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "shapes-model"
    assert guess_task(shapes) == "classify"
    plan = propose_plan(
        shapes,
        Wishes(
            steps=90, width=0.25, batch=16, balance="logits", calibration="bias", names=("disc=round thing",)
        ),
    )
    stops = []

    def stop_once(event: object) -> None:
        if isinstance(event, Progress) and event.stage == "fit" and event.current == 30 and not stops:
            stops.append(event)
            raise Cancelled

    about = Description(title="Shapes", classes={1: {"name": "round thing", "color": "#ff0000"}})
    with pytest.raises(Cancelled):
        train(shapes, output, plan=plan, about=about, device="cpu", on_progress=stop_once)
    return train(shapes, output, about=about, device="cpu")


def test_the_package_is_right(package, shapes) -> None:
    model = load_model(package)
    card = model.card
    assert card.task == "classify"
    assert card.classes == {1: "cross", 2: "round thing"}
    assert card.deepbio["classes"][2]["color"] == "#ff0000"
    assert {weights.format for weights in card.weights} == {"safetensors", "onnx"}
    for runtime in ("torch", "onnx"):
        report = check_package(
            card, lambda one, tensors, runtime=runtime: run_tensors(one, tensors, runtime=runtime)
        )
        assert report.passed, report
    assert len(card.deepbio["calibration"]["bias"]) == 2
    scores = {(row["subset"], row["metric"]): row["value"] for row in card.scores}
    assert scores["all", "balanced accuracy"] > 0.8
    assert "sensitivity" in {metric for subset, metric in scores if subset == "round thing"}
    assert ("all", "calibration error, before calibration") in scores
    assert read_plan(package.with_name("shapes-model.training") / "plan.yaml").steps == 90
    table = model.run(Image(shape_image(0, 77))).table
    assert table["class"][0] == "round thing"
    assert table["p_cross"][0] + table["p_round_thing"][0] == pytest.approx(1)


@pytest.mark.filterwarnings("ignore")  # the validator leaves files open, and says so by its own warnings
def test_the_package_keeps_the_format(package) -> None:
    pytest.importorskip("bioimageio.spec")
    assert validate_package(package) == ()


def test_evaluation_tells_what_the_card_tells(package, shapes, tmp_path) -> None:
    model = load_model(package)
    report = evaluate_cases(model, shapes, "val", RunOptions())
    told = {(row["subset"], row["metric"]): row["value"] for row in report.summary}
    card = {(row["subset"], row["metric"]): row["value"] for row in model.card.scores}
    assert {key: card[key] for key in told} == told
    assert set(report.table["truth"]) == {"cross", "round thing"}
    assert len(report.table) == 15
    report.figure(tmp_path / "scores.png")
    from PIL import Image as Picture

    with Picture.open(tmp_path / "scores.png") as picture:
        assert picture.size[0] > 500
    with pytest.raises(ImageError, match="No case is in the part 'test'"):
        evaluate_cases(model, shapes, "test", RunOptions())
    other = tmp_path / "other"
    write_folders(other, {"val": (1, 1)})
    (other / "val" / "cross").rename(other / "val" / "square")
    with pytest.raises(InputMismatch, match="of the class 'square'; the model 'shapes-model' knows"):
        evaluate_cases(model, other, "val", RunOptions())


# --- pixels of one size -------------------------------------------------------------------------


def _write_sized(folder: Path, spacings: dict[str, list[tuple[float, float]]]) -> Path:
    """Small discs (radius 2 um) and large ones (4 um) that fill as many pixels where these are finer."""
    for kind, radius in (("small", 2.0), ("large", 4.0)):
        for part, all_spacings in spacings.items():
            one = folder / part / kind
            one.mkdir(parents=True)
            for number, spacing in enumerate(all_spacings):
                image = sized_disc(radius, spacing, number + 100 * (part == "val"))
                io.write(one / f"{number}.tif", image)
    return folder


def sized_disc(radius: float, spacing: tuple[float, float], seed: int, extent: float = 14.0) -> Image:
    random = np.random.default_rng(seed)
    shape = tuple(round(extent / s) for s in spacing)
    y, x = (
        np.arange(n) * s - extent / 2 + random.uniform(-1, 1) for n, s in zip(shape, spacing, strict=True)
    )
    inside = y[:, None] ** 2 + x[None] ** 2 < radius**2
    pixels = (np.where(inside, 180.0, 40.0) + random.normal(0, 8, shape)).clip(0, 255).astype(np.uint8)
    return Image(pixels, "YX", Grid(shape, spacing, unit="micrometer"))


def test_a_common_spacing_goes_into_the_plan(tmp_path) -> None:
    same = _write_sized(tmp_path / "same", {"train": [(0.7, 0.5)] * 3, "val": [(0.35, 0.5)]})
    plan, _ = make_plan(same, Wishes(), Description())
    assert plan.grid == {"spacing": [0.7, 0.5], "unit": "micrometer"}
    assert plan.size == (20, 28)
    half, _ = make_plan(same, Wishes(size=56), Description())
    assert (half.size, half.grid["spacing"]) == ((40, 56), [0.35, 0.25])
    ignored, _ = make_plan(same, Wishes(spacing="ignore"), Description())
    assert (ignored.grid, ignored.size) == ({}, (20, 28))
    mixed = _write_sized(tmp_path / "mixed", {"train": [(0.7, 0.5), (0.35, 0.5)], "val": [(0.7, 0.5)]})
    assert make_plan(mixed, Wishes(), Description())[0].grid == {}
    pixels = write_folders(tmp_path / "pixels", {"train": (2, 2), "val": (1, 1)})
    assert make_plan(pixels, Wishes(), Description())[0].grid == {}


def test_volumes_of_one_spacing_stored_in_two_orders(tmp_path) -> None:
    grid = Grid((6, 22, 18), (2.0, 0.7, 0.5), (3.0, -4.0, 5.0), unit="millimeter")
    turned = Grid(
        (18, 6, 22),
        (0.5, 2.0, 0.7),
        (3.0, -4.0, 5.0),
        grid.direction[:, [2, 0, 1]] * [1, -1, 1],
        "millimeter",
    )
    for kind in ("a", "b"):
        for number, one in enumerate((grid, turned, grid)):
            folder = tmp_path / ("val" if number == 2 else "train") / kind
            folder.mkdir(parents=True, exist_ok=True)
            io.write(folder / f"{number}.nii.gz", Image(np.zeros(one.shape, np.int16), "ZYX", one))
    plan, _ = make_plan(tmp_path, Wishes(), Description())
    assert plan.grid == {"spacing": [2.0, 0.7, 0.5], "unit": "millimeter", "orientation": "SPL"}
    assert plan.size == (6, 24, 20)


def test_a_classifier_of_one_spacing_tells_small_from_large_however_fine_the_pixels(tmp_path) -> None:
    data = _write_sized(tmp_path / "data", {"train": [(0.7, 0.5)] * 24, "val": [(0.7, 0.5)] * 6})
    wishes = Wishes(steps=60, width=0.25, batch=12)
    train(
        data,
        tmp_path / "sized",
        plan=propose_plan(data, wishes),
        about=Description(title="Sized"),
        device="cpu",
    )
    model = load_model(tmp_path / "sized")
    assert model.card.deepbio["grid"] == {"spacing": [0.7, 0.5], "unit": "micrometer"}
    scores = {row["metric"]: row["value"] for row in model.card.scores if row["subset"] == "all"}
    assert scores["accuracy"] > 0.9
    for radius, name in ((2.0, "small"), (4.0, "large")):
        # a quarter of the spacing, another extent: brought to one number of pixels, all would be alike
        for spacing, extent in (((0.7, 0.5), 14.0), ((0.2, 0.15), 14.0), ((0.35, 0.25), 3.5 * radius)):
            assert model.run(sized_disc(radius, spacing, 7, extent)).table["class"][0] == name, (
                spacing,
                extent,
            )
