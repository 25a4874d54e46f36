"""README and docs: every command and every Python block is run, in a folder with the examples."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    found = []
    for page in PAGES:
        for number, (kind, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
            if kind == language:
                found.append(pytest.param(text, id=f"{page.name}-{number}"))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "imagej_bridge").symlink_to(ROOT / "imagej_bridge")
    (tmp_path / "scan").symlink_to(ROOT / "tests" / "data" / "dicom" / "cine")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", blocks("python"))
def test_python_block_runs(text: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_run(text: str, folder: Path) -> None:
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        else:
            assert words[0] == "deepbio", f"no test knows how to run {line!r}"
            done = subprocess.run(
                [sys.executable, "-m", "deepbio", *words[1:]], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_tree_in_the_readme_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## The tree")[1].split("```")[1]
    for line in text.strip().splitlines():
        indent = len(line) - len(line.lstrip())
        for name in re.split(r"\s{3,}", line.strip())[0].split():
            base = ROOT / "core" / "deepbio" if indent else ROOT
            assert (base / name).exists() or (base / f"{name}.py").exists(), name
