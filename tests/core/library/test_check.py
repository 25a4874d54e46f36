"""Packages test themselves: a real foreign one with ONNX Runtime, and every bundled one."""

import numpy as np
import pytest

from deepbio.engine.steps import apply_steps
from deepbio.errors import CardError, WeightsError
from deepbio.library.card import read_card
from deepbio.library.check import check_package
from deepbio.library.store import bundled_folder

BUNDLED = sorted(path.parent for path in bundled_folder().glob("*/bioimageio.yaml"))


def run_onnx(card, tensors):
    """The smallest runner that can be: one input, one output, ONNX Runtime, no tiles."""
    import onnxruntime

    session = onnxruntime.InferenceSession(card.weights_of("onnx").path, providers=["CPUExecutionProvider"])
    pixels = apply_steps(tensors[card.input.id], card.input.axis_ids, card.input.steps)
    (scores,) = session.run(None, {session.get_inputs()[0].name: pixels})
    return {card.output.id: apply_steps(scores, card.output.axis_ids, card.output.steps)}


def test_the_real_package_gives_its_own_output(real_folder):
    report = check_package(read_card(real_folder), run_onnx)
    assert report.passed
    assert report.difference < 1e-5
    assert report.outputs[0].total == 512 * 512
    assert report.seconds > 0


def test_the_real_package_runs_here_as_there(real_folder):
    report = check_package(read_card(real_folder), pytest.importorskip("deepbio.engine.tensors").run_tensors)
    assert report.passed
    assert report.difference < 1e-5


def expected_of(card):
    return {card.output.id: np.load(card.output.test_tensor)}


def test_a_difference_is_told(package):
    card = read_card(package)

    def run(card, tensors):
        found = expected_of(card)
        found["scores"][0, 0, 1, 2, 3] += 0.25
        return found

    report = check_package(card, run)
    assert not report.passed
    assert report.difference == 0.25
    assert (report.outputs[0].mismatched, report.outputs[0].total) == (1, 3 * 32 * 128)
    assert report.outputs[0].message == "1 of 12288 values differ, by up to 0.25."


BAD_RUNS = {
    "shape": (lambda card, tensors: {"scores": np.zeros((1, 1, 3, 32, 64))}, r"shape is \(1, 1, 3, 32, 64\); expected"),
    "name": (lambda card, tensors: {"other": np.zeros(1)}, "gave no 'scores', only other"),
    "not a number": (lambda card, tensors: {"scores": expected_of(card)["scores"] * np.nan}, "12288 of 12288 values differ"),
}  # fmt: skip


@pytest.mark.parametrize(("run", "message"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_wrong_outputs_do_not_pass(package, run, message):
    report = check_package(read_card(package), run)
    assert not report.passed
    assert not report.difference < 1
    (output,) = report.outputs
    assert __import__("re").search(message, output.message)


def test_the_runner_gets_the_test_input(package):
    seen = {}

    def run(card, tensors):
        seen.update(tensors)
        return expected_of(card)

    assert check_package(read_card(package), run).passed
    np.testing.assert_array_equal(seen["raw"], np.load(package / "test_input.npy"))


def with_tolerance(*rows):
    def change(card):
        card["config"]["bioimageio"] = {"reproducibility_tolerance": list(rows)}

    return change


@pytest.mark.parametrize(
    ("rows", "passed"),
    [
        ([], False),
        ([{"absolute_tolerance": 0.3}], True),
        ([{"absolute_tolerance": 0.3, "output_ids": ["other"]}], False),
        ([{"absolute_tolerance": 0.3, "output_ids": ["scores"]}], True),
        ([{"absolute_tolerance": 0.3, "weights_formats": ["onnx"]}], False),
        ([{"relative_tolerance": 0.6}], True),
        ([{"mismatched_elements_per_million": 82}], True),  # 1 of 12288
        ([{"mismatched_elements_per_million": 81}], False),
    ],
)
def test_the_card_says_what_may_differ(tmp_path, tiny, rows, passed):
    def run(card, tensors):
        found = expected_of(card)
        found["scores"][0, 0, 1, 2, 3] += 0.25
        return found

    card = read_card(tiny(tmp_path / "m", with_tolerance(*rows)))
    assert check_package(card, run).passed is passed


def test_a_tolerance_that_is_no_number(tmp_path, tiny):
    card = read_card(tiny(tmp_path / "m", with_tolerance({"absolute_tolerance": "some"})))
    with pytest.raises(CardError, match="not in numbers"):
        check_package(card, lambda card, tensors: expected_of(card))


def test_a_package_without_tests_does_not_pass(package):
    (package / "test_output.npy").unlink()
    report = check_package(read_card(package), lambda card, tensors: {})
    assert not report.passed
    assert report.messages == ("The package has no test file for scores.",)
    assert report.difference == float("inf")


def test_weights_are_verified_before_anything_runs(package):
    (package / "weights.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match="damaged"):
        check_package(read_card(package), lambda card, tensors: pytest.fail("it ran"))


def test_test_files_are_never_unpickled(package):
    np.save(package / "test_input.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CardError, match="not a numpy array"):
        check_package(read_card(package), lambda card, tensors: pytest.fail("it ran"))
    np.save(package / "test_input.npy", np.zeros((2, 5)))
    with pytest.raises(CardError, match=r"shape \(2, 5\); the card's tensor 'raw' has the axes batch"):
        check_package(read_card(package), lambda card, tensors: pytest.fail("it ran"))


@pytest.mark.parametrize("folder", BUNDLED, ids=lambda path: path.name)
class TestBundled:
    """What every model that ships must have."""

    def test_its_own_output(self, folder):
        tensors = pytest.importorskip("deepbio.engine.tensors")
        report = check_package(read_card(folder), tensors.run_tensors)
        assert report.passed, [output.message for output in report.outputs] + list(report.messages)

    def test_its_card_is_complete(self, folder):
        card = read_card(folder)
        assert card.notes == ()
        assert card.task
        assert card.license
        assert card.citations
        assert card.training_data
        assert card.version
        assert card.modality
        assert card.documentation.read_text(encoding="utf-8")
        assert any(
            row["split"] in ("val", "test") and row["value"] > 0 and row["command"] for row in card.scores
        )

    def test_its_weights_are_small_and_run_without_torch(self, folder):
        card = read_card(folder)
        assert {"safetensors", "onnx"} <= {weights.format for weights in card.weights}
        for weights in card.weights:
            weights.verify()
            assert weights.path.stat().st_size <= 10 * 1024**2

    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # the validator leaves files open
    def test_it_keeps_the_format(self, folder):
        pytest.importorskip("bioimageio.spec")
        from deepbio.library.check import validate_package

        assert validate_package(folder) == ()
