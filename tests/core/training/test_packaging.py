"""What every family does when its network becomes a package."""

from pathlib import Path

import numpy as np
import pytest

from deepbio.image import RGB
from deepbio.library.content import PackageContent
from deepbio.training import Description, packaging
from deepbio.training.packaging import input_names, middle_of, training_picture, write_scored


@pytest.mark.parametrize(
    ("shape", "divisor", "edge", "rows", "columns"),
    [
        ((1, 13, 21), (4, 4), 8, slice(2, 10), slice(6, 14)),  # the middle, in multiples that fit the edge
        ((2, 13, 21), (4, 2), 256, slice(0, 12), slice(0, 20)),
        ((1, 13, 21), (8, 16), 0, slice(2, 10), slice(2, 18)),  # a network of one size
    ],
)
def test_the_middle_of_a_sample(shape, divisor, edge, rows, columns) -> None:
    sample = np.random.default_rng(0).integers(0, 900, shape).astype(np.uint16)
    found = middle_of(sample, divisor, edge)
    np.testing.assert_array_equal(found, sample[:, rows, columns])
    assert found.flags.c_contiguous


def test_a_sample_that_is_too_small_is_mirrored() -> None:
    sample = np.arange(5 * 7 * 11).reshape(1, 5, 7, 11)
    found = middle_of(sample, (8, 8, 8), 64)
    np.testing.assert_array_equal(found[:, :5, :7], sample[..., 1:9])
    np.testing.assert_array_equal(found[:, 5:, :7], sample[:, [4, 3, 2], :, 1:9])
    np.testing.assert_array_equal(found[:, :5, 7], sample[:, :, 6, 1:9])


def test_names_of_channels() -> None:
    assert input_names(3) == RGB
    assert input_names(4) == ("channel_1", "channel_2", "channel_3", "channel_4")


def test_a_package_is_there_when_it_is_scored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = Description().words
    content = PackageContent(
        **words, task="segment", inputs=[], outputs=[], network="unet", safetensors=Path()
    )
    written: list[tuple[Path, int, bool]] = []
    monkeypatch.setattr(
        packaging,
        "write_package",
        lambda output, content, replace: written.append((output, len(content.scores), replace)),
    )

    def score() -> list[dict[str, object]]:
        assert len(written) == 1
        return [{"metric": "Dice", "value": 0.5}]

    write_scored(tmp_path / "made", content, score)
    assert written == [(tmp_path / "made", 0, True), (tmp_path / "made", 1, True)]


def test_a_curve_that_was_not_drawn_is_left_out(tmp_path: Path) -> None:
    assert training_picture(tmp_path) == {}
    (tmp_path / "history.png").touch()
    assert training_picture(tmp_path) == {"training.png": tmp_path / "history.png"}
