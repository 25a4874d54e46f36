"""Classifiers whose card names a spacing: what they see has one size in the world."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.errors import CardError, OptionError
from deepbio.events import Notice
from deepbio.explanation import explain
from deepbio.image import Grid, Image, LabelMap
from deepbio.options import RunOptions
from deepbio.predict import load_model
from tests.core.tasks.bright import p_bright, write_bright_model

SPACING = {2: [0.8, 0.5], 3: [1.2, 0.8, 0.5]}


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Sees 8 x 8 pixels of 0.8 x 0.5 micrometers."""
    grid = {"spacing": SPACING[2], "unit": "micrometer"}
    return load_model(write_bright_model(tmp_path_factory.mktemp("flat"), 2, grid=grid))


@pytest.fixture(scope="module")
def solid(tmp_path_factory):
    """Sees 4 x 8 x 8 pixels of 1.2 x 0.8 x 0.5 millimeters, from the feet up, to the back, to the left."""
    grid = {"spacing": SPACING[3], "unit": "millimeter", "orientation": "SPL"}
    return load_model(write_bright_model(tmp_path_factory.mktemp("solid"), 3, grid=grid))


def _grid(shape, spacing, unit="micrometer"):
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Grid(shape, spacing, (-13.0, 7.5), turn[:, ::-1], unit)


def _ramp(shape, spacing):
    """400 at the left border, and 300 more for each micrometer to the right: any sampling keeps its means."""
    x = (np.arange(shape[1]) + 0.5) * spacing[1]
    return np.broadcast_to(400 + 300 * x, shape).astype(np.float32)


def _p(model, image, **options):
    return float(model.run(image, RunOptions(**options)).table["p_bright"][0])


# the same 9.6 x 6 micrometers at its own spacing, finer, coarser and in another unit
@pytest.mark.parametrize(
    ("shape", "spacing", "unit"),
    [
        ((12, 12), (0.8, 0.5), "micrometer"),
        ((48, 30), (0.2, 0.2), "micrometer"),
        ((8, 10), (1.2, 0.6), "micrometer"),
        ((96, 24), (0.1e-3, 0.25e-3), "millimeter"),
    ],
)
def test_what_is_seen_has_one_size_in_the_world(flat, shape, spacing, unit) -> None:
    real = tuple(s * (1000 if unit == "millimeter" else 1) for s in spacing)
    image = Image(_ramp(shape, real), "YX", _grid(shape, spacing, unit))
    # the middle 8 of 12 pixels: from 1 to 5 micrometers, so their mean is that of 3
    assert _p(flat, image) == pytest.approx(p_bright(400 + 300 * 3.0), abs=1e-5)


def test_an_image_of_twice_the_pixels_is_not_taken_for_one_of_twice_the_size(flat) -> None:
    """A bright disc of 3 micrometers, at two spacings, and one of 6: brought to one size they are alike."""

    def disc(shape, spacing, radius):
        y, x = (np.arange(n)[:, None] * s - (n - 1) * s / 2 for n, s in zip(shape, spacing, strict=True))
        inside = y**2 + x.T**2 < radius**2
        return Image(np.where(inside, 2200.0, 200.0).astype(np.float32), "YX", _grid(shape, spacing))

    coarse, fine = disc((16, 16), (0.8, 0.5), 1.5), disc((64, 64), (0.2, 0.125), 1.5)
    large = disc((32, 32), (0.8, 0.5), 3.0)
    assert _p(flat, fine) == pytest.approx(_p(flat, coarse), abs=0.05)  # its border is jagged
    assert _p(flat, large) > _p(flat, coarse) + 0.3


def test_an_image_without_spacing_is_taken_as_it_is(flat) -> None:
    pixels = np.random.default_rng(0).integers(0, 2500, (13, 21)).astype(np.int16)
    told = []
    result = flat.run(Image(pixels), on_progress=told.append)
    assert result.table["p_bright"][0] == pytest.approx(p_bright(pixels[2:10, 6:14].mean()), abs=1e-6)
    words = [one.message for one in told if isinstance(one, Notice)]
    assert any(
        "does not say how large its pixels are; they are taken as 0.8 x 0.5 micrometer" in one
        for one in words
    )
    assert any(
        "sees 8 x 8 pixels of 0.8 x 0.5 micrometer: the middle of the image, 23%" in one for one in words
    )
    assert result.record["grid"] == {"spacing": [0.8, 0.5], "unit": "micrometer"}


def test_what_is_too_short_is_continued_at_its_border(flat) -> None:
    pixels = np.array([[0, 900, 1800], [300, 600, 2400]], np.int16)
    image = Image(pixels, "YX", _grid((2, 3), (0.8, 0.5)))
    seen = np.pad(pixels, ((3, 3), (2, 3)), mode="edge")
    assert _p(flat, image) == pytest.approx(p_bright(seen.mean()), abs=1e-6)


def test_tiles_and_their_map_lie_on_an_oblique_image(flat) -> None:
    shape, spacing = (64, 40), (0.2, 0.25)  # 16 x 20 pixels of the network
    image = Image(_ramp(shape, spacing), "YX", _grid(shape, spacing))
    result = flat.run(image, RunOptions(classify="tiles"))
    heat = result.image
    assert heat.grid.spacing == pytest.approx((3.2, 2.0))  # 4 pixels of the network
    assert heat.shape == (2, 4, 5)
    np.testing.assert_allclose(heat.grid.to_world((0, 0)), image.grid.to_world((7.5, 3.5)))
    # the first and the last tile of a row see 0 to 4 and 6 to 10 micrometers; within, each is its middle
    table = result.table
    np.testing.assert_allclose(sorted(set(np.round(table["x"], 6))), 4 / 2 - 0.125 + 2 * np.arange(4))
    middle = table["p_bright"][np.isclose(table["x"], 3.875) & np.isclose(table["y"], 3.2 - 0.1)]
    assert middle == pytest.approx([p_bright(400 + 300 * 4.0)], abs=1e-5)


def test_objects_are_seen_with_what_lies_around_them_at_one_size(flat) -> None:
    fine = np.full((80, 100), 300, np.float32)
    labels = np.zeros(fine.shape, np.int32)
    labels[20:24, 30:34], labels[50:60, 60:80] = 4, 9  # 0.8 x 0.8 and 2 x 4 micrometers, of pixels of 0.2
    fine[labels == 4], fine[labels == 9] = 2300, 2300
    image = Image(fine, "YX", _grid(fine.shape, (0.2, 0.2)))
    table = flat.run(image, objects=LabelMap(labels, "YX", image.grid)).table
    assert table["label"].tolist() == [4, 9]
    # 6.4 x 4 micrometers are seen of each, whatever its size: their shares of it are 0.025 and 0.3125
    expected = [p_bright(300 + 2000 * share) for share in (0.025, 0.3125)]
    np.testing.assert_allclose(table["p_bright"], expected, atol=0.03)


def test_a_volume_stored_in_another_order_gives_the_same(solid) -> None:
    """5 x 9 x 11 in odd sizes, so that the middle of 4 x 8 x 8 is not the middle of a volume turned round."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 2500, (5, 9, 11)).astype(np.int16)
    angle = 0.2
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    grid = Grid(pixels.shape, (1.2, 0.8, 0.5), (-13.0, 7.5, 101.0), turn[:, ::-1], "millimeter")
    expected = p_bright(pixels[0:4, 0:8, 1:9].mean())
    assert _p(solid, Image(pixels, "ZYX", grid)) == pytest.approx(expected, abs=1e-6)
    # x, z, y with y running backwards
    turned = pixels.transpose(2, 0, 1)[:, :, ::-1]
    direction = grid.direction[:, [2, 0, 1]] * [1, 1, -1]
    first = grid.to_world((0, 8, 0))
    other = Grid(turned.shape, (0.5, 1.2, 0.8), tuple(first), direction, "millimeter")
    assert _p(solid, Image(turned, "ZYX", other)) == pytest.approx(expected, abs=1e-6)
    tiles = RunOptions(classify="tiles")
    heats = [solid.run(one, tiles).image for one in (Image(pixels, "ZYX", grid), Image(turned, "ZYX", other))]
    assert heats[0].grid == heats[1].grid
    np.testing.assert_allclose(heats[0].numpy(), heats[1].numpy(), atol=1e-6)
    # objects too, in the order of the image: the far corner of both
    labels = np.zeros(pixels.shape, np.int32)
    labels[3:5, 6:9, 8:11] = 1
    own = solid.run(Image(pixels, "ZYX", grid), objects=LabelMap(labels, "ZYX", grid)).table
    marks = labels.transpose(2, 0, 1)[:, :, ::-1]
    there = solid.run(Image(turned, "ZYX", other), objects=LabelMap(marks, "ZYX", other)).table
    seen = np.pad(pixels, 4, mode="symmetric")[6:10, 8:16, 10:18]  # from (2, 4, 6) on
    assert there["centroid_z"][0] == pytest.approx(9 * 0.5)
    assert own["p_bright"][0] == pytest.approx(p_bright(seen.mean()), abs=1e-6)
    assert there["p_bright"][0] == pytest.approx(own["p_bright"][0], abs=1e-6)


def test_every_slice_of_an_anisotropic_stack(flat) -> None:
    shape = (3, 24, 24)
    stack = np.stack([_ramp(shape[1:], (0.4, 0.25)) + 500 * z for z in range(3)])
    image = Image(stack, "ZYX", Grid(shape, (3.0, 0.4, 0.25), unit="micrometer"))
    table = flat.run(image, RunOptions(per_slice=True)).table
    np.testing.assert_allclose(table["p_bright"], [p_bright(1300 + 500 * z) for z in range(3)], atol=1e-5)
    heat = flat.run(image, RunOptions(per_slice=True, classify="tiles")).image
    assert heat.grid.spacing == pytest.approx((3.0, 3.2, 2.0))


def test_an_explanation_covers_what_was_seen(flat) -> None:
    shape, spacing = (40, 24), (0.4, 0.5)  # 20 x 24 pixels of the network, of which it sees 8 x 8
    image = Image(_ramp(shape, spacing), "YX", _grid(shape, spacing))
    found = explain(image, flat, method="occlusion", target="bright").explanation
    assert found.grid == image.grid
    seen = np.abs(found.numpy()) > 1e-6
    assert seen[13:27, 9:15].all()
    assert not seen[:11].any()
    assert not seen[:, :7].any()


def test_what_cannot_be(flat, tmp_path) -> None:
    image = Image(np.zeros((40, 40), np.float32), "YX", _grid((40, 40), (0.8, 0.5)))
    with pytest.raises(OptionError, match="parts of one size; 'tile' is 64"):
        flat.run(image, RunOptions(tile=64, classify="tiles"))
    for number, grid in enumerate(
        ({"spacing": [0.8, None], "unit": "micrometer"}, {"spacing": [1.0, 1.0], "crop": "nonzero"})
    ):
        model = load_model(write_bright_model(tmp_path / str(number), 2, grid=grid))
        with pytest.raises(
            CardError, match="a classifier's names a spacing for each of its 2 axes, and no crop"
        ):
            model.run(image)
