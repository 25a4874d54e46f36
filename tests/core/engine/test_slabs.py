"""Tiled prediction is exact where the network allows it, reads in parts and stays small."""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from deepbio.engine.slabs import ArraySource, predict_pieces, predict_scores, predict_slabs
from deepbio.engine.tiling import plan_tiles
from deepbio.errors import Cancelled, InputMismatch
from deepbio.events import Progress

SHAPES = [
    ((1,), (1, 1)),
    ((1,), (1, 37)),
    ((3,), (5, 7)),
    ((2,), (37, 101)),
    ((1,), (64, 64)),
    ((1,), (5, 7, 11)),
    ((2,), (33, 20, 47)),
    ((1,), (1, 1, 1)),
]


def phantom(channels, shape):
    return np.random.default_rng(7).random((*channels, *shape)).astype(np.float32)


@pytest.mark.parametrize(("channels", "shape"), SHAPES)
@pytest.mark.parametrize("tile", [4, 16, 50])
@pytest.mark.parametrize("overlap", [0.0, 0.125, 0.5, 0.9])
def test_identity_gives_the_image_back(fake, channels, shape, tile, overlap):
    image = phantom(channels, shape)
    plan = plan_tiles(shape, tile=(tile,) * len(shape), overlap=overlap, batch=3)
    scores = predict_scores(ArraySource(image), fake("identity"), plan)
    assert scores.dtype == np.float32
    worst = 1e-6 if plan.count < 1000 else 3e-6  # there a pixel is a sum of hundreds of rounded terms
    np.testing.assert_allclose(scores, image, rtol=0, atol=worst)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((37, 101), {"tile": (16, 40), "multiple_of": (8, 16)}),  # anisotropic tile, odd image
        ((37, 101), {"tile": (30, 50), "multiple_of": (16, 16)}),  # a tile that is no multiple
        ((3, 700), {"tile": (64, 64), "fixed": (512, 512)}),  # fixed size, many folds of reflection
        ((1, 1), {"tile": (64, 64), "fixed": (512, 512)}),
        ((600, 513), {"tile": (64, 64), "fixed": (512, 512)}),
        ((5, 7, 11), {"tile": (8, 8, 8), "multiple_of": (1, 8, 8), "minimum": (3, 16, 16)}),
        ((9, 30, 31), {"tile": (4, 16, 8), "multiple_of": (2, 4, 8)}),
    ],
)
def test_sizes_that_a_network_insists_on(fake, shape, options):
    image = phantom((2,), shape)
    plan = plan_tiles(shape, overlap=0.25, batch=2, **options)
    runtime = fake("identity")
    np.testing.assert_allclose(predict_scores(ArraySource(image), runtime, plan), image, rtol=0, atol=1e-6)
    assert {size[2:] for size in runtime.shapes} == {plan.tile}
    assert sum(size[0] for size in runtime.shapes) == plan.count


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("batch", [1, 2, 4, 7, 1000])
def test_labels_are_those_of_the_whole_image(fake, overlap, batch):
    image = phantom((1,), (90, 75))
    plan = plan_tiles((90, 75), tile=(32, 32), overlap=overlap, batch=batch)
    scores = predict_scores(ArraySource(image), fake("threshold"), plan)
    np.testing.assert_array_equal(scores.argmax(0), image[0] <= 0.5)
    assert scores.shape == (2, 90, 75)


@pytest.mark.parametrize("shape", [(60, 70), (20, 30, 40)])
def test_a_box_filter_equals_that_of_the_whole_where_one_tile_sees_all(fake, shape):
    """Weights at a tile's rim are small where another tile sees more, so the error is, too."""
    image = phantom((1,), shape)
    runtime = fake("box")
    whole = runtime(image[None])[0]
    plan = plan_tiles(shape, tile=(16,) * len(shape), overlap=0.5)
    scores = predict_scores(ArraySource(image), runtime, plan)
    np.testing.assert_allclose(scores, whole, atol=5e-3)
    single = plan_tiles(shape, tile=(128,) * len(shape), overlap=0.5)
    np.testing.assert_array_equal(predict_scores(ArraySource(image), runtime, single), whole)
    core = tuple([slice(None)] + [slice(1, starts[1] - 1) for starts in plan.starts])
    np.testing.assert_allclose(scores[core], whole[core], atol=1e-6)  # only the first tile is there


@pytest.mark.parametrize("shape", [(101, 37), (33, 20, 47), (5, 7)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.7])
def test_bands_follow_each_other_and_are_the_whole(fake, shape, overlap):
    image = phantom((1,), shape)
    plan = plan_tiles(shape, tile=(8,) * len(shape), overlap=overlap, batch=2)
    bands = list(predict_slabs(ArraySource(image), fake("many"), plan))
    assert bands[0][0] == 0
    assert bands[-1][1] == shape[0]
    assert [stop for _, stop, _ in bands[:-1]] == [start for start, _, _ in bands[1:]]
    whole = predict_scores(ArraySource(image), fake("many"), plan)
    np.testing.assert_array_equal(np.concatenate([scores for _, _, scores in bands], 1), whole)
    np.testing.assert_allclose(whole, image * np.arange(1, 6).reshape(5, *(1,) * len(shape)), atol=5e-6)


def test_a_small_image_is_mirrored_on_both_sides_as_often_as_needed(fake):
    seen = []
    runtime = fake(lambda batch: seen.append(batch.copy()) or batch)
    plan = plan_tiles((1, 3), tile=(2, 8), fixed=(2, 8))
    predict_scores(ArraySource(np.array([[[1, 2, 3]]])), runtime, plan)
    assert plan.starts == ((0,), (-2,))
    np.testing.assert_array_equal(seen[0][0, 0], [[3, 2, 1, 2, 3, 2, 1, 2]] * 2)


@pytest.mark.parametrize(
    ("pad", "expected"), [("edge", [1, 1, 1, 2, 3, 3, 3, 3]), ("zero", [0, 0, 1, 2, 3, 0, 0, 0])]
)
def test_a_small_image_is_padded_by_its_edge_or_by_zeros(fake, pad, expected):
    seen = []
    runtime = fake(lambda batch: seen.append(batch.copy()) or batch)
    plan = replace(plan_tiles((1, 3), tile=(1, 8), fixed=(1, 8)), pad=pad)
    predict_scores(ArraySource(np.array([[[1, 2, 3]]])), runtime, plan)
    np.testing.assert_array_equal(seen[0][0, 0], [expected])


def test_a_source_is_read_strip_by_strip_and_rows_once_per_strip(fake, recording):
    source = recording(phantom((2,), (100, 60)))
    plan = plan_tiles((100, 60), tile=(16, 16), overlap=0.25, batch=2)
    predict_scores(source, fake("identity"), plan)
    assert len(source.reads) == len(plan.starts[0])
    assert all(stop[0] - start[0] == 16 for start, stop in source.reads)
    volume = recording(phantom((1,), (20, 30, 40)))
    plan = plan_tiles((20, 30, 40), tile=(8, 8, 8), overlap=0.25, batch=3)
    predict_scores(volume, fake("identity"), plan)
    assert len(volume.reads) == len(plan.starts[0]) * len(plan.starts[1])
    assert all(stop[:1] != (20,) or start[0] > 0 for start, stop in volume.reads)


def test_memory_is_bounded_by_the_tile_and_not_by_the_image(fake):
    """A source that makes its pixels, 8 times as long, takes no more memory."""

    class Endless:
        def __init__(self, rows):
            self.shape = (1, rows, 256)

        def read(self, start, stop):
            return np.ones((1, *(b - a for a, b in zip(start, stop, strict=True))), np.float32)

    def peak(rows):
        plan = plan_tiles((rows, 256), tile=(64, 64), overlap=0.25)
        gc.collect()
        tracemalloc.start()
        for start, stop, scores in predict_slabs(Endless(rows), fake("many"), plan):
            assert scores.shape == (5, stop - start, 256)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    band = 5 * 64 * 256 * 4
    small, large = peak(1024), peak(8192)
    assert large < small + band // 2  # the blending weights, one short vector per row of tiles
    assert large < 4 * band


def test_progress_counts_tiles_and_tells_the_time_left(fake):
    heard = []
    plan = plan_tiles((64, 64), tile=(16, 16), overlap=0.0, batch=3)
    predict_scores(
        ArraySource(phantom((1,), (64, 64))), fake("identity"), plan, listener=heard.append, item="a.tif"
    )
    assert all(isinstance(event, Progress) and event.stage == "predict" for event in heard)
    assert [event.current for event in heard] == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert {event.total for event in heard} == {16}
    assert {event.item for event in heard} == {"a.tif"}
    assert heard[0].eta is None
    assert heard[-1].eta == 0


def test_cancel_stops_between_two_tiles(fake):
    runtime = fake("identity")

    def listener(event):
        if event.current == 3:
            raise Cancelled

    plan = plan_tiles((64, 64), tile=(16, 16), overlap=0.0)
    with pytest.raises(Cancelled):
        predict_scores(ArraySource(phantom((1,), (64, 64))), runtime, plan, listener=listener)
    assert len(runtime.shapes) == 3


def test_a_consumer_that_stops_early_closes_the_generator(fake):
    runtime = fake("identity")
    plan = plan_tiles((64, 64), tile=(16, 16), overlap=0.0)
    bands = predict_slabs(ArraySource(phantom((1,), (64, 64))), runtime, plan)
    next(bands)
    bands.close()
    assert len(runtime.shapes) == 4


def test_bands_are_the_callers_own(fake):
    plan = plan_tiles((64, 16), tile=(16, 16), overlap=0.0)
    source = ArraySource(np.ones((1, 64, 16)))
    for _, _, scores in predict_slabs(source, fake("identity"), plan):
        np.testing.assert_array_equal(scores, 1)
        scores[:] = 9


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
@pytest.mark.parametrize("room", [0, 1 << 40])
def test_torch_tensors_are_blended_by_the_same_lines(fake, monkeypatch, overlap, room):
    torch = pytest.importorskip("torch")
    image = phantom((2,), (50, 41))
    plan = plan_tiles((50, 41), tile=(16, 16), overlap=overlap, batch=2)
    runtime = fake(lambda batch: torch.from_numpy(batch.copy()))
    monkeypatch.setattr(type(runtime.device), "free", lambda self: room)  # no room: blended in main memory
    scores = predict_scores(ArraySource(image), runtime, plan)
    expected = predict_scores(ArraySource(image), fake("identity"), plan)
    assert isinstance(scores, np.ndarray)
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize(
    "network",
    [lambda b: b[..., 1:], lambda b: b[:, 0], lambda b: np.repeat(b, 2, 0), lambda b: b.repeat(2, -1)],
)
def test_an_output_of_another_size_is_refused(fake, network):
    plan = plan_tiles((20, 20), tile=(16, 16))
    with pytest.raises(InputMismatch, match="tiles"):
        predict_scores(ArraySource(np.ones((1, 20, 20))), fake(network), plan)


def _coarse(cell):
    """A network that answers with the first pixel of each cell."""
    return lambda batch: batch[(..., *(slice(None, None, n) for n in cell))]


@pytest.mark.parametrize(
    ("shape", "cell"), [((5, 37, 50), (1, 2, 2)), ((41, 30), (4, 2)), ((9, 11, 13), (2, 2, 1))]
)
@pytest.mark.parametrize("blend", ["nearest", "gaussian"])
def test_answers_for_cells_count_for_all_their_pixels(fake, shape, cell, blend):
    image = phantom((2,), shape)
    plan = plan_tiles(
        shape, tile=(8,) * len(shape), overlap=0.5, batch=3, multiple_of=(4,) * len(shape), spread="aligned"
    )
    plan = replace(plan, cell=cell, blend=blend)
    expected = image[(slice(None), *(slice(None, None, n) for n in cell))]
    for axis, n in enumerate(cell):
        expected = expected.repeat(n, axis + 1)
    expected = expected[(slice(None), *map(slice, shape))]
    scores = predict_scores(ArraySource(image), fake(_coarse(cell)), plan)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    with pytest.raises(InputMismatch, match=r"tiles of \(8"):
        predict_scores(ArraySource(image), fake("identity"), plan)


@pytest.mark.parametrize(
    ("shape", "cell"), [((5, 37, 50), (1, 2, 2)), ((41, 30), ()), ((9, 11, 13), (2, 2, 1))]
)
def test_pieces_are_each_place_once(fake, shape, cell):
    image, steps = phantom((2,), shape), cell or (1,) * len(shape)
    plan = plan_tiles(
        shape, tile=(8,) * len(shape), overlap=0.4, batch=3, multiple_of=(4,) * len(shape), spread="aligned"
    )
    plan = replace(plan, cell=cell, blend="nearest")
    places = [-(-n // 4) * 4 // step for n, step in zip(plan.padded, steps, strict=True)]
    found, times = np.zeros((2, *places), np.float32), np.zeros(places, int)
    last = 0
    for start, scores in predict_pieces(ArraySource(image), fake(_coarse(steps)), plan):
        assert start[0] >= last
        last = start[0]
        key = tuple(slice(a // n, a // n + m) for a, n, m in zip(start, steps, scores.shape[1:], strict=True))
        found[(slice(None), *key)] = scores
        times[key] += 1
    assert (times == 1).all()
    expected = image[(slice(None), *(slice(None, None, n) for n in steps))]
    np.testing.assert_array_equal(found[(slice(None), *map(slice, expected.shape[1:]))], expected)


def test_a_plan_for_another_image_is_refused(fake):
    with pytest.raises(InputMismatch, match="planned"):
        predict_scores(
            ArraySource(np.ones((1, 20, 21))), fake("identity"), plan_tiles((20, 20), tile=(16, 16))
        )


@pytest.mark.parametrize(("shape", "tile"), [((5, 7), (8, 12)), ((3, 40), (8, 16)), ((6, 5, 9), (8, 8, 4))])
def test_small_images_are_padded_with_zeros_where_the_card_says_so(fake, shape, tile):
    image = phantom((2,), shape) + 1
    plan = replace(plan_tiles(shape, tile=tile, overlap=0.5, minimum=tile), pad="zero")
    seen = []
    runtime = fake("identity")

    def spy(batch):
        seen.extend(batch.copy())
        return runtime(batch)

    spy.device = runtime.device
    np.testing.assert_allclose(predict_scores(ArraySource(image), spy, plan), image, rtol=0, atol=1e-6)
    before = [max(-starts[0], 0) for starts in plan.starts]
    assert before == [max(t - n, 0) // 2 for n, t in zip(shape, tile, strict=True)]
    inner = [slice(b, b + n) for b, n in zip(before, shape, strict=True)]
    for part in seen:
        outside = np.ones(part.shape, bool)
        outside[(slice(None), *inner)] = False
        assert not part[outside].any()
        assert part[~outside].min() >= 1


@pytest.mark.parametrize("batch", [1, 3])
def test_floored_weights_give_the_identity_back(fake, batch):
    image = phantom((2,), (33, 20, 47))
    plan = plan_tiles(image.shape[1:], tile=(16, 12, 16), overlap=0.5, batch=batch, spread="stride")
    scores = predict_scores(ArraySource(image), fake(lambda tiles: tiles), replace(plan, blend="floored"))
    np.testing.assert_allclose(scores, image, atol=1e-6)


@pytest.mark.parametrize("shape", [(301, 267), (5, 400), (209, 16)])
def test_tiles_that_reach_beyond_the_image(fake, shape):
    image = phantom((2,), shape)
    cut = plan_tiles(shape, tile=(224, 224), overlap=0.1, batch=2, spread="cellpose")
    plan = replace(cut, pad="zero", blend="cellpose")
    scores = predict_scores(ArraySource(image), fake("identity"), plan)
    np.testing.assert_allclose(scores, image, rtol=0, atol=1e-6)
    # the network sees zeros there
    runtime = fake("identity")
    seen = []

    def watched(batch):
        seen.append(batch.copy())
        return runtime(batch)

    watched.device = runtime.device
    predict_scores(ArraySource(image + 1), watched, plan)
    corner = seen[0][0]
    before = [-starts[0] for starts in plan.starts]
    assert (corner[:, : before[0]] == 0).all()
    assert (corner[:, :, : before[1]] == 0).all()
    assert (corner[:, before[0] : before[0] + shape[0], before[1] : before[1] + shape[1]] >= 1).all()


@pytest.mark.parametrize("shape", [(5, 7), (40, 33), (61, 90), (7, 21, 50)])
@pytest.mark.parametrize("pad", ["reflect", "edge", "zero"])
@pytest.mark.parametrize("blend", ["nearest", "gaussian"])
@pytest.mark.parametrize("batch", [1, 3])
def test_aligned_tiles_give_the_identity_back(fake, shape, pad, blend, batch):
    image = phantom((2,), shape)
    axes = len(shape)
    plan = plan_tiles(
        shape, tile=(24,) * axes, overlap=0.4, multiple_of=(4,) * axes, batch=batch, spread="aligned"
    )
    scores = predict_scores(ArraySource(image), fake("identity"), replace(plan, pad=pad, blend=blend))
    np.testing.assert_allclose(scores, image, rtol=0, atol=0 if blend == "nearest" else 1e-6)


def test_aligned_tiles_are_padded_behind_the_end_as_numpy_pads(fake):
    image = phantom((1,), (30, 5))
    runtime, seen = fake("identity"), []
    plan = plan_tiles((30, 5), tile=(16, 16), overlap=0.5, multiple_of=(8, 8), spread="aligned")

    def recorded(tiles):
        seen.append(tiles[0].copy())
        return runtime(tiles)

    recorded.device = runtime.device
    predict_scores(ArraySource(image), recorded, replace(plan, blend="nearest"))
    whole = np.pad(image, ((0, 0), (0, 2), (0, 3)), "reflect")
    assert plan.starts == ((0, 8, 16), (0,))
    for tile, start in zip(seen, plan.starts[0], strict=True):
        np.testing.assert_array_equal(tile, whole[:, start : start + 16])
