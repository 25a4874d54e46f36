"""The way in: names, folders, paths, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepbio import io
from deepbio.engine.runtime import UNTRIED
from deepbio.engine.tensors import run_tensors
from deepbio.errors import CardError, ImageError, OptionError, UnknownModel, WeightsError
from deepbio.image import Grid, Image
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model, run

PIXELS = (np.arange(20 * 30).reshape(20, 30) * 7 % 2003).astype(np.uint16)


def test_a_path_is_read_and_its_grid_kept(threshold_model: Path, tmp_path: Path) -> None:
    io.write(tmp_path / "a.tif", Image(PIXELS, grid=Grid((20, 30), (0.3, 0.3), unit="micrometer")))
    result = run(tmp_path / "a.tif", threshold_model)
    np.testing.assert_array_equal(result.labels.numpy() > 0, PIXELS > 1000)
    assert result.labels.grid.spacing == pytest.approx((0.3, 0.3))
    assert result.labels.grid.unit == "micrometer"


def test_the_network_is_opened_once(threshold_model: Path) -> None:
    with load_model(threshold_model) as model:
        model.run(Image(PIXELS))
        opened = dict(model._runtimes)
        model.run(Image(PIXELS[:11]))
        assert {k: id(v) for k, v in model._runtimes.items()} == {k: id(v) for k, v in opened.items()}
    assert not model._runtimes


@pytest.mark.parametrize(("device", "message"), [("gpu", "expected auto, cpu"), ("cuda:x", "expected auto")])
def test_an_unknown_device_is_told_at_once(threshold_model: Path, device: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load_model(threshold_model, device=device)


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UnknownModel, match="nuclei"):
        load_model("nuclie")


def test_an_array_is_not_an_image(threshold_model: Path) -> None:
    with pytest.raises(ImageError, match="Expected an Image, found ndarray"):
        load_model(threshold_model).run(PIXELS)  # type: ignore[arg-type]


def test_a_task_of_a_later_version_is_refused(threshold_model: Path) -> None:
    card = replace(load_model(threshold_model).card, task="dream")
    with pytest.raises(CardError, match="task 'dream'"):
        Model(card)


def test_damaged_weights_are_refused(threshold_model: Path) -> None:
    card = load_model(threshold_model).card
    wrong = replace(card, weights=(replace(card.weights[0], sha256="0" * 64),))
    with pytest.raises(WeightsError, match="SHA-256"):
        run(Image(PIXELS), load_model(wrong))


def test_tensors_as_the_card_says(threshold_model: Path) -> None:
    card = load_model(threshold_model).card
    pixels = PIXELS[None, None, :16, :16]
    scores = run_tensors(card, {card.input.id: pixels})[card.output.id]
    np.testing.assert_allclose(scores, pixels * 0.001 - 1, atol=1e-6)
    with pytest.raises(CardError, match="The card's input is"):
        run_tensors(card, {"nothing": pixels})


def test_options_ask_for_a_device_before_the_model(threshold_model: Path) -> None:
    model = load_model(threshold_model, device="cuda:7")
    assert model.run(Image(PIXELS), RunOptions(device="cpu")).record["device"] == "cpu"


def test_a_trial_of_the_runtimes_waits_until_it_pays(
    threshold_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path))
    monkeypatch.setattr("deepbio.engine.runtime._TRIAL_TILES", 2.5 * PIXELS.size / 512**2)
    model = load_model(threshold_model)
    records = [model.run(Image(PIXELS)).record for _ in range(4)]
    assert [record["runtime_why"] == UNTRIED for record in records] == [True, True, False, False]
    assert records[0]["runtime"] == "onnx"
    assert model.opened == 2
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "other"))
    eager = load_model(threshold_model)
    eager.many = True
    assert "trial: " in eager.run(Image(PIXELS)).record["runtime_why"]
