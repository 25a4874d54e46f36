"""Classification with a network that is a mean: probabilities must be exact."""

import numpy as np
import pytest

from deepbio.batch import run_many
from deepbio.engine.tensors import run_tensors
from deepbio.errors import InputMismatch, OptionError
from deepbio.events import Notice, Progress
from deepbio.image import RGB, Grid, Image, LabelMap
from deepbio.io import write
from deepbio.library.check import check_package, validate_package
from deepbio.options import RunOptions
from deepbio.predict import load_model
from deepbio.render.classify import picture
from tests.core.tasks.bright import p_bright, write_bright_model


def _oblique(shape: tuple[int, ...], unit: str = "micrometer") -> Grid:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    if len(shape) == 2:
        return Grid(shape, (0.8, 0.5), (-13.0, 7.5), turn[:2, 1::-1], unit)
    return Grid(shape, (1.2, 0.8, 0.5), (-13.0, 7.5, 101.0), turn[:, ::-1], unit)


def _noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2500, shape).astype(np.int16)


@pytest.mark.parametrize("runtime", ["onnx", "auto"])
def test_the_package_tests_itself(bright2d, bright3d, runtime) -> None:
    for folder in (bright2d, bright3d):
        card = load_model(folder).card
        report = check_package(card, lambda one, tensors: run_tensors(one, tensors, runtime=runtime))
        assert report.passed, report


# bioimageio.spec leaves files open and says so by its own warnings
@pytest.mark.filterwarnings("ignore")
def test_the_package_keeps_the_format(bright2d, bright3d) -> None:
    pytest.importorskip("bioimageio.spec")
    assert [validate_package(folder) for folder in (bright2d, bright3d)] == [(), ()]


def test_an_image_of_the_right_size_is_taken_as_it_is(bright2d) -> None:
    pixels = _noise((8, 8))
    result = load_model(bright2d).run(Image(pixels))
    expected = p_bright(pixels.mean())
    assert list(result.table.columns) == ["class", "probability", "p_bright", "p_rather_dark"]
    assert result.table["p_bright"][0] == pytest.approx(expected, abs=1e-6)
    assert result.table["class"][0] == ("bright" if expected > 0.5 else "rather dark")
    assert result.table["probability"][0] == pytest.approx(max(expected, 1 - expected), abs=1e-6)
    assert result.labels is None
    assert result.image is None
    assert result.record["classify"] == "whole"
    assert result.record["runtime"] in ("onnx", "openvino")


def test_other_sizes_are_resampled_with_their_ratio_kept(bright2d) -> None:
    ramp = np.broadcast_to(np.linspace(0, 3000, 33), (17, 33)).astype(np.float32)
    result = load_model(bright2d).run(Image(ramp))
    # 4 of 8 rows are the image, the others its first and last row: all rows are alike
    assert result.table["p_bright"][0] == pytest.approx(p_bright(1500), abs=2e-3)


def test_much_larger_images_are_pointed_out(bright2d) -> None:
    told = []
    load_model(bright2d).run(Image(_noise((80, 80))), on_progress=told.append)
    assert any(isinstance(event, Notice) and "classify=tiles" in event.message for event in told)


def test_every_frame_and_slice_has_a_row(bright2d) -> None:
    pixels = _noise((2, 3, 4, 8, 8))  # TCZYX
    for t in range(2):
        for z in range(4):
            pixels[t, :, z] += 300 * (4 * t + z)
    image = Image(pixels, "TCZYX")
    table = load_model(bright2d).run(image, RunOptions(channel="2", per_slice=True)).table
    assert table["frame"].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert table["slice"].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    expected = [p_bright(pixels[t, 1, z].mean()) for t in range(2) for z in range(4)]
    np.testing.assert_allclose(table["p_bright"], expected, atol=1e-6)


def test_a_volume_of_another_depth(bright3d) -> None:
    pixels = np.broadcast_to(_noise((1, 8, 8)), (7, 8, 8)).copy()
    table = load_model(bright3d).run(Image(pixels, "ZYX", _oblique((7, 8, 8)))).table
    assert table["p_bright"][0] == pytest.approx(p_bright(pixels.mean()), abs=1e-5)


@pytest.mark.parametrize("shape", [(37, 53), (8, 8), (3, 5), (9, 40)])
def test_tiles_give_a_map_that_lies_on_the_image(bright2d, shape) -> None:
    pixels = np.full(shape, 400, np.int16)
    pixels[:, shape[1] // 2 :] = 1900
    image = Image(pixels, "YX", _oblique(shape))
    result = load_model(bright2d).run(image, RunOptions(classify="tiles"))
    heat = result.image
    assert heat.axes == "CYX"
    assert heat.channels == ("bright", "rather dark")
    assert heat.shape[1:] == tuple(-(-n // 4) for n in shape)  # tiles of 8, overlapping by half
    assert heat.grid.spacing == pytest.approx((3.2, 2.0))
    np.testing.assert_allclose(heat.grid.to_world((0, 0)), image.grid.to_world((1.5, 1.5)))
    np.testing.assert_allclose(heat.numpy().sum(0), 1, atol=1e-6)
    if shape[1] > 20:
        assert heat.numpy()[0, 0, 0] == pytest.approx(p_bright(400), abs=1e-6)
        assert heat.numpy()[0, 0, -1] == pytest.approx(p_bright(1900), abs=1e-6)
    assert len(result.table) == result.record["tiles"]


def test_each_step_of_the_map_is_the_mean_of_the_tiles_over_it(bright2d) -> None:
    pixels = _noise((16, 12))
    told = []
    options = RunOptions(classify="tiles", overlap=0.5, batch=2)
    result = load_model(bright2d).run(Image(pixels), options, on_progress=told.append)
    assert [(one.stage, one.current, one.total) for one in told if isinstance(one, Progress)] == [
        ("predict", done, 6) for done in (0, 2, 4, 6)
    ]
    tiles = np.array([[p_bright(pixels[y : y + 8, x : x + 8].mean()) for x in (0, 4)] for y in (0, 4, 8)])
    np.testing.assert_allclose(result.table["p_bright"].reshape(3, 2), tiles, atol=1e-6)
    assert result.table["y"].tolist() == [3.5, 3.5, 7.5, 7.5, 11.5, 11.5]
    heat = result.image.numpy()[0]
    assert heat[0, 0] == pytest.approx(tiles[0, 0], abs=1e-6)
    assert heat[1, 1] == pytest.approx(tiles[:2, :2].mean(), abs=1e-6)
    assert heat[3, 2] == pytest.approx(tiles[2, 1], abs=1e-6)


def test_tiles_without_overlap_and_of_another_size(bright2d) -> None:
    pixels = _noise((40, 20))
    result = load_model(bright2d).run(Image(pixels), RunOptions(classify="tiles", overlap=0.0, tile=20))
    assert result.image.shape == (2, 2, 1)
    assert result.record["tile"] == [20, 20]
    # 20 pixels become 8, with wider kernels: the mean stays, about
    assert result.image.numpy()[0, 0, 0] == pytest.approx(p_bright(pixels[:20].mean()), abs=0.05)


def test_tiles_of_a_volume_and_of_a_stack_in_time(bright2d, bright3d) -> None:
    volume = Image(_noise((9, 17, 25)), "ZYX", _oblique((9, 17, 25), "millimeter"))
    heat = load_model(bright3d).run(volume, RunOptions(classify="tiles")).image
    assert heat.axes == "CZYX"
    assert heat.shape == (2, 5, 5, 7)
    np.testing.assert_allclose(heat.grid.to_world((0, 0, 0)), volume.grid.to_world((0.5, 1.5, 1.5)))
    movie = Image(_noise((2, 3, 17, 25)), "TZYX", _oblique((3, 17, 25)), frame_interval=2.0)
    heat = load_model(bright2d).run(movie, RunOptions(classify="tiles", per_slice=True)).image
    assert heat.axes == "TCZYX"
    assert heat.shape == (2, 2, 3, 5, 7)
    assert heat.grid.spacing == pytest.approx((1.2, 3.2, 2.0))
    one = load_model(bright2d).run(Image(movie.numpy()[1, 2]), RunOptions(classify="tiles")).image
    np.testing.assert_allclose(heat.numpy()[1, :, 2], one.numpy(), atol=1e-7)


def _two_discs() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:61, :83]
    labels = np.zeros((61, 83), np.int32)
    labels[(y - 20) ** 2 + (x - 22) ** 2 < 81] = 7
    labels[(y - 52) ** 2 + (x - 70) ** 2 < 81] = 300
    pixels = np.full(labels.shape, 900, np.int16)
    pixels[:, :45], pixels[:, 45:] = 2200, 100
    return pixels, labels


def test_objects_are_classified_by_their_surroundings(bright2d) -> None:
    pixels, labels = _two_discs()
    image = Image(pixels, "YX", _oblique(labels.shape))
    objects = LabelMap(labels, "YX", image.grid)
    result = load_model(bright2d).run(image, objects=objects)
    table = result.table
    assert table["label"].tolist() == [7, 300]
    assert table["class"].tolist() == ["bright", "rather dark"]
    np.testing.assert_allclose(table["p_bright"], [p_bright(2200), p_bright(100)], atol=1e-5)
    assert table["area"].tolist() == pytest.approx([(labels == n).sum() * 0.4 for n in (7, 300)])
    assert table.units["area"] == "um^2"
    assert table["centroid_x"].tolist() == pytest.approx([22 * 0.5, 70 * 0.5], abs=0.3)
    found = result.labels
    assert found.names == {1: "bright", 2: "rather dark"}
    np.testing.assert_array_equal(found.numpy(), np.select([labels == 7, labels == 300], [1, 2], 0))
    assert found.grid == image.grid
    assert result.record["classify"] == "objects"


@pytest.mark.parametrize("kind", [np.uint32, np.int64, np.uint64])
def test_objects_with_very_large_labels(bright2d, kind) -> None:
    pixels, labels = _two_discs()
    numbers = np.where(labels == 7, 4_000_000_000, np.where(labels == 300, 3_000_000_000, 0)).astype(kind)
    result = load_model(bright2d).run(Image(pixels), objects=LabelMap(numbers))
    assert result.table["label"].tolist() == [3_000_000_000, 4_000_000_000]
    assert result.table["class"].tolist() == ["rather dark", "bright"]
    np.testing.assert_array_equal(result.labels.numpy(), np.select([labels == 7, labels == 300], [1, 2], 0))


def test_objects_from_a_file_and_from_a_model(bright2d, spots2d, tmp_path) -> None:
    pixels, labels = _two_discs()
    write(tmp_path / "labels.tif", LabelMap(labels))
    image, model = Image(pixels), load_model(bright2d)
    table = model.run(image, RunOptions(objects=str(tmp_path / "labels.tif"))).table
    assert table["label"].tolist() == [7, 300]
    for _ in range(2):  # the second time it is open
        table = model.run(image, RunOptions(objects=str(spots2d))).table  # one object: the bright half
        assert table["class"].tolist() == ["bright"]
    model.close()


def test_small_objects_and_frames_without_any(bright2d) -> None:
    pixels, labels = _two_discs()
    labels[0, :3] = 2
    movie = np.stack((labels, np.zeros_like(labels)))
    image = Image(np.stack((pixels, pixels)), "TYX")
    result = load_model(bright2d).run(image, RunOptions(min_size=10), objects=LabelMap(movie, "TYX"))
    assert result.table["label"].tolist() == [7, 300]
    assert result.table["frame"].tolist() == [1, 1]
    assert not result.labels.numpy()[1].any()
    assert not result.labels.numpy()[0, 0].any()


def test_objects_of_a_volume(bright3d) -> None:
    labels = np.zeros((5, 27, 31), np.int32)
    labels[1:4, 3:12, 2:13] = 4
    labels[2, 20:26, 20:30] = 9
    pixels = np.where(np.arange(31) < 16, 1800, 200).astype(np.int16) * np.ones((5, 27, 1), np.int16)
    image = Image(pixels, "ZYX", _oblique(labels.shape, "millimeter"))
    table = load_model(bright3d).run(image, objects=LabelMap(labels, "ZYX", image.grid)).table
    assert table["class"].tolist() == ["bright", "rather dark"]
    assert table["volume"][0] == pytest.approx(3 * 9 * 11 * 1.2 * 0.8 * 0.5)


def test_mirror_images_are_averaged(bright2d) -> None:
    result = load_model(bright2d).run(Image(_noise((8, 8))), RunOptions(mirror=True))
    assert result.record["mirror"] == [3]
    assert result.table["p_bright"][0] == pytest.approx(p_bright(_noise((8, 8)).mean()), abs=1e-6)


def test_scores_without_softmax_become_probabilities(tmp_path) -> None:
    folder = write_bright_model(tmp_path, 2, softmax=False)
    pixels = _noise((8, 8))
    table = load_model(folder).run(Image(pixels)).table
    assert table["p_bright"][0] == pytest.approx(p_bright(pixels.mean()), abs=1e-6)


def test_a_batch_has_all_answers_in_one_table(bright2d, tmp_path) -> None:
    for name, value in (("a", 400), ("b", 1700)):
        write(tmp_path / f"{name}.tif", Image(np.full((8, 8), value, np.uint16)))
    (tmp_path / "c.tif").write_bytes(b"no image")
    rows = run_many(load_model(bright2d), [tmp_path / f"{name}.tif" for name in "abc"], tmp_path / "out")
    assert [row.status for row in rows] == ["done", "done", "failed"]
    lines = (tmp_path / "out" / "classes.csv").read_text().splitlines()
    assert lines[0] == "file,class,probability,p_bright,p_rather_dark"
    assert [line.split(",")[1] for line in lines[1:]] == ["rather dark", "bright"]
    assert float(lines[2].split(",")[3]) == pytest.approx(p_bright(1700))


def test_what_cannot_be(bright2d, bright3d, spots2d) -> None:
    pixels, labels = _two_discs()
    model, image = load_model(bright2d), Image(pixels)
    with pytest.raises(OptionError, match="classify=objects needs the objects"):
        model.run(image, RunOptions(classify="objects"))
    with pytest.raises(OptionError, match="classify=tiles does not use them"):
        model.run(image, RunOptions(classify="tiles"), objects=LabelMap(labels))
    with pytest.raises(InputMismatch, match="The objects have Y=60 x X=83; the image has Y=61 x X=83"):
        model.run(image, objects=LabelMap(labels[:-1]))
    with pytest.raises(InputMismatch, match="takes 1 channel; the image has 3"):
        model.run(Image(np.zeros((3, 9, 9), np.uint8), "CYX", channels=RGB))
    with pytest.raises(InputMismatch, match="takes 3D stacks; the image is 2D"):
        load_model(bright3d).run(image)
    with pytest.raises(InputMismatch, match="is a stack of 4 slices"):
        model.run(Image(_noise((4, 9, 9)), "ZYX"))
    with pytest.raises(OptionError, match="'objects' is for classifiers"):
        load_model(spots2d).run(image, objects=LabelMap(labels))
    broken = pixels.astype(np.float32)
    broken[3, 4] = np.nan
    with pytest.raises(InputMismatch, match="NaN"):
        model.run(Image(broken))


def test_pictures_show_what_was_found(bright2d) -> None:
    pixels, labels = _two_discs()
    model = load_model(bright2d)
    image = Image(pixels)
    whole = picture(image, model.run(image), model.card, "cells.tif")
    assert whole.mode == "RGB"
    bars = np.asarray(whole)
    assert (bars == (0, 114, 178)).all(-1).any()  # the bar of the likeliest class
    tiles = picture(image, model.run(image, RunOptions(classify="tiles")), model.card, "cells.tif")
    painted = np.asarray(tiles)
    left, right = painted[200, 700], painted[200, 1250]
    assert left.tolist() != right.tolist()
    objects = picture(image, model.run(image, objects=LabelMap(labels)), model.card, "cells.tif")
    assert objects.size[0] > 500
    stack = Image(np.stack([pixels] * 9), "ZYX")
    rows = picture(stack, model.run(stack, RunOptions(per_slice=True)), model.card, "a stack")
    assert rows.height > whole.height
