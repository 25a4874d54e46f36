"""Training of restorers: the plan follows the data, and a short run makes a package that works."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepbio import io
from deepbio.cases.restore import RestoreCase
from deepbio.engine.tensors import run_tensors
from deepbio.errors import Cancelled, ImageError, InputMismatch, OptionError
from deepbio.events import Event, Progress
from deepbio.image import Grid, Image
from deepbio.library.check import check_package, validate_package
from deepbio.networks import build
from deepbio.options import RunOptions
from deepbio.predict import load_model
from deepbio.training import guess_task, propose_plan, train
from deepbio.training.restore import Wishes, _Scorer
from deepbio.training.restore_pairs import Pairs, prepare_pairs
from deepbio.training.weights import weight_files
from tests.core.training.blobs import SMALL, clean_blobs, restore_plan, restore_sample, write_pairs

# --- the plan -----------------------------------------------------------------------------------


def test_pairs_are_known_by_their_folders(pairs, images) -> None:
    assert guess_task(pairs) == "restore"
    assert guess_task(images) == "segment"


def test_the_plan_follows_the_data(pairs, images, tmp_path) -> None:
    plan = propose_plan(pairs, Wishes(**SMALL), task="restore", save=tmp_path / "plan.yaml")
    assert (plan.method, plan.loss, plan.dims, plan.channels, plan.synthetic) == ("paired", "l2", 2, 1, 0.5)
    facts = yaml.safe_load((tmp_path / "plan.yaml").read_text())["fingerprint"]
    assert facts["cases"] == {"train": 3, "val": 1}
    row = facts["images"][0]
    clean = clean_blobs((45, 61), 0)
    noise = 3 * np.sqrt(np.median(clean))  # of photons at the usual brightness, times the gain
    assert row["noise"] * row["deviation"] == pytest.approx(noise, rel=0.25)
    assert 0.8 < row["correlation"] < 1
    assert restore_plan(images).method == "noise2void"
    assert restore_plan(images).network["arguments"]["residual"] is False


def test_a_stack_is_a_volume_where_it_is_deep(tmp_path) -> None:
    assert restore_plan(write_pairs(tmp_path / "deep", (9, 20, 21)), patch=8).dims == 3
    shallow = write_pairs(tmp_path / "shallow", (3, 20, 21))
    assert restore_plan(shallow).dims == 2
    sampled = Pairs(
        [RestoreCase(shallow / "val" / "input" / "case3.tif")], restore_plan(shallow, method="noise2void")
    )
    assert [pair.image.shape for pair in sampled[0]] == [(1, 20, 21)] * 3


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"method": "noise2void", "loss": "ssim"}, "compares neighbourhoods"),
        ({"stages": 4, "patch": 20}, "cannot be halved 4 times"),
    ],
)
def test_wishes_that_contradict_themselves(pairs, wishes, said) -> None:
    with pytest.raises(OptionError, match=said):
        restore_plan(pairs, **wishes)


def test_data_that_contradicts_the_method(images, pairs, tmp_path) -> None:
    with pytest.raises(OptionError, match="3 have none, the first is"):
        restore_plan(images, method="paired")
    with pytest.raises(InputMismatch, match=r"with the factor 2 it must have \(90, 122\)"):
        restore_plan(pairs, method="superresolution")
    io.write(
        tmp_path / "a.tif", Image(np.zeros((2, 20, 20), np.uint8) + np.arange(20, dtype=np.uint8), "CYX")
    )
    io.write(tmp_path / "b.tif", Image(np.zeros((20, 20), np.uint8) + np.arange(20, dtype=np.uint8)))
    with pytest.raises(ImageError, match="1 and 2 channels"):
        restore_plan(tmp_path)


def test_images_that_teach_nothing(tmp_path) -> None:
    plan = restore_plan(write_pairs(tmp_path))
    flat, noise = (
        np.full((1, 1, 20, 20), 7, np.float32),
        np.random.default_rng(0).normal(size=(1, 1, 200, 200)),
    )
    with pytest.raises(ImageError, match=r"'a\.tif' is constant"):
        prepare_pairs(restore_sample(flat, flat), plan)
    other = np.random.default_rng(1).normal(size=(1, 1, 200, 200)).astype(np.float32)
    with pytest.raises(ImageError, match="do not show the same"):
        prepare_pairs(restore_sample(noise.astype(np.float32), other), plan)
    with pytest.raises(ImageError, match="do not show the same"):
        prepare_pairs(restore_sample(noise.astype(np.float32), np.ones_like(other)), plan)
    with pytest.raises(InputMismatch, match="has 2 channels; the others have 1"):
        prepare_pairs(restore_sample(np.repeat(noise, 2, 1).astype(np.float32)), plan)


# --- the whole way ------------------------------------------------------------------------------


def _train(data: Path, folder: Path, **wishes: object) -> Path:
    plan = propose_plan(data, Wishes(**{**SMALL, **wishes}), task="restore")
    return train(data, folder / "model", task="restore", plan=plan, device="cpu")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the validator leaves files open
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("superresolution", {"factor": 4, "patch": 8}),
        ("vae", {"code": 6, "normalisation": "percentile"}),
        ("autoencoder", {"code": 6, "normalisation": "mean_std"}),
    ],
)
def test_a_short_run_makes_a_package_that_works(tmp_path, images, method, more) -> None:
    package = _train(images, tmp_path, method=method, **more)
    assert validate_package(package) == ()
    with load_model(package) as model:
        assert check_package(model.card, run_tensors).passed
        assert model.card.task == "restore"
        assert [row["metric"] for row in model.card.scores][:2] == ["PSNR in dB", "SSIM"]
        pixels = np.random.default_rng(0).poisson(clean_blobs((37, 29), 9)).astype(np.uint16)
        image = Image(pixels, "YX", Grid((37, 29), (0.4, 0.3), (5.0, -2.0), unit="micrometer"))
        found = model.run(image).image
    times = 4 if method == "superresolution" else 1
    assert found.shape == (37 * times, 29 * times)
    assert found.grid.spacing == (0.4 / times, 0.3 / times)
    assert 0.3 * pixels.mean() < found.numpy().mean() < 3 * pixels.mean()
    formats = [weights.format for weights in model.card.weights]
    assert ("onnx" in formats) == (method == "superresolution")
    if "onnx" in formats:
        other = load_model(package).run(image, RunOptions(runtime="onnx")).image
        np.testing.assert_allclose(other.numpy(), found.numpy(), rtol=1e-3, atol=0.02)


@pytest.fixture
def no_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ONNX twin takes seconds, and has its own test above."""
    from deepbio.training import restore_package

    def without(*arguments, onnx):
        return weight_files(*arguments, onnx=False)

    monkeypatch.setattr(restore_package, "weight_files", without)


def test_denoising_learned_from_pairs(tmp_path, pairs, no_twin) -> None:
    package = _train(pairs, tmp_path, steps=150, patch=32, batch=4, width=8)
    scores = {row["metric"]: row["value"] for row in load_model(package).card.scores}
    assert scores["PSNR in dB"] > scores["PSNR in dB, input"] + 1
    assert scores["PSNR in dB, Gaussian"] > scores["PSNR in dB, input"]
    assert {"SSIM", "SSIM, Gaussian", "SSIM, non-local means"} < set(scores)


def test_held_out_clean_images_are_scored_with_drawn_noise(pairs) -> None:
    plan = replace(restore_plan(pairs), noise=(0.6, 0.6), stripes=0.0)
    clean = RestoreCase(None, pairs / "val" / "target" / "case3.tif", split="val")
    score = _Scorer(Pairs([clean], plan), plan, "cpu")
    network = build(
        plan.network["name"], {**plan.network["arguments"], "scales": []}
    ).eval()  # changes nothing
    found = score(network)["score"]
    assert found == score(network)["score"]  # the same noise each time
    truth = clean_blobs((45, 61), 3)
    # noise is 0.6 of the deviation of the whole; once it is fitted, as much of the truth's is not explained
    wanted = 20 * np.log10(np.ptp(truth) / (0.6 * truth.std()))
    assert found == pytest.approx(wanted, abs=0.5)


def test_one_noisy_image_is_enough(tmp_path, no_twin) -> None:
    clean = clean_blobs((64, 80), 0)
    noisy = np.random.default_rng(0).normal(clean, 40)
    io.write(tmp_path / "only.tif", Image(noisy.astype(np.float32)))
    package = _train(tmp_path, tmp_path / "out", steps=150, patch=32, batch=4, width=8)
    model = load_model(package)
    assert model.card.deepbio["restore"]["method"] == "noise2void"
    assert model.card.scores == ()  # nobody knows the truth
    found = model.run(io.read(tmp_path / "only.tif")).image.numpy()
    assert np.std(found - clean) < 0.6 * np.std(noisy - clean)


def test_a_run_that_was_stopped_goes_on(tmp_path, images) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "fit" and event.current == 3:
            raise Cancelled("Stopped.")

    wishes = Wishes(**{**SMALL, "steps": 4, "method": "autoencoder", "code": 4})
    plan = replace(propose_plan(images, wishes, task="restore"), validate_every=2)
    with pytest.raises(Cancelled):
        train(images, tmp_path / "a", task="restore", plan=plan, device="cpu", on_progress=stop)
    resumed = train(images, tmp_path / "a", device="cpu")
    straight = train(images, tmp_path / "b", task="restore", plan=plan, device="cpu")
    assert load_model(resumed).card.weights_hash == load_model(straight).card.weights_hash
