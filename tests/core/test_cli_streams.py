"""What commands write to stdout and stderr where that is not so simple: names, full disks, wrong words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepbio.__main__ import main
from deepbio.image import Image
from deepbio.io import write
from tests.core.command import ONNX, deepbio, process, spots


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write(tmp_path / "cells.tif", Image(spots()))
    return tmp_path / "cells.tif"


@pytest.mark.parametrize(
    "words", [["run", "nuclei", "a.tif"], ["info", "--bogus"], ["models", "bogus"], ["bogus"], ["info"]]
)
def test_a_wrong_command_line_is_told_to_machines_too(words: list[str]) -> None:
    done = deepbio(*words, "--json")
    assert done.code == 2
    assert [(line["event"], line["code"]) for line in done.lines] == [("error", 2)]
    assert len(done.out.splitlines()) == 1


def test_ctrl_c_before_the_command_has_begun(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def stop(prog_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deepbio.cli.app", stop)
    monkeypatch.setattr(sys, "argv", ["deepbio", "doctor", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr()
    assert left.value.code == 130
    assert told.err == "Error: Stopped; nothing half-written is left behind.\n"
    assert json.loads(told.out)["code"] == 130


@pytest.mark.parametrize("words", [["info", "{}.tif"], ["run", "nuclei", "cells.tif", "-o", "{}"]])
def test_a_path_that_no_system_takes(image: Path, words: list[str]) -> None:
    long = "/".join(["d" * 200] * 25)
    done = deepbio(*(word.format(long) for word in words))
    assert done.code == 2
    assert "is too long for the system" in done.err


def test_an_address_is_called_one() -> None:
    done = deepbio("models", "add", "https://example.org/model.zip")
    assert done.code == 6
    assert "'https://example.org/model.zip' is an address" in done.err


def test_a_file_that_does_not_exist_is_called_so() -> None:
    done = deepbio("info", "missing")
    assert done.code == 3
    assert "'missing' does not exist" in done.err


def test_a_name_that_is_no_unicode(threshold_model: Path, image: Path) -> None:
    """Linux takes any bytes; ``café.tif`` of an old archive is none of UTF-8."""
    old = os.fsencode(image.parent) + b"/caf\xe9.tif"
    try:
        image.rename(os.fsdecode(old))
    except OSError:
        pytest.skip("this file system takes names in Unicode alone")
    done = process("run", threshold_model, ".", "-o", "out", *ONNX)
    assert (done.code, done.err) == (0, "")
    assert "caf\\udce9.tif: 2 objects" in done.out
    assert b"caf\xe9.tif,done" in Path("out/summary.csv").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_stdout_on_a_full_disk(image: Path, more: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "deepbio", "info", str(image), *more]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.startswith("Error: The output cannot be written: No space left on device.")
    assert "Traceback" not in done.stderr
