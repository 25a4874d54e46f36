"""Windows of a large image give the objects of the whole."""

import numpy as np
import pytest

from deepbio.errors import Cancelled
from deepbio.events import Progress
from deepbio.tasks.decode import decode
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.stitch import label_bands

from .scenes import perfect_scores, touching_discs

DECODERS = [
    Decoder("watershed", reach=26),
    Decoder("votes", smoothing=1.5, reach=26),
    Decoder("threshold"),
    Decoder("classes"),
]


def _bands(scores: np.ndarray, height: int):
    for start in range(0, scores.shape[1], height):
        stop = min(start + height, scores.shape[1])
        yield start, stop, scores[:, start:stop].copy()


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d.method)
@pytest.mark.parametrize(("height", "window"), [(7, 1), (64, 101 * 120), (1000, 2**23)])
def test_windows_equal_the_whole(decoder: Decoder, height: int, window: int) -> None:
    scores = perfect_scores(touching_discs((341, 101)), noise=0.05)
    out = np.full(scores.shape[1:], -1, np.int32)
    count = label_bands(_bands(scores, height), decoder, out, window_pixels=window)
    expected = decode(scores, decoder)
    np.testing.assert_array_equal(out, expected)
    assert count == len(np.unique(expected)) - 1


def test_windows_equal_the_whole_in_3d() -> None:
    scores = perfect_scores(touching_discs((121, 23, 31)), noise=0.02)
    out = np.empty(scores.shape[1:], np.int32)
    decoder = Decoder(reach=18)
    label_bands(_bands(scores, 11), decoder, out, window_pixels=1)
    np.testing.assert_array_equal(out, decode(scores, decoder))
    assert out.max() > 20


def test_no_band_is_kept_longer_than_windows_need() -> None:
    scores = perfect_scores(touching_discs((600, 41)))
    alive: list[int] = []

    class Band(np.ndarray):
        def __del__(self) -> None:
            if self.base is None:
                alive.append(-1)

    def bands():
        for start, stop, part in _bands(scores, 10):
            band = Band(part.shape, np.float32)
            band[...] = part
            alive.append(1)
            yield start, stop, band
            # two margins of 26 + 16 rows and a core as high as a margin: never all 60 bands
            assert sum(alive) <= 20

    label_bands(bands(), Decoder(reach=26), np.empty(scores.shape[1:], np.int32), window_pixels=1)
    assert alive.count(1) == 60


def test_progress_counts_rows_and_cancel_stops() -> None:
    scores = perfect_scores(touching_discs((341, 101)))
    heard: list[Progress] = []
    out = np.empty(scores.shape[1:], np.int32)
    label_bands(_bands(scores, 64), DECODERS[0], out, listener=heard.append, window_pixels=1)
    assert [heard[0].current, heard[-1].current, heard[-1].total] == [0, 341, 341]

    def stop(event: Progress) -> None:
        if event.current > 100:
            raise Cancelled

    with pytest.raises(Cancelled):
        label_bands(_bands(scores, 64), DECODERS[0], out, listener=stop, window_pixels=1)
