"""Training of restorers: what is drawn is what it should be, and a short run makes a package that works."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage, stats

from deepbio import io
from deepbio.cases.restore import RestoreCase, RestoreSample, read_restore_cases
from deepbio.engine.tensors import run_tensors
from deepbio.errors import Cancelled, ImageError, InputMismatch, OptionError
from deepbio.events import Event, Progress
from deepbio.image import Grid, Image
from deepbio.library.check import check_package, validate_package
from deepbio.networks import build
from deepbio.options import RunOptions
from deepbio.predict import load_model
from deepbio.training import guess_task, propose_plan, train
from deepbio.training.restore import Plan, Wishes, _Scorer
from deepbio.training.restore_loss import RestoreLoss, divergence, psnr_loss, ssim_loss
from deepbio.training.restore_noise import add_noise, hide_pixels
from deepbio.training.restore_pairs import Pairs, prepare_pairs
from deepbio.training.restore_patches import Batch, PatchSampler, with_noise
from deepbio.training.weights import weight_files

SMALL = {"width": 4, "stages": 2, "patch": 16, "batch": 2, "steps": 3}


def _clean(shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full(shape, 20.0)
    for centre in rng.uniform(0, 1, (12, len(shape))) * shape:
        r2 = sum((np.arange(n) - c).reshape([-1 if k == a else 1 for k in range(len(shape))]) ** 2
                 for a, (n, c) in enumerate(zip(shape, centre, strict=True)))  # fmt: skip
        image = image + 150 * np.exp(-r2 / 18)
    return image


def write_pairs(folder: Path, shape: tuple[int, ...] = (45, 61), count: int = 4, target: bool = True) -> Path:
    """Blobs, and the same with noise at another gain and offset; the last is for validation."""
    rng = np.random.default_rng(3)
    axes = "ZYX"[3 - len(shape) :]
    for number in range(count):
        clean = _clean(shape, number)
        noisy = rng.poisson(clean) * 3 + 100
        part = folder / ("val" if number == count - 1 else "train")
        for name, pixels in (("input", noisy), ("target", clean)):
            if target or name == "input":
                (part / name).mkdir(parents=True, exist_ok=True)
                grid = Grid(shape, (0.7,) * len(shape), unit="micrometer")
                io.write(part / name / f"case{number}.tif", Image(pixels.astype(np.uint16), axes, grid))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        pixels = np.random.default_rng(number).poisson(_clean((45, 61), number)).astype(np.uint16)
        io.write(folder / f"{number}.tif", Image(pixels))
    return folder


def _plan(data: Path, **wishes: object) -> Plan:
    return propose_plan(data, Wishes(**{**SMALL, **wishes}), task="restore")


def _sample(image: np.ndarray | None, target: np.ndarray | None = None) -> RestoreSample:
    given = target if image is None else image
    case = RestoreCase(None if image is None else Path("a.tif"), None if target is None else Path("b.tif"))
    return RestoreSample(image, target, case, Grid(given.shape[2:]))


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
    clean = _clean((45, 61), 0)
    noise = 3 * np.sqrt(np.median(clean))  # of photons at the usual brightness, times the gain
    assert row["noise"] * row["deviation"] == pytest.approx(noise, rel=0.25)
    assert 0.8 < row["correlation"] < 1
    assert _plan(images).method == "noise2void"
    assert _plan(images).network["arguments"]["residual"] is False


def test_a_stack_is_a_volume_where_it_is_deep(tmp_path) -> None:
    assert _plan(write_pairs(tmp_path / "deep", (9, 20, 21)), patch=8).dims == 3
    shallow = write_pairs(tmp_path / "shallow", (3, 20, 21))
    assert _plan(shallow).dims == 2
    sampled = Pairs(
        [RestoreCase(shallow / "val" / "input" / "case3.tif")], _plan(shallow, method="noise2void")
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
        _plan(pairs, **wishes)


def test_data_that_contradicts_the_method(images, pairs, tmp_path) -> None:
    with pytest.raises(OptionError, match="3 have none, the first is"):
        _plan(images, method="paired")
    with pytest.raises(InputMismatch, match=r"with the factor 2 it must have \(90, 122\)"):
        _plan(pairs, method="superresolution")
    io.write(
        tmp_path / "a.tif", Image(np.zeros((2, 20, 20), np.uint8) + np.arange(20, dtype=np.uint8), "CYX")
    )
    io.write(tmp_path / "b.tif", Image(np.zeros((20, 20), np.uint8) + np.arange(20, dtype=np.uint8)))
    with pytest.raises(ImageError, match="1 and 2 channels"):
        _plan(tmp_path)


def test_images_that_teach_nothing(tmp_path) -> None:
    plan = _plan(write_pairs(tmp_path))
    flat, noise = (
        np.full((1, 1, 20, 20), 7, np.float32),
        np.random.default_rng(0).normal(size=(1, 1, 200, 200)),
    )
    with pytest.raises(ImageError, match=r"'a\.tif' is constant"):
        prepare_pairs(_sample(flat, flat), plan)
    other = np.random.default_rng(1).normal(size=(1, 1, 200, 200)).astype(np.float32)
    with pytest.raises(ImageError, match="do not show the same"):
        prepare_pairs(_sample(noise.astype(np.float32), other), plan)
    with pytest.raises(ImageError, match="do not show the same"):
        prepare_pairs(_sample(noise.astype(np.float32), np.ones_like(other)), plan)
    with pytest.raises(InputMismatch, match="has 2 channels; the others have 1"):
        prepare_pairs(_sample(np.repeat(noise, 2, 1).astype(np.float32)), plan)


# --- what is drawn ------------------------------------------------------------------------------


def test_a_target_is_brought_to_the_units_of_its_input(pairs) -> None:
    plan = _plan(pairs)
    clean = _clean((45, 61), 0).astype(np.float32)[None, None]
    noisy = (clean * 3 + 100 + np.random.default_rng(0).normal(0, 30, clean.shape)).astype(np.float32)
    (pair,) = prepare_pairs(_sample(noisy, clean / 7 - 2), plan)
    assert pair.image.mean() == pytest.approx(0, abs=1e-5)
    assert pair.image.std() == pytest.approx(1, abs=1e-4)
    wanted = (clean[0] * 3 + 100 - noisy.mean()) / noisy.std()
    np.testing.assert_allclose(pair.target, wanted, atol=0.06)


def test_a_coarse_input_is_made_from_its_target(images) -> None:
    plan = _plan(images, method="superresolution")
    image = _clean((45, 61), 0).astype(np.float32)[None, None]
    (pair,) = prepare_pairs(_sample(image), plan)
    assert (pair.image.shape, pair.target.shape) == ((1, 22, 30), (1, 44, 60))
    means = pair.target.reshape(1, 22, 2, 30, 2).mean((2, 4))
    np.testing.assert_allclose(pair.image, means, atol=1e-4)


def test_a_batch_is_a_function_of_seed_and_step(pairs) -> None:
    plan = _plan(pairs)
    cases = [
        RestoreCase(path, pairs / "train" / "target" / path.name)
        for path in (pairs / "train" / "input").iterdir()
    ]
    cases.sort(key=lambda case: case.key)
    sampler = PatchSampler(Pairs(cases, plan), plan)
    first = list(sampler.batches(0, 3))
    again = PatchSampler(Pairs(cases, plan), plan)
    for one, other in zip(first[1:], again.batches(1, 3), strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.targets, other.targets)
    assert first[0].images.shape == (2, 1, 16, 16)
    assert not np.array_equal(first[0].images, first[1].images)


def test_input_and_target_are_turned_alike(pairs) -> None:
    plan = replace(_plan(pairs), synthetic=0.0, contrast=0.0)
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(1, 1, 40, 40)).astype(np.float32)
    sampler = object.__new__(PatchSampler)
    sampler._plan, sampler._pairs, sampler._chance = (
        plan,
        [prepare_pairs(_sample(2 * clean, clean), plan)],
        [1.0],
    )
    for step in range(4):
        batch = sampler.batch(step)
        np.testing.assert_allclose(batch.images, batch.targets, atol=1e-4)


def test_drawn_noise_has_the_part_that_was_asked_for(pairs) -> None:
    plan = replace(_plan(pairs, patch=128), synthetic=1.0, noise=(0.8, 0.8), stripes=0.0, contrast=0.0)
    rng = np.random.default_rng(0)
    clean = ndimage.gaussian_filter(rng.normal(100, 30, (1, 1, 128, 128)), (0, 0, 2, 2)).astype(np.float32)
    (pair,) = prepare_pairs(_sample(None, clean), plan)
    noisy, target = with_noise(pair, pair.target, plan, np.random.default_rng(2))
    assert (noisy - target).mean() == pytest.approx(0, abs=0.03)
    assert (noisy - target).std() == pytest.approx(0.8, abs=0.03)
    assert noisy.std() == pytest.approx(1, abs=0.05)  # normalised, as an image would be


@pytest.mark.parametrize("tails", [0.0, 0.5])
def test_photons_and_read_noise(rng, tails) -> None:
    light = np.repeat([0.0, 2.0], 20000).reshape(2, -1)
    dark, bright = add_noise(light, 50.0, 0.3, rng, tails=tails)
    assert (stats.kurtosis(dark) > 2) == (tails > 0)
    assert dark.std() == pytest.approx(0.3, rel=0.03)
    assert bright.std() == pytest.approx(np.sqrt(2 / 50 + 0.3**2), rel=0.03)
    assert bright.mean() == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("shape", [(2, 17, 13), (1, 5, 9, 11), (1, 1, 9)])
def test_hidden_pixels_are_replaced_by_others(shape) -> None:
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    hidden, mask = hide_pixels(image, 0.05, np.random.default_rng(0))
    assert mask.sum() == shape[0] * max(1, round(0.05 * np.prod(shape[1:])))
    assert (hidden != image)[mask].all()
    assert (hidden == image)[~mask].all()
    there, here = np.argwhere(mask), hidden[mask].astype(int)
    away = np.abs(np.stack(np.unravel_index(here, shape), 1) - there)
    assert away.max() <= 2
    assert (away[:, 0] == 0).all()  # the same channel


# --- losses -------------------------------------------------------------------------------------


def test_ssim_is_that_of_the_metric(rng) -> None:
    from deepbio.metrics.restoration import ssim

    truth = rng.uniform(0, 1, (19, 23))
    image = truth + rng.normal(0, 0.1, truth.shape)
    span = truth.max() - truth.min()
    found = 1 - float(ssim_loss(*(torch.from_numpy(a)[None, None] for a in (image, truth)), data_range=span))
    assert found == pytest.approx(ssim(image, truth), abs=0.01)  # of which the borders are left out


@pytest.mark.parametrize("loss", ["l2", "psnr"])
def test_overexposed_targets_teach_nothing(pairs, loss) -> None:
    plan = replace(_plan(pairs, loss=loss), synthetic=0.0, contrast=0.0, mirror=(1,), batch=3)
    rng = np.random.default_rng(0)
    light = ndimage.gaussian_filter(rng.normal(100, 30, (1, 1, 50, 60)), (0, 0, 2, 2)).astype(np.float32)
    top = np.float32(np.quantile(light, 0.9))
    sampler = object.__new__(PatchSampler)
    pair = prepare_pairs(_sample(light, np.minimum(light, top)), plan)
    sampler._plan, sampler._pairs, sampler._chance = plan, [pair], [1.0]
    batch = sampler.batch(0)
    assert batch.mask is not None
    assert batch.mask.shape == batch.targets.shape
    assert 0 < (~batch.mask).mean() < 0.4
    level = batch.targets.max()  # where it is cut off, and nowhere else, the mask says so
    np.testing.assert_array_equal(batch.mask, batch.targets < level - 1e-4)
    score = RestoreLoss(plan, "cpu")
    there = torch.from_numpy(~batch.mask)

    class Brighter(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 100.0 * there

    assert float(score(Brighter(), batch)) == pytest.approx(
        float(score(torch.nn.Identity(), batch)), abs=1e-6
    )


def test_a_target_that_is_nowhere_overexposed_counts_everywhere(pairs) -> None:
    assert PatchSampler(Pairs(read_restore_cases(pairs), _plan(pairs)), _plan(pairs)).batch(0).mask is None


def test_decibels_count_alike_in_any_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(2, 1, 9, 11, generator=rng)
    error = torch.randn(2, 1, 9, 11, generator=rng) * torch.tensor([1.0, 0.2]).reshape(2, 1, 1, 1)
    wanted = np.mean(np.log(error.square().mean((1, 2, 3)).numpy() + 1e-3))
    assert float(psnr_loss(targets + error, targets)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", ["l2", "l1", "ssim", "ssim+l1"])
def test_losses_are_zero_at_the_target_alone(pairs, loss) -> None:
    score = RestoreLoss(_plan(pairs, loss=loss), "cpu")
    images = np.random.default_rng(0).normal(size=(2, 1, 16, 16)).astype(np.float32)
    same = float(score(torch.nn.Identity(), Batch(images, images)))
    other = float(score(torch.nn.Identity(), Batch(images, images + np.float32(0.5))))
    assert same == pytest.approx(0, abs=1e-5)
    assert other > 0.01
    if loss in ("l1", "l2"):
        assert other == pytest.approx(0.5 if loss == "l1" else 0.25, rel=1e-4)


def test_hidden_pixels_alone_count(pairs) -> None:
    score = RestoreLoss(_plan(pairs, method="noise2void"), "cpu")
    images = np.zeros((1, 1, 4, 4), np.float32)
    targets, mask = images.copy(), np.zeros(images.shape, bool)
    targets[0, 0, 0] = 9  # not looked at
    targets[0, 0, 1, 2], mask[0, 0, 1, 2] = 3, True
    assert float(score(torch.nn.Identity(), Batch(images, targets, mask))) == pytest.approx(9.0)


def test_divergence_by_hand() -> None:
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, np.log(2.0)]])
    wanted = 0.5 * 1 + 0.5 * (2 - 1 - np.log(2))
    assert float(divergence(mean, log_variance)) == pytest.approx(wanted, rel=1e-6)


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
        pixels = np.random.default_rng(0).poisson(_clean((37, 29), 9)).astype(np.uint16)
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
    plan = replace(_plan(pairs), noise=(0.6, 0.6), stripes=0.0)
    clean = RestoreCase(None, pairs / "val" / "target" / "case3.tif", split="val")
    score = _Scorer(Pairs([clean], plan), plan, "cpu")
    network = build(
        plan.network["name"], {**plan.network["arguments"], "scales": []}
    ).eval()  # changes nothing
    found = score(network)["score"]
    assert found == score(network)["score"]  # the same noise each time
    truth = _clean((45, 61), 3)
    # noise is 0.6 of the deviation of the whole; once it is fitted, as much of the truth's is not explained
    wanted = 20 * np.log10(np.ptp(truth) / (0.6 * truth.std()))
    assert found == pytest.approx(wanted, abs=0.5)


def test_one_noisy_image_is_enough(tmp_path, no_twin) -> None:
    clean = _clean((64, 80), 0)
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
