"""The menu of a Fiji without Python: what is written, and that nothing else is removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepbio.errors import OptionError
from imagej_bridge.commands import COMMANDS
from imagej_bridge.dialog import order
from imagej_bridge.menu import MARK, install, installed, macro_of, uninstall


@pytest.fixture
def fiji(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    return tmp_path


def test_a_file_for_each_command_that_needs_no_python_in_the_process(fiji: Path) -> None:
    written = install(fiji)
    names = {path.stem.replace("_", " ") for path in written}
    assert names == set(COMMANDS) - {"DeepBio Macro Extensions"}
    assert all("_" in path.stem and path.parent == fiji / "plugins" / "DeepBio" for path in written)
    assert installed(fiji) == sorted(written)
    assert install(fiji) == written  # again


def test_uninstall_leaves_what_is_not_ours(fiji: Path) -> None:
    written = install(fiji)
    other = fiji / "plugins" / "DeepBio" / "My_Macro.ijm"
    other.write_text("print(1);", encoding="utf-8")
    assert uninstall(fiji) == sorted(written)
    assert list((fiji / "plugins" / "DeepBio").iterdir()) == [other]
    other.unlink()
    install(fiji)
    uninstall(fiji)
    assert list((fiji / "plugins").iterdir()) == []
    assert uninstall(fiji) == []


def test_a_folder_that_is_no_fiji(tmp_path: Path) -> None:
    for change in (install, uninstall):
        with pytest.raises(OptionError, match="no folder 'plugins'"):
            change(tmp_path)


@pytest.mark.parametrize("python", [r"C:\Program Files\Python\python.exe", '/opt/it\'s "mine"/bin/python'])
def test_the_path_of_python_is_spelt_as_the_macro_language_wants(python: str) -> None:
    text = macro_of(COMMANDS["DeepBio Segment"], python)
    line = next(line for line in text.splitlines() if line.startswith("answer = exec("))
    assert json.loads(line.removeprefix("answer = exec(").split(', "-P"')[0]) == python


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "DeepBio Macro Extensions"])
def test_the_dialog_has_every_option(name: str) -> None:
    command = COMMANDS[name]
    text = macro_of(command, "python")
    assert text.startswith(MARK)
    shown = {one.name for one in order(command, task=command.task)}
    if "Dialog.show" in text:
        for option in shown:
            assert text.count(f'("{option}", ') == 1, option
    else:
        assert shown <= {"output"}  # what only tells something asks nothing
