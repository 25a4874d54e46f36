"""Files: whole or not at all, checked before they are read."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepbio.errors import ImageError, OutputError
from deepbio.io import atomic, read
from deepbio.io.files import check_file, final_name, temporary_name


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_appears_only_at_the_end(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.nii.gz") as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("a.nii.gz")
        assert temporary.name.startswith(".")
        assert not (tmp_path / "a.nii.gz").exists()
    assert names(tmp_path) == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_text() == "new"


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, SystemExit, MemoryError])
def test_after_a_failure_all_is_as_before(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.tif"
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert names(tmp_path) == ["a.tif"]
    assert path.read_text() == "old"


def test_a_failure_to_rename_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with (
        pytest.raises(OutputError, match=r"a\.csv.*no space is left") as caught,
        atomic(tmp_path / "a.csv") as temporary,
    ):
        temporary.write_text("text")
    assert caught.value.exit_code == 9
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "no right to write"),
        (errno.EROFS, "no right to write"),
        (errno.EDQUOT, "no space"),
        (errno.EIO, "error"),
    ],
)
def test_the_reason_of_the_system_is_told(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(OutputError, match=words), atomic(tmp_path / "a.csv"):
        raise OSError(number, os.strerror(number))


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist") as caught, atomic(tmp_path / "no" / "a.tif"):
        pass
    assert "Make the folder" in caught.value.hint
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"), atomic(tmp_path / "file" / "a.tif"):
        pass


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write everywhere"
)
def test_a_folder_without_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no right to write"), atomic(tmp_path / "a.tif") as temporary:
            temporary.write_text("text")
    finally:
        tmp_path.chmod(0o700)


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("old")
    with pytest.raises(OutputError, match="exists already"), atomic(tmp_path / "a.tif", overwrite=False):
        pass
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(OutputError, match="it is a folder"), atomic(tmp_path / "folder.tif"):
        pass


def test_folders_replace_folders(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with atomic(tmp_path / "a.zarr") as temporary:
            temporary.mkdir()
            (temporary / "zarr.json").write_text(text)
    assert names(tmp_path) == ["a.zarr"]
    assert (tmp_path / "a.zarr" / "zarr.json").read_text() == "new"


def test_names_of_nested_temporaries_are_found() -> None:
    assert final_name(temporary_name(temporary_name(Path("x/scan.mhd")))) == "scan.mhd"
    assert len(temporary_name(Path("x" * 250 + ".tif")).name) < 255


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("missing.tif", "does not exist", "There is 'Missing.TIF'"),
        ("stem.tif", "does not exist", "There is 'stem.png'"),
        ("no/such.tif", "does not exist", "The folder"),
        ("folder.tif", "is a folder; expected a file", "Name one image"),
        ("empty.tif", "is empty", "again"),
        ("a.zarr", "is a file; expected a folder", "Name one image"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, message: str, hint: str) -> None:
    (tmp_path / "Missing.TIF").write_text("x")
    (tmp_path / "stem.png").write_text("x")
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "empty.tif").touch()
    (tmp_path / "a.zarr").write_text("x")
    with pytest.raises(ImageError, match=message) as caught:
        read(tmp_path / name)
    assert hint in caught.value.hint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(ImageError, match="not a regular file"):
        check_file(tmp_path / "pipe.tif")


SMALL_DISK = """
import resource, signal, sys
import numpy as np
from deepbio import io
from deepbio.errors import OutputError
from deepbio.image import Image, LabelMap
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
pixels = np.random.default_rng(0).integers(0, 2**16, (300, 400), dtype=np.uint16)
item = LabelMap(pixels) if sys.argv[2] == "labels" else Image(pixels)
io.image_suffixes(), io.formats.find_format(io.files.Path(sys.argv[1]))[0].load()  # imports may write
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # files cannot grow beyond, as on a full disk
try:
    io.write(sys.argv[1], item)
except OutputError as error:
    print("OutputError:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".png", ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_a_disk_that_fills_up(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"a{suffix}"
    command = [sys.executable, "-c", SMALL_DISK, str(path), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"OutputError: '{path}' cannot be written"), done.stdout + done.stderr
    assert names(tmp_path) == []


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np
from deepbio import io
from deepbio.image import LabelMap

class Slow:
    shape, dtype = (4, 300, 400), np.dtype(np.uint16)
    seen = 0
    def __getitem__(self, key):
        Slow.seen += 1
        if Slow.seen == 7:  # 4 planes are looked at first, then written
            assert any(name.startswith(".part") for name in os.listdir(os.path.dirname(sys.argv[1])))
            os.kill(os.getpid(), signal.SIGINT)
        return np.ones(self.shape, self.dtype)[key]

io.write(sys.argv[1], LabelMap(Slow(), "ZYX"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
def test_ctrl_c_in_the_middle(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "KeyboardInterrupt" in done.stderr
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["n" * 255, "é" * 120 + ".tif", "码" * 80 + ".ome.tif"])
def test_a_long_name_is_written(tmp_path: Path, name: str) -> None:
    """What the file system takes in bytes, not in letters, is also taken while it is written."""
    with atomic(tmp_path / name) as temporary:
        assert temporary.name.endswith(name[-8:])
        temporary.write_text("x")
    assert [file.name for file in tmp_path.iterdir()] == [name]
