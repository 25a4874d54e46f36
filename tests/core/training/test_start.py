"""Fine-tuning: a network begins as the model that it starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deepbio.engine.runtimes.with_torch import load_module
from deepbio.errors import OptionError
from deepbio.image import RGB, Image, LabelMap
from deepbio.io import write
from deepbio.library import find_model
from deepbio.networks import build
from deepbio.training import Wishes, propose_plan, train
from deepbio.training.start import begin_with, started_from, trainable


def scores_of(name: str, x: torch.Tensor) -> torch.Tensor:
    weights = next(one for one in find_model(name).weights if one.format == "safetensors")
    return load_module(weights)(x)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("nuclei", (2, 3, 48, 80)), ("heart-lv", (2, 1, 64, 96)), ("hippocampus", (1, 1, 32, 40, 24))],
)
@torch.no_grad()
def test_it_computes_what_the_model_does(name: str, shape: tuple[int, ...]) -> None:
    _, known = started_from(name, len(shape) - 2)
    network = build("unet", trainable(known))
    x = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    begin_with(network, name, lambda: torch.rand(4, *shape[1:], generator=torch.Generator().manual_seed(4)))
    expected = scores_of(name, x)
    assert float(expected.abs().max()) > 1
    torch.testing.assert_close(network.eval()(x), expected, rtol=1e-3, atol=2e-3)


@torch.no_grad()
def test_normalisations_have_the_statistics_of_the_images() -> None:
    _, known = started_from("nuclei", 2)
    network = build("unet", trainable(known))
    x = torch.rand(4, 3, 64, 96, generator=torch.Generator().manual_seed(5))
    begin_with(network, "nuclei", lambda: x)
    # of the very images that were measured, a network in training gives the same scores
    trained, expected = network.train()(x)[0], scores_of("nuclei", x)
    torch.testing.assert_close(trained, expected, rtol=1e-2, atol=1e-2)


def test_a_head_for_other_classes_is_new() -> None:
    _, known = started_from("heart-lv", 2)
    torch.manual_seed(0)
    network = build("unet", trainable(known) | {"out_channels": 4})
    before = network.heads[0].weight.detach().clone()
    begin_with(network, "heart-lv", lambda: torch.rand(2, 1, 64, 64))
    assert torch.equal(network.heads[0].weight, before)
    stored = next(one for one in find_model("heart-lv").weights if one.format == "safetensors")
    assert torch.equal(network.encoder[0][0][0].weight, load_module(stored).encoder[0][0][0].weight)


@pytest.mark.parametrize(("name", "dims"), [("hippocampus", 2), ("nuclei", 3), ("blood-cells", 2)])
def test_what_cannot_be_started_from(name: str, dims: int) -> None:
    with pytest.raises(OptionError, match=f"not a {dims}D U-Net of ours"):
        started_from(name, dims)


@pytest.mark.parametrize(
    "change", [{"features": [8, 16, 32, 64, 64]}, {"convs": [2, 3, 2, 2, 2]}, {"convs": [2, 1, 2, 2, 2]}]
)
def test_another_network_is_told(change: dict[str, list[int]]) -> None:
    """Also one that has a layer more or less: it would begin in part, and nobody would know."""
    _, known = started_from("nuclei", 2)
    network = build("unet", trainable(known) | change)
    with pytest.raises(OptionError, match="not that of 'nuclei'"):
        begin_with(network, "nuclei", lambda: torch.rand(2, 3, 32, 32))


def cells(seed: int, channels: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:75, :91]
    image, labels = np.full((75, 91), 20.0), np.zeros((75, 91), np.uint16)
    for number, (row, column) in enumerate([(18, 20), (22, 60), (52, 33), (55, 70)], start=1):
        inside = (y - row - rng.normal(0, 2)) ** 2 + (x - column) ** 2 < rng.uniform(7, 11) ** 2
        image[inside], labels[inside] = 150, number
    image += rng.normal(0, 5, image.shape)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return (pixels if channels == 1 else np.stack([pixels] * channels)), labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = ["image,label,split"]
    for i in range(4):
        pixels, labels = cells(i)
        write(tmp_path / f"{i}.png", Image(pixels, "YX"))
        write(tmp_path / f"{i}_labels.tif", LabelMap(labels, "YX"))
        rows.append(f"{i}.png,{i}_labels.tif,{'val' if i == 3 else 'train'}")
    (tmp_path / "data.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "data.csv"


def test_the_plan_is_the_models(data: Path) -> None:
    plan = propose_plan(data, Wishes(target="instances", start="nuclei"))
    _card, known = started_from("nuclei", 2)
    assert plan.start == "nuclei"
    assert plan.channels == 3
    assert plan.learning_rate == 1e-3
    assert plan.steps == 500
    assert plan.network["arguments"]["features"] == known["features"]
    assert plan.network["arguments"]["norm"] == "batch"
    assert [step["id"] for step in plan.normalisation] == ["scale_range"]
    assert plan.patch[0] % 16 == 0


def test_other_channels_are_told(data: Path) -> None:
    for i in range(4):
        write(data.parent / f"{i}.png", Image(cells(i, 3)[0], "CYX", channels=RGB))
    with pytest.raises(OptionError, match="3 channels; the model 'heart-lv' takes 1"):
        propose_plan(data, Wishes(target="classes", start="heart-lv"))


def test_a_model_that_knows_cells_needs_two_steps(data: Path) -> None:
    """After two steps a network from nothing has found nothing yet."""
    wishes = Wishes(target="instances", start="nuclei", steps=2)
    package = train(data, data.parent / "mine", plan=propose_plan(data, wishes))
    scores = {row["metric"]: row["value"] for row in find_model(package).deepbio["scores"]}
    assert max(v for k, v in scores.items() if "0.5" in k) > 0.7, scores
