"""The whole way of an image through a network that is a threshold: labels must be exact."""

import numpy as np
import pytest
from scipy import ndimage

from deepbio.engine.ladder import Rung
from deepbio.errors import Cancelled, InputMismatch, OutOfMemory
from deepbio.events import Event, Notice, Progress
from deepbio.image import RGB, Grid, Image
from deepbio.options import RunOptions
from deepbio.predict import load_model, run
from deepbio.tasks import storage
from deepbio.tasks.decoder import Decoder, decoder_of


def _oblique(shape: tuple[int, ...]) -> Grid:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Grid(shape, (1.2, 0.8, 0.5), (-13.0, 7.5, 101.0), turn[:, ::-1], "millimeter")


def _pixels(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return (1000 + 4000 * smooth).clip(0).astype(np.int16)


def _components(pixels: np.ndarray) -> np.ndarray:
    return ndimage.label(pixels > 1000)[0]


@pytest.mark.parametrize("shape", [(5, 7, 11), (41, 53, 37), (1, 33, 9)])
@pytest.mark.parametrize("tile", [None, 16])
def test_a_volume_on_its_own_grid(spots3d, shape, tile) -> None:
    pixels = _pixels(shape)
    image = Image(pixels, "ZYX", _oblique(shape))
    result = run(image, load_model(spots3d), RunOptions(tile=tile))
    np.testing.assert_array_equal(result.labels.numpy(), _components(pixels))
    assert result.labels.grid == image.grid
    assert result.table["volume"].sum() == pytest.approx((pixels > 1000).sum() * 1.2 * 0.8 * 0.5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (117, 45)])
def test_an_image_of_any_size(spots2d, shape) -> None:
    pixels = _pixels(shape)
    result = run(Image(pixels), load_model(spots2d))
    np.testing.assert_array_equal(result.labels.numpy(), _components(pixels))


def test_every_frame_and_slice_of_every_axis_order(spots2d) -> None:
    pixels = _pixels((2, 3, 4, 21, 35))  # TCZYX
    image = Image(pixels, "TCZYX", frame_interval=2.5)
    result = run(
        image,
        load_model(spots2d),
        RunOptions(channel="2", per_slice=True, output=("labels", "table", "scores")),
    )
    labels = result.labels.numpy()
    assert (result.labels.axes, labels.shape, result.labels.frame_interval) == ("TZYX", (2, 4, 21, 35), 2.5)
    for t in range(2):
        before = 0
        for z in range(4):
            expected = _components(pixels[t, 1, z])
            expected[expected > 0] += before  # slices of one stack go on counting
            before = max(before, int(expected.max()))
            np.testing.assert_array_equal(labels[t, z], expected)
    assert result.scores.axes == "TCZYX"
    np.testing.assert_allclose(result.scores.numpy()[:, 0], pixels[:, 1] * 0.001 - 1, atol=1e-6)
    first = (result.table["frame"] == 1) & (result.table["slice"] == 1)
    assert first.sum() == _components(pixels[0, 1, 0]).max()
    assert "mean_channel_3" in result.table.columns


def test_many_channels_are_not_all_named(spots2d) -> None:
    image = Image(np.ones((99, 8, 9), np.uint8), "CYX", channels=tuple(f"f{n}" for n in range(99)))
    with pytest.raises(InputMismatch, match=r"99 channels \(f0, f1, .*, f7 and 91 more\)"):
        run(image, load_model(spots2d))


def test_channels_by_name_and_number(spots2d) -> None:
    pixels = _pixels((2, 21, 35))
    image = Image(pixels, "CYX", channels=("DAPI", "GFP"))
    model = load_model(spots2d)
    for wanted, index in (("gfp", 1), ("DAPI", 0), ("1", 0)):
        result = model.run(image, RunOptions(channel=wanted))
        np.testing.assert_array_equal(result.labels.numpy(), _components(pixels[index]))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (
            Image(np.ones((2, 8, 9), np.uint8), "CYX", channels=("DAPI", "GFP")),
            {},
            r"2 channels \(DAPI, GFP\).*channel=1",
        ),
        (Image(np.ones((3, 8, 9), np.uint8), "CYX", channels=RGB), {}, "3 channels"),
        (Image(np.ones((4, 8, 9), np.uint8), "ZYX"), {}, "stack of 4 slices.*per_slice=true"),
        (Image(np.ones((8, 9), np.uint8)), {"channel": "GFP"}, "no channel 'GFP'; the image has 1"),
        (Image(np.full((8, 9), np.nan, np.float32)), {}, "NaN"),
        (Image(np.full((8, 9), np.inf, np.float32)), {}, "infinite"),
        (Image(np.ones((8, 9), np.uint8)), {"flow_threshold": 0.3}, "by 'threshold', not by flows"),
    ],
)
def test_what_the_model_does_not_take_is_told(spots2d, image, options, message) -> None:
    with pytest.raises(InputMismatch, match=message):
        run(image, load_model(spots2d), RunOptions(**options))


def test_a_plane_given_to_a_3d_model_is_told(spots3d) -> None:
    with pytest.raises(InputMismatch, match="takes 3D stacks; the image is 2D"):
        run(Image(np.ones((8, 9), np.uint8)), load_model(spots3d))


def test_a_single_slice_needs_no_option(spots2d) -> None:
    pixels = _pixels((1, 21, 35))
    result = run(Image(pixels, "ZYX"), load_model(spots2d))
    np.testing.assert_array_equal(result.labels.numpy()[0], _components(pixels[0]))


class _Recorded:
    """An array-like that remembers what was read of it."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.dtype = array, array.shape, array.dtype
        self.largest = 0

    def __getitem__(self, key):
        part = self._array[key]
        self.largest = max(self.largest, part.size)
        return part


def test_a_lazy_image_is_never_read_whole(spots2d) -> None:
    pixels = _pixels((900, 130))
    source = _Recorded(pixels)
    result = run(Image(source), load_model(spots2d), RunOptions(output=("labels",)))
    np.testing.assert_array_equal(result.labels.numpy(), _components(pixels))
    assert source.largest <= 40 * 130  # a row of tiles


def test_large_labels_lie_in_a_file(spots2d, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_IN_MEMORY", 1000)
    pixels = _pixels((60, 70))
    labels = run(Image(pixels), load_model(spots2d)).labels
    assert isinstance(labels.array, np.memmap)
    np.testing.assert_array_equal(labels.numpy(), _components(pixels))


def test_cancel_between_tiles(spots2d) -> None:
    heard: list[Event] = []

    def stop(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Progress) and event.stage == "predict" and event.current == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(Image(_pixels((200, 200))), load_model(spots2d), on_progress=stop)
    assert max(e.current for e in heard if isinstance(e, Progress)) == 3


def test_memory_runs_out_once_and_the_ladder_is_kept(spots2d, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(spots2d)
    opened: list[tuple[int, ...]] = []
    real = model._open

    def scarce(rung: Rung, *others):
        opened.append(rung.tile)
        if rung.tile[0] > 64:
            raise MemoryError("no room")
        return real(rung, *others)

    monkeypatch.setattr(model, "_open", scarce)
    heard: list[Event] = []
    pixels = _pixels((3, 150, 170))
    result = model.run(Image(pixels, "TYX"), RunOptions(tile=256), on_progress=heard.append)
    for t in range(3):
        np.testing.assert_array_equal(result.labels.numpy()[t], _components(pixels[t]))
    assert opened == [(256, 256), (128, 128), (64, 64), (64, 64), (64, 64)]
    assert sum(isinstance(e, Notice) and "Memory ran out" in e.message for e in heard) == 2
    monkeypatch.setattr(model, "_open", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(OutOfMemory):
        model.run(Image(pixels, "TYX"))


def test_the_record_says_how(spots2d) -> None:
    record = run(Image(_pixels((70, 50))), load_model(spots2d), RunOptions(min_size=5, runtime="onnx")).record
    assert record["model"] == "spots2d"
    assert record["runtime"] == "onnx"
    assert record["tile"] == [28, 32]  # 70 rows are three tiles of 28
    assert record["options"] == {"runtime": "onnx", "min_size": 5}
    assert set(record["seconds"]) == {"prepare", "open", "predict", "instances", "measure"}
    assert all(value >= 0 for value in record["seconds"].values())


def test_options_change_the_decoder(spots2d) -> None:
    card = load_model(spots2d).card
    assert decoder_of(card, RunOptions()) == Decoder("threshold", min_size=1)
    assert decoder_of(card, RunOptions(threshold=0.9, min_size=7)) == Decoder(
        "threshold", threshold=0.9, min_size=7
    )


def test_a_card_that_cannot_be_decoded_gives_scores(tmp_path) -> None:
    from dataclasses import replace

    from .conftest import write_threshold_model

    card = load_model(write_threshold_model(tmp_path, "unknown", 2)).card
    silent = replace(card, deepbio={}, outputs=(replace(card.output, channels=("a", "b")),))
    assert decoder_of(silent, RunOptions()) is None
    heard: list[Event] = []
    result = run(Image(_pixels((20, 30))), load_model(silent), on_progress=heard.append)
    assert result.labels is None
    assert result.scores.shape == (1, 20, 30)
    assert any(isinstance(e, Notice) and "does not say" in e.message for e in heard)
