"""Pixels that stay in the file: only what is needed is unpacked, and once."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError
from deepbio.io import read
from deepbio.io.tiff_arrays import MappedTiff, PagedTiff


@pytest.fixture
def tiled(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, np.ndarray]:
    pixels = rng.integers(0, 4000, (3, 150, 210)).astype(np.uint16)
    options = {"photometric": "minisblack", "tile": (32, 48), "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "ZYX"}, **options)
    return tmp_path / "a.tif", pixels


def count_unpacked(array: PagedTiff) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    unpack = array._unpack

    def counting(data: bytes, index: int, **more: object) -> object:
        seen.append((len(data), index))
        return unpack(data, index, **more)

    array._unpack = counting  # type: ignore[method-assign]
    return seen


def test_only_the_tiles_of_a_block_are_unpacked_and_kept(tiled: tuple[Path, np.ndarray]) -> None:
    path, pixels = tiled
    array = read(path, lazy=True).array
    assert isinstance(array, PagedTiff)
    seen = count_unpacked(array)
    np.testing.assert_array_equal(array[1, 40:70, 100:150], pixels[1, 40:70, 100:150])
    assert sorted(index for _, index in seen) == [
        7,
        8,
        12,
        13,
    ]  # rows 1 and 2, columns 2 and 3 of 5 tiles a row
    np.testing.assert_array_equal(array[1, 64:66, 140:200], pixels[1, 64:66, 140:200])
    assert sorted(index for _, index in seen[4:]) == [14]


def test_the_cache_is_bounded(tiled: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepbio.io.tiff_arrays.CACHE", 3 * 32 * 48 * 2)
    path, pixels = tiled
    array = read(path, lazy=True).array
    for _ in range(2):
        np.testing.assert_array_equal(array[...], pixels)
    assert len(array._cache) == 3
    assert array._cached == sum(part.nbytes for part in array._cache.values())


def test_threads_may_share_an_array(tiled: tuple[Path, np.ndarray]) -> None:
    path, pixels = tiled
    array = read(path, lazy=True).array
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda y: array[:, y : y + 9], range(0, 150, 9)))
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), pixels)


def test_mapped_arrays_travel_and_paged_ones_say_so(tmp_path: Path, tiled: tuple[Path, np.ndarray]) -> None:
    pixels = np.arange(77, dtype=np.uint16).reshape(7, 11)
    tifffile.imwrite(tmp_path / "b.tif", pixels, byteorder=">")
    array = read(tmp_path / "b.tif", lazy=True).array
    assert isinstance(array, MappedTiff)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[2:, 3], pixels[2:, 3])
    with pytest.raises(TypeError, match="send its path"):
        pickle.dumps(read(tiled[0], lazy=True).array)


def test_a_file_that_changes_meanwhile_is_an_error(tmp_path: Path, tiled: tuple[Path, np.ndarray]) -> None:
    path = tiled[0]
    paged = read(path, lazy=True).array
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"a\.tif.*(cut off|damaged)"):
        paged[...]
    path.unlink()
    with pytest.raises(ImageError, match=r"a\.tif.*No such file"):
        paged[...]
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((70, 11), np.uint16))
    mapped = read(tmp_path / "b.tif", lazy=True).array
    (tmp_path / "b.tif").write_bytes(b"II*\x00")
    with pytest.raises(ImageError, match=r"b\.tif.*moved, changed or cut off"):
        mapped[...]


LARGE = """
import resource, sys
import numpy as np
from deepbio import io
from deepbio.image import Image, LabelMap

class Made:  # 1.2 GB that nobody holds
    shape, dtype = (12000, 50000), np.dtype(np.uint16)
    def __getitem__(self, key):
        rows = np.arange(self.shape[0])[key[0]]
        return np.broadcast_to((rows[:, None] % 7).astype(np.uint16), (len(rows), self.shape[1]))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

start = peak()
io.write(sys.argv[1], LabelMap(Made()) if sys.argv[2] == "labels" else Image(Made()))
image = io.read(sys.argv[1], lazy=True)
for top in range(0, 12000, 3000):
    assert (image.array[top : top + 300, 100:9000:3] == np.arange(top, top + 300)[:, None] % 7).all()
print(peak() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted differently elsewhere")
@pytest.mark.parametrize("kind", ["image", "labels"])
def test_an_image_of_1200_mb_passes_through_little_memory(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-c", LARGE, str(tmp_path / "a.tif"), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 400
