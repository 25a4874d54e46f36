"""Labels of a first stage beside the pixels, on the grid that the network works on."""

from types import SimpleNamespace

import numpy as np

from deepbio.engine.geometry import GridSpec, labels_to_working, place
from deepbio.image import Grid, Image
from deepbio.tasks.first_stage import as_taken
from deepbio.tasks.guided import GuidedSource, guided
from deepbio.tasks.placed import Placed


class _Source:
    """Pixels that are what they are."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape, self.normalise = pixels, pixels.shape, None

    def read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        return self.pixels[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))]


def test_labels_are_the_last_channel_of_each_block() -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.normal(size=(2, 4, 5, 7)).astype(np.float32), rng.integers(0, 3, (4, 5, 7))
    source = GuidedSource(_Source(pixels), labels.astype(np.uint8))  # type: ignore[arg-type]
    assert source.shape == (3, 4, 5, 7)
    block = source.read((1, 0, 2), (3, 5, 6))
    assert (block.dtype, block.shape) == (np.float32, (3, 2, 5, 4))
    np.testing.assert_array_equal(block[:2], pixels[:, 1:3, :, 2:6])
    np.testing.assert_array_equal(block[2], labels[1:3, :, 2:6])


def test_labels_are_brought_to_the_working_grid() -> None:
    direction = np.linalg.qr(np.array([[0.1, 0.0, 1.0], [0.1, -1.0, 0.0], [1.0, 0.0, 0.1]]))[0]
    grid = Grid((5, 9, 11), (2.0, 0.7, 0.9), (3.0, -4.0, 5.0), direction, "millimeter")
    placement = place(grid, GridSpec((1.3, 1.0, 1.0), orientation="SAR"))
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:4, 2:7, 3:8] = 2
    pixels = np.zeros((1, *placement.grid.shape), np.float32)
    source = guided(_Source(pixels), Placed(pixels, placement), labels)  # type: ignore[arg-type]
    whole = source.read((0, 0, 0), placement.grid.shape)
    np.testing.assert_array_equal(whole[1], labels_to_working(labels, placement))
    assert (whole[1] == 2).sum() > 20


def test_pixels_of_unknown_size_are_as_large_as_the_network_works() -> None:
    # sagittal slices: the array's first axis is the last of the working grid
    direction = np.eye(3)
    card = SimpleNamespace(deepbio={"grid": {"spacing": [3.0, 2.0, 1.0], "orientation": "SPL"}})
    pixels = np.zeros((4, 5, 6), np.uint8)
    unknown = Image(pixels, "ZYX", Grid(pixels.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction))
    taken = as_taken(unknown, card).grid  # type: ignore[arg-type]
    spec = GridSpec((3.0, 2.0, 1.0), orientation="SPL")
    before, after = place(unknown.grid, spec), place(taken, spec)
    assert (taken.spacing, taken.unit) == ((1.0, 2.0, 3.0), "millimeter")
    assert after.grid.shape == before.grid.shape == (6, 5, 4)
    assert after.grid.spacing == (3.0, 2.0, 1.0)
    known = Image(pixels, "ZYX", Grid(pixels.shape, (1.0, 1.0, 1.0), unit="millimeter"))
    assert as_taken(known, card) is known  # type: ignore[arg-type]
