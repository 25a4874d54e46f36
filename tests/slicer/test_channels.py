"""Several volumes of the scene as channels of one image: with the logic, and with clicks in the form."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from SlicerDeepBioLib.channels import check_alike, missing, read_channels  # noqa: E402
from SlicerDeepBioLib.client import WorkerClient, WorkerError  # noqa: E402
from SlicerDeepBioLib.inputs import Input  # noqa: E402
from SlicerDeepBioLib.logic import DeepBioLogic  # noqa: E402
from SlicerDeepBioLib.scene import SceneError  # noqa: E402
from tests.slicer.nodes import add_sequence, add_transform, add_volume, affine, labels_of  # noqa: E402
from tests.slicer.two_channels import expected, write_two_channel_model  # noqa: E402

TIMEOUT = 120
ONNX = {"runtime": "onnx", "device": "cpu"}
SHAPE = (6, 7, 9)
MATRIX = affine()


def pair_of_pixels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.integers(0, 250, SHAPE, np.int16), rng.integers(0, 250, SHAPE, np.int16).astype(np.float32)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerClient, dict[str, Any]]]:
    """A worker whose library has models of two and of five volumes, and their cards."""
    home = tmp_path_factory.mktemp("home")
    write_two_channel_model(home / "models")
    write_two_channel_model(home / "models", name="many", count=5)
    write_two_channel_model(home / "models", name="first", grey="first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(home))
        made = WorkerClient(sys.executable)
        told = made.submit({"command": "models"}).wait(TIMEOUT)["models"]
    yield made, {card["name"]: card for card in told}
    made.stop()


@pytest.fixture
def pair(scene: Any, client: Any) -> Iterator[tuple[DeepBioLogic, dict[str, Any], Any]]:
    made = DeepBioLogic(client[0], scene)
    yield made, client[1], scene
    made.close()


def test_the_cards_tell_which_volumes_a_model_takes(client: Any) -> None:
    told = {name: (card["volumes"], card["least_volumes"]) for name, card in client[1].items()}
    assert told["pair"] == (["T1", "FLAIR"], 2)
    assert told["first"] == (["T1", "FLAIR"], 1)
    assert told["many"] == ([f"echo {k}" for k in range(1, 6)], 5)
    assert told["hippocampus"] == told["nuclei"] == told["blood-cells"] == ([], 1)


def test_two_volumes_under_an_oblique_transform(pair: Any) -> None:
    logic, cards, scene = pair
    first, second = pair_of_pixels()
    turn = add_transform(scene, affine((1.0, 1.0, 1.0)), "turn")
    nodes = [add_volume(scene, pixels, MATRIX, name) for pixels, name in ((first, "a"), (second, "b"))]
    for node in nodes:
        node.SetAndObserveTransformNodeID(turn.GetID())
    run = logic.segment(nodes[0], cards["pair"], ONNX, further=nodes[1:]).wait(TIMEOUT)
    np.testing.assert_array_equal(labels_of(run.segmentation, nodes[0]), expected(first, second))
    assert run.segmentation.GetTransformNodeID() == turn.GetID()
    swapped = logic.segment(nodes[1], cards["pair"], ONNX, further=nodes[:1]).wait(TIMEOUT)
    np.testing.assert_array_equal(labels_of(swapped.segmentation, nodes[1]), expected(second, first))


def test_a_model_may_do_with_the_first(pair: Any) -> None:
    logic, cards, scene = pair
    first, _ = pair_of_pixels()
    node = add_volume(scene, first, MATRIX, "a")
    run = logic.segment(node, cards["first"], ONNX).wait(TIMEOUT)
    np.testing.assert_array_equal(labels_of(run.segmentation, node), expected(first, np.zeros_like(first)))


def test_what_goes_to_the_worker_is_put_together_part_by_part(scene: Any) -> None:
    first, second = pair_of_pixels()
    nodes = [add_volume(scene, first, MATRIX, "a"), add_volume(scene, second, MATRIX, "b")]
    source = read_channels(nodes)
    assert (source.axes, source.shape, source.dtype.name) == ("CZYX", (2, *SHAPE), "float32")
    assert source.channels == ("a", "b")
    assert all(np.shares_memory(part, read_channels(nodes).parts[k]) for k, part in enumerate(source.parts))


def test_volumes_that_do_not_lie_alike_are_told_apart(scene: Any) -> None:
    first, _ = pair_of_pixels()
    node = add_volume(scene, first, MATRIX, "T1")

    def other(pixels: np.ndarray = first, matrix: np.ndarray = MATRIX) -> list[Any]:
        return [node, add_volume(scene, pixels, matrix, "FLAIR")]

    check_alike(other())
    rounded = MATRIX.copy()
    rounded[:3, 3] += 4e-4
    check_alike(other(matrix=rounded))
    moved = MATRIX.copy()
    moved[:3, 3] += [0, 0, 2]
    for nodes, message in (
        (other(first[:5]), "9 x 7 x 5 voxels, not 9 x 7 x 6"),
        (other(matrix=moved), "first voxel is 2 mm away"),
        (other(matrix=MATRIX @ np.diag([1.0, 1.0, 1.5, 1.0])), "its spacing is"),
        (other(matrix=affine(angles=(0.3, -0.7, 0.81))), "its axes are turned"),
    ):
        with pytest.raises(
            SceneError, match=f"'FLAIR' does not lie on the voxels of 'T1'.*{message}.*Resample"
        ):
            check_alike(nodes)
    with pytest.raises(SceneError, match="is a label map; a channel is a volume of intensities"):
        check_alike([node, add_volume(scene, first, MATRIX, "labels", kind="vtkMRMLLabelMapVolumeNode")])


def test_slices_of_different_places_are_told_apart(scene: Any) -> None:
    """A volume of one slice is given to models as a plane without a place; the two must still lie alike."""
    first, _ = pair_of_pixels()
    further = MATRIX.copy()
    further[:3, 3] += MATRIX[:3, 2]  # the next slice
    nodes = [add_volume(scene, first[:1], matrix, name) for matrix, name in ((MATRIX, "a"), (further, "b"))]
    with pytest.raises(
        SceneError, match=r"'b' does not lie on the voxels of 'a': its first voxel is 1\.2 mm away"
    ):
        check_alike(nodes)


def test_a_channel_that_is_missing_has_a_name() -> None:
    some = {"volumes": ["T1", "T2", "FLAIR"], "least_volumes": 1}
    every = {**some, "least_volumes": 3}
    node = object()
    for card, further, name in (
        (every, [None, None], "T2"),
        (every, [node, None], "FLAIR"),
        (every, [node], "FLAIR"),
        (every, [node, node], ""),
        (some, [None, None], ""),
        (some, [None, node], "T2"),
        (some, [node, None], ""),
    ):
        assert missing(card, some["volumes"], further) == name, (card, further)
    assert missing(every, [], []) == ""


def test_a_sequence_is_no_first_channel_and_too_many_are_refused(pair: Any) -> None:
    logic, cards, scene = pair
    first, _ = pair_of_pixels()
    node = add_volume(scene, first, MATRIX, "a")
    too_many = logic.segment(node, cards["pair"], ONNX, further=[node, node])
    with pytest.raises(SceneError, match=r"takes 2 \(T1, FLAIR\); found 3 volumes"):
        too_many.wait(TIMEOUT)
    one_image = logic.segment(node, cards["hippocampus"], ONNX, further=[node])
    with pytest.raises(SceneError, match="takes one image; found 2 volumes"):
        one_image.wait(TIMEOUT)
    alone = logic.segment(node, cards["pair"], ONNX)
    with pytest.raises(WorkerError, match="takes 2 channels; the image has 1"):
        alone.wait(TIMEOUT)
    browser = add_sequence(scene, [first, first], MATRIX)[0]
    with pytest.raises(SceneError, match="is a sequence; the first of several channels"):
        Input(browser, [node])


def test_a_volume_that_is_removed_ends_the_run(pair: Any) -> None:
    logic, cards, scene = pair
    first, second = pair_of_pixels()
    nodes = [add_volume(scene, first, MATRIX, "a"), add_volume(scene, second, MATRIX, "b")]
    run = logic.segment(nodes[0], cards["pair"], ONNX, further=nodes[1:])
    scene.RemoveNode(nodes[1])
    while not run.finished:
        logic.step()
    assert run.state == "cancelled"
