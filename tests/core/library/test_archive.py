"""Zips that hold no card: what is wanted comes out, and what is hostile does not."""

import stat
import zipfile
from pathlib import Path

import pytest

from deepbio.errors import CardError
from deepbio.library import archive
from deepbio.library.archive import unpack_some


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def is_text(name: str) -> bool:
    return name.endswith(".txt")


def test_what_is_wanted_keeps_its_folders_and_no_program_bit(tmp_path: Path) -> None:
    program = with_mode("a/b/run.txt", stat.S_IFREG | 0o4777)
    source = zip_of(
        tmp_path / "some.zip", ("a/", b""), ("top.txt", b"1"), (program, b"2"), ("a/net.py", b"3")
    )
    target = tmp_path / "made" / "here"
    unpack_some(source, target, is_text)
    assert files_below(target) == {"top.txt": b"1", "a/b/run.txt": b"2"}
    assert not (target / "a/b/run.txt").stat().st_mode & 0o7111


HOSTILE = {
    "climbs out": (("../evil.txt", b"x"), "leaves the model package"),
    "climbs out deep": (("a/../../evil.txt", b"x"), "leaves the model package"),
    "absolute": (("/tmp/deepbio-evil.txt", b"x"), "leaves the model package"),
    "drive": (("C:evil.txt", b"x"), "leaves the model package"),
    "link": ((with_mode("evil.txt", stat.S_IFLNK | 0o777), b"/etc/passwd"), "a link or a device"),
    "link that is not wanted": ((with_mode("evil", stat.S_IFLNK | 0o777), b"/etc"), "a link or a device"),
    "device": ((with_mode("evil.txt", stat.S_IFCHR | 0o666), b""), "a link or a device"),
    "twice": (("good.txt", b"y"), "holds 'good.txt' twice"),
    "file and folder": (("good.txt/y.txt", b"y"), "holds 'good.txt/y.txt' twice"),
}


@pytest.mark.parametrize(("member", "message"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_members_are_refused(tmp_path: Path, member, message: str) -> None:
    source = zip_of(tmp_path / "evil.zip", ("good.txt", b"x"), member)
    with pytest.raises(CardError, match=message):
        unpack_some(source, tmp_path / "in" / "out", is_text)
    assert not list(tmp_path.rglob("evil*.txt"))
    assert not Path("/tmp/deepbio-evil.txt").exists()


def test_a_member_that_leaves_and_is_not_wanted_stays_in_the_zip(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "some.zip", ("good.txt", b"x"), ("../evil.py", b"x"))
    unpack_some(source, tmp_path / "in" / "out", is_text)
    assert files_below(tmp_path / "in") == {"out/good.txt": b"x"}


def test_a_member_without_a_name_is_told_where_it_is_wanted(tmp_path: Path) -> None:
    nameless = zipfile.ZipInfo("a")
    nameless.filename = ""
    source = zip_of(tmp_path / "some.zip", ("good.txt", b"x"), (nameless, b"y"))
    unpack_some(source, tmp_path / "out", is_text)
    assert files_below(tmp_path / "out") == {"good.txt": b"x"}
    with pytest.raises(CardError, match="The file name '' leaves the model package"):
        unpack_some(source, tmp_path / "all", lambda name: True)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(zip_of(tmp_path / "plain.zip", ("good.txt", b"x")).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the index
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(CardError, match="is encrypted") as told:
        unpack_some(tmp_path / "locked.zip", tmp_path / "out", is_text)
    assert told.value.hint == "Unpack it and add the folder."


def test_a_zip_that_is_too_large_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch) -> None:
    source = zip_of(tmp_path / "bomb.zip", ("good.txt", b"x"), ("zeros", bytes(1000)))
    monkeypatch.setattr(archive, "MAX_BYTES", 1001)
    unpack_some(source, tmp_path / "out", is_text)
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    with pytest.raises(CardError, match="unpacks to 1001 bytes; expected at most 1000"):
        unpack_some(source, tmp_path / "large", is_text)
    monkeypatch.setattr(archive, "MAX_FILES", 1)
    with pytest.raises(CardError, match="holds 2 files; expected at most 1"):
        unpack_some(source, tmp_path / "many", is_text)
    assert files_below(tmp_path / "large") == files_below(tmp_path / "many") == {}


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_a_file_that_is_no_zip_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.zip").write_bytes(content)
    with pytest.raises(CardError, match=r"text\.zip' is not a sound zip file"):
        unpack_some(tmp_path / "text.zip", tmp_path / "out", is_text)
