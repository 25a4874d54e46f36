"""A 3D classifier from volumes to its answers in every runtime and format: left or right of the middle."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from deepbio import io  # noqa: E402
from deepbio.engine.tensors import run_tensors  # noqa: E402
from deepbio.image import Grid, Image  # noqa: E402
from deepbio.library.check import check_package  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model  # noqa: E402
from deepbio.training import Description, propose_plan, train  # noqa: E402
from deepbio.training.classify import Wishes  # noqa: E402
from tests.core.command import deepbio  # noqa: E402

SPACING = (2.1, 0.8, 0.9)
SIZE = (12, 28, 20)  # of the largest, (11, 25, 19), what the network halves evenly
SIDES = {"left": 1.0, "right": -1.0}
ANGLE = 0.25
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])[:, ::-1]


def volume(side: str, seed: int, *, finer: int = 1, noise: float = 40.0) -> Image:
    """A head with a bright spot on one side: oblique, anisotropic, of odd sizes, with spots in the middle, too."""
    random = np.random.default_rng((seed, side == "left"))
    shape = (9 + 2 * (seed % 2), 21 + 2 * (seed % 3), 19)
    middle = (np.array(shape) - 1) / 2 * SPACING
    spot = middle + [random.uniform(-4, 4), random.uniform(-4, 4), SIDES[side] * random.uniform(3.5, 5)]
    other = middle + [random.uniform(-4, 4), random.uniform(-6, 6), random.uniform(-1, 1)]
    shape = tuple(n * finer for n in shape)
    spacing = tuple(s / finer for s in SPACING)
    # of a finer image the first pixel lies nearer to the border, so that both cover the same extent
    z, y, x = (
        (np.arange(n) + 0.5) * s - 0.5 * old for n, s, old in zip(shape, spacing, SPACING, strict=True)
    )
    places = np.stack(np.meshgrid(z, y, x, indexing="ij"), axis=-1)

    def bump(at, width):
        return np.exp(-((places - at) ** 2).sum(-1) / (2 * width**2))

    pixels = 300 * bump(middle, 8) + 700 * bump(spot, 2.2) + 500 * bump(other, 2.2)
    pixels += random.normal(0, noise, shape)
    whole = Grid(tuple(n // finer for n in shape), SPACING, (-40.0, 25.0, 11.0), TURN, "millimeter")
    first = whole.to_world([0.5 / finer - 0.5] * 3)
    return Image(
        np.round(pixels).astype(np.int16),
        "ZYX",
        Grid(shape, spacing, tuple(first), TURN, "millimeter"),
    )


def stored_otherwise(image: Image) -> Image:
    """The same volume with its array as x, z, y, and x running to the patient's right."""
    pixels = image.numpy()[:, :, ::-1].transpose(2, 0, 1)
    grid = image.grid
    direction = grid.direction[:, [2, 0, 1]] * [-1, 1, 1]
    first = grid.to_world((0, 0, grid.shape[2] - 1))
    spacing = tuple(grid.spacing[k] for k in (2, 0, 1))
    return Image(pixels, "ZYX", Grid(pixels.shape, spacing, tuple(first), direction, grid.unit))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    for part, count in (("train", 24), ("val", 8)):
        for side in SIDES:
            one = folder / "data" / part / side
            one.mkdir(parents=True)
            for number in range(count):
                image = volume(side, number + 100 * (part == "val"))
                # as data sets are: some scanners store volumes in another order
                io.write(one / f"{number}.nii.gz", stored_otherwise(image) if number % 4 == 3 else image)
    about = Description(title="Sides", modality=("MR",))
    plan = propose_plan(folder / "data", Wishes(steps=100, width=0.5, batch=8, view="upright"))
    train(folder / "data", folder / "sides", plan=plan, about=about, device="cpu")
    return folder / "sides"


def test_the_card_says_what_was_learned(package) -> None:
    card = load_model(package).card
    assert card.ndim == 3
    assert card.deepbio["grid"] == {"spacing": list(SPACING), "unit": "millimeter", "orientation": "SPL"}
    assert card.deepbio["tile"]["size"] == list(SIZE)
    assert "mirror" not in card.deepbio  # sides are no longer sides in a mirror
    scores = {row["metric"]: row["value"] for row in card.scores if row["subset"] == "all"}
    assert scores["accuracy"] >= 0.9
    assert {weights.format for weights in card.weights} == {"safetensors", "onnx"}


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_package_tests_itself(package, runtime) -> None:
    report = check_package(
        load_model(package).card, lambda one, tensors: run_tensors(one, tensors, runtime=runtime)
    )
    assert report.passed, report


def _ready(image: Image) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """What the network sees of a volume that has the card's spacing and order, and where the volume is in it."""
    pixels = image.numpy().astype(np.float32)
    starts = [(wanted - n) // 2 for wanted, n in zip(SIZE, pixels.shape, strict=True)]
    inside = tuple(slice(a, a + n) for a, n in zip(starts, pixels.shape, strict=True))
    around = [(a, wanted - a - n) for a, wanted, n in zip(starts, SIZE, pixels.shape, strict=True)]
    pixels = np.pad(pixels, around, mode="edge")
    return torch.from_numpy((pixels - pixels.mean()) / (pixels.std() + 1e-6))[None, None], inside


def _by_hand(package: Path, image: Image) -> np.ndarray:
    network = load_model(package).module(RunOptions(device="cpu"))
    with torch.inference_mode():
        return torch.softmax(network(_ready(image)[0]), 1)[0].numpy()


def _told(folder: Path) -> dict[str, list[str]]:
    with (folder / "classes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {Path(row["file"]).name: [row["class"], row["p_left"], row["p_right"]] for row in rows}


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_every_format_and_order_gives_the_value_by_hand(package, tmp_path, runtime) -> None:
    images = {side: volume(side, 207 + k) for k, side in enumerate(SIDES)}
    for side, image in images.items():
        for suffix in (".nii.gz", ".nrrd"):
            io.write(tmp_path / f"{side}{suffix}", image)
        io.write(tmp_path / f"{side}-turned.nrrd", stored_otherwise(image))
    out = tmp_path / "out"
    done = deepbio("run", str(package), str(tmp_path), "-o", str(out), "--runtime", runtime)
    assert done.code == 0, done.err
    told = _told(out)
    assert len(told) == 6
    for side, image in images.items():
        expected = _by_hand(package, image)
        assert ("left", "right")[int(expected.argmax())] == side
        for name in (f"{side}.nii.gz", f"{side}.nrrd", f"{side}-turned.nrrd"):
            assert told[name][0] == side
            np.testing.assert_allclose(np.array(told[name][1:], float), expected, atol=1e-4)


def test_a_finer_image_gives_the_same_answer(package) -> None:
    model = load_model(package)
    for side in SIDES:
        pair = [model.run(volume(side, 311, finer=n, noise=0.0)).table for n in (1, 2)]
        assert [table["class"][0] for table in pair] == [side] * 2
        assert pair[1]["p_left"][0] == pytest.approx(pair[0]["p_left"][0], abs=0.03)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seed", [413, 416])  # the largest volumes, and the smallest
def test_grad_cam_is_what_it_is_by_hand(package, side, seed) -> None:
    model = load_model(package)
    image = volume(side, seed)
    result = model.run(image, RunOptions(explain="gradcam"))
    assert result.explanation.grid == image.grid
    assert result.record["target"] == [side]
    network = model.module(RunOptions(device="cpu"))
    ready, inside = _ready(image)
    with torch.inference_mode():
        maps = network.stages(network.stem(ready))
        # an average and one linear layer: the gradient of a score is the same everywhere
        weight = network.head.weight[list(SIDES).index(side)] / maps[0, 0].numel()
        cam = torch.einsum("c,nczyx->nzyx", weight, maps).clamp(min=0)[:, None]
        large = torch.nn.functional.interpolate(cam, SIZE, mode="trilinear")[0, 0].numpy()
    assert large.max() > 0
    np.testing.assert_allclose(result.explanation.numpy(), large[inside], atol=1e-4 * large.max())
    # and of the volume stored in another order it lies at the same places
    turned = model.run(stored_otherwise(image), RunOptions(explain="gradcam")).explanation
    back = turned.numpy().transpose(1, 2, 0)[:, :, ::-1]
    np.testing.assert_allclose(back, large[inside], atol=1e-4 * large.max())
