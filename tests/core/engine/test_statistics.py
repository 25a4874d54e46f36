"""Statistics of whole images: block by block the same as numpy at once."""

import numpy as np
import pytest

from deepbio.engine import statistics
from deepbio.engine.statistics import HistogramMeasure, StreamMeasure, blocks, measure_of
from deepbio.engine.steps import prepare
from deepbio.errors import InputMismatch
from deepbio.library.card import Step

AXES = ("channel", "z", "y", "x")
ZYX = AXES[1:]
PHANTOM = (np.arange(770) * 7919 % 2003 - 700).astype(np.int16).reshape(2, 5, 7, 11)


def same(pixels):
    return pixels


class Slices:
    """An image that is never given whole."""

    def __init__(self, array, limit):
        self.array, self.shape, self.dtype, self.limit = array, array.shape, array.dtype, limit

    def __getitem__(self, key):
        block = self.array[key]
        assert block.size <= self.limit, "the image was read whole"
        return block


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "bool", "float32", "uint32"])
def test_statistics_are_found_in_blocks(dtype, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", 50)
    image = (PHANTOM > 0).astype(dtype) if dtype == "bool" else (PHANTOM % 120).astype(dtype)
    steps = [Step("scale_range", {"axes": ZYX, "min_percentile": 3, "max_percentile": 98})]
    found = prepare(Slices(image, 50), AXES, steps)(image)
    pixels = image.astype(np.float64)
    low, high = np.percentile(pixels, (3, 98), axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, (pixels - low) / (high - low + 1e-6), rtol=1e-6, atol=1e-6)


def test_percentiles_of_huge_float_images_come_from_a_regular_subsample(monkeypatch):
    monkeypatch.setattr(statistics, "SAMPLE", 5000)
    monkeypatch.setattr(statistics, "BLOCK", 900)
    image = np.random.default_rng(0).normal(10, 2, (1, 160, 150)).astype(np.float32)
    image[0, :, 75:] += 100  # a stride that divides the rows would miss this
    measure = StreamMeasure(image, ("channel", "y", "x"))
    (low, high) = measure.quantiles(None, (0.25, 0.75), "linear", same)
    assert low.item() == pytest.approx(np.quantile(image, 0.25), abs=0.15)
    assert high.item() == pytest.approx(np.quantile(image, 0.75), abs=0.15)


@pytest.mark.parametrize("kind", [HistogramMeasure, StreamMeasure])
@pytest.mark.parametrize("axes", [None, ZYX, AXES, ("batch", *ZYX)], ids=str)
def test_moments_and_quantiles_are_those_of_numpy(kind, axes, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", 50)
    where = tuple(k for k, name in enumerate(AXES) if axes is None or name in axes)
    pixels = np.clip(PHANTOM.astype(float) * 0.5, -100, 400)  # many equal values at both ends
    measure = kind(PHANTOM, AXES)

    def transform(block):
        return np.clip(block * np.float32(0.5), -100, 400)

    mean, std = measure.moments(axes, transform)
    np.testing.assert_allclose(mean, pixels.mean(where, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(where, keepdims=True), rtol=1e-12)
    for method in ("linear", "inverted_cdf"):
        found = measure.quantiles(axes, [0, 0.02, 0.3333, 0.5, 0.998, 1], method, transform)
        expected = np.quantile(pixels, [0, 0.02, 0.3333, 0.5, 0.998, 1], where, method=method, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_large_offsets_keep_their_precision():
    image = (1e6 + np.arange(600) % 7).astype(np.float32).reshape(1, 20, 30)
    mean, std = StreamMeasure(image, ("channel", "y", "x")).moments(None, same)
    assert mean.item() == pytest.approx(image.astype(float).mean(), rel=1e-14)
    assert std.item() == pytest.approx(image.astype(float).std(), rel=1e-12)


@pytest.mark.parametrize("limit", [1, 7, 50, 10**6])
def test_blocks_cover_every_pixel_once(limit, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", limit)
    parts = list(blocks(PHANTOM, AXES))
    assert all(part.shape[0] == 2 for part in parts), "channels were cut apart"
    assert all(part.size <= max(limit, 2) for part in parts)
    assert sorted(np.concatenate([part.ravel() for part in parts])) == sorted(PHANTOM.ravel())


@pytest.mark.parametrize(
    ("dtype", "mixes", "kind"),
    [("uint8", False, HistogramMeasure), ("bool", False, HistogramMeasure), ("int16", True, StreamMeasure)]
    + [(dtype, False, StreamMeasure) for dtype in ("int32", "float16", "float32", "float64")],
)
def test_the_way_is_chosen_by_the_type(dtype, mixes, kind):
    assert type(measure_of(PHANTOM.astype(dtype), AXES, mixes=mixes)) is kind


def test_numbers_that_are_none_are_found_in_any_block(monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", 50)
    image = PHANTOM.astype(np.float32)
    image[1, 4, 6, 10] = np.nan
    with pytest.raises(InputMismatch, match="not numbers"):
        StreamMeasure(image, AXES).moments(None, same)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("axes", [ZYX, AXES])
def test_only_what_is_inside_counts_and_the_rest_stays_zero(dtype, axes, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", 50)
    image = (PHANTOM % 120 + 1).astype(dtype)
    inside = np.random.default_rng(0).random(image.shape[1:]) < 0.4
    image[:, ~inside] = 0
    image[0, 2] = 0  # in one channel only: still inside
    step = Step("zero_mean_unit_variance", {"axes": axes, "eps": 1e-8})
    found = prepare(Slices(image, 50), AXES, [step], inside=True)(image)
    kept = image[:, inside].astype(np.float64)
    over = 1 if axes == ZYX else None
    expected = (kept - kept.mean(over, keepdims=True)) / kept.std(over, keepdims=True)
    np.testing.assert_allclose(found[:, inside], expected, rtol=1e-5, atol=1e-5)
    assert not found[:, ~inside].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_image_without_an_inside_stays_zero(dtype):
    image = np.zeros((1, 4, 5), dtype)
    step = Step("zero_mean_unit_variance", {"axes": ["y", "x"], "eps": 1e-8})
    assert not prepare(image, ("channel", "y", "x"), [step], inside=True)(image).any()
