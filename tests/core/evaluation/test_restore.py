"""Evaluation of restorers: what is compared with what, on grids of any kind."""

import numpy as np
import pytest
from scipy import ndimage

from deepbio import io
from deepbio.cases.restore import RestoreCase
from deepbio.errors import ImageError
from deepbio.evaluation.restore import evaluate_cases, score_cases
from deepbio.image import Grid, Image
from deepbio.metrics.restoration import fit_intensity, psnr
from deepbio.options import RunOptions
from deepbio.predict import load_model
from tests.core.tasks.restorers import write_restorer


def _images(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    clean = 1000 * ndimage.gaussian_filter(rng.normal(size=shape), 3).astype(np.float32) + 500
    return clean, (clean / 4 + 30 + rng.normal(0, 20, shape)).astype(np.float32)


@pytest.fixture
def data(tmp_path, rng):
    rows = ["image,target,split"]
    for number, split in enumerate(("val", "train", "val")):
        clean, noisy = _images(rng, (41, 53))
        for name, pixels in (("clean", clean), ("noisy", noisy)):
            io.write(
                tmp_path / f"{name}{number}.tif",
                Image(pixels, "YX", Grid((41, 53), (0.3, 0.2), unit="micrometer")),
            )
        rows.append(f"noisy{number}.tif,clean{number}.tif,{split}")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    return tmp_path / "data.csv"


def test_the_model_stands_beside_filters_at_their_best(tmp_path, data) -> None:
    model = load_model(write_restorer(tmp_path, "same"))
    report = evaluate_cases(model, data, "val", RunOptions())
    values = {row["metric"]: row["value"] for row in report.summary}
    assert [row["metric"] for row in report.summary][:2] == ["PSNR in dB", "SSIM"]
    # a model that changes nothing is as good as the input; the filter at its best is better
    assert values["PSNR in dB"] == pytest.approx(values["PSNR in dB, input"], abs=1e-3)
    assert values["PSNR in dB, Gaussian"] > values["PSNR in dB"] + 3
    assert values["SSIM, non-local means"] > values["SSIM"]
    assert all(row["n"] == 2 and row["command"].startswith("deepbio evaluate same") for row in report.summary)
    assert report.table["image"].tolist() == ["noisy0.tif"] * 4 + ["noisy2.tif"] * 4
    clean, noisy = (io.read(tmp_path / f"{name}0.tif").numpy() for name in ("clean", "noisy"))
    found = [
        psnr(fit_intensity(ndimage.gaussian_filter(noisy, s), clean), clean)
        for s in (0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5)
    ]
    row = report.table["method"].tolist().index("Gaussian")
    assert report.table["psnr"][row] == pytest.approx(max(found), abs=1e-3)
    report.figure(tmp_path / "figure.png")
    assert io.read(tmp_path / "figure.png").is_rgb


def test_an_overexposed_truth_is_told_apart(tmp_path, rng) -> None:
    clean, _ = _images(rng, (41, 53))
    bright = np.minimum(clean, np.quantile(clean, 0.9))
    given = 0.5 * clean + rng.normal(0, 2, clean.shape).astype(np.float32)
    for name, pixels in (("target", bright), ("input", given)):
        io.write(tmp_path / f"{name}.tif", Image(pixels))
    model = load_model(write_restorer(tmp_path, "same"))
    case = RestoreCase(tmp_path / "input.tif", tmp_path / "target.tif", split="val")
    report = score_cases(model, [case], "val")
    names = [row["metric"] for row in report.summary][:3]
    assert names == ["PSNR in dB", "PSNR in dB where the truth is not overexposed", "SSIM"]
    counted = bright < bright.max()
    wanted = psnr(fit_intensity(given, bright, counted), bright, counted)
    assert report.table["psnr_exposed"][0] == pytest.approx(wanted, abs=2e-3)
    # what is brighter than the truth can say is an error of the truth
    assert report.table["psnr"][0] < report.table["psnr_exposed"][0] - 10


def test_a_finer_grid_is_compared_with_interpolation(tmp_path, rng) -> None:
    clean, _ = _images(rng, (41, 53))
    io.write(tmp_path / "clean.tif", Image(clean))
    model = load_model(
        write_restorer(tmp_path, "finer", factor=2, restore={"method": "superresolution", "factor": 2})
    )
    report = score_cases(model, [RestoreCase(tmp_path / "clean.tif", split="val")], "val")
    values = {row["metric"]: row["value"] for row in report.summary}
    assert set(values) == {"PSNR in dB", "SSIM", "PSNR in dB, interpolation", "SSIM, interpolation"}
    # linear and cubic interpolation of smooth blobs; half a pixel aside it would be below 30
    assert 38 < values["PSNR in dB"] < values["PSNR in dB, interpolation"]


def test_volumes_and_movies(tmp_path, rng) -> None:
    pixels = rng.poisson(50, (2, 5, 13, 17)).astype(np.uint16)
    for name in ("a", "b"):
        io.write(tmp_path / f"{name}.tif", Image(pixels, "TZYX"))
    case = RestoreCase(tmp_path / "a.tif", tmp_path / "b.tif", "val")
    for dims in (2, 3):
        report = score_cases(load_model(write_restorer(tmp_path, f"m{dims}", dims)), [case], "val")
        assert report.summary[0]["value"] > 80
        assert report.summary[1]["value"] == pytest.approx(1, abs=1e-4)


def test_without_a_truth(tmp_path, rng) -> None:
    (tmp_path / "images").mkdir()
    io.write(tmp_path / "images" / "a.tif", Image(rng.poisson(50, (13, 17)).astype(np.uint16)))
    model = load_model(write_restorer(tmp_path, "same"))
    clean = RestoreCase(
        None, tmp_path / "images" / "a.tif", "val"
    )  # it cannot be made noisy the same way twice
    assert score_cases(model, [clean], "val").summary == []
    with pytest.raises(ImageError, match="has a target"):
        evaluate_cases(model, tmp_path / "images", "all", RunOptions())
