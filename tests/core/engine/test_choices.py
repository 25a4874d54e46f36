"""The file of remembered choices survives damage and a folder that cannot be written to."""

import json

import pytest

from deepbio.engine.choices import cache_folder, choice_key, recall, remember


def test_what_was_remembered_is_recalled(tmp_path):
    key = choice_key({"tile": (64, 64)})
    assert recall(key) is None
    remember(key, {"runtime": "onnx", "seconds": {"onnx": 0.5}})
    assert recall(key) == {"runtime": "onnx", "seconds": {"onnx": 0.5}}
    assert recall(choice_key({"tile": (64, 65)})) is None
    assert cache_folder() == tmp_path / "home" / "cache"
    assert [path.name for path in cache_folder().iterdir()] == ["runtimes.json"]


def test_without_a_home_the_users_cache_folder_is_taken(monkeypatch):
    monkeypatch.delenv("DEEPBIO_HOME")
    assert cache_folder().name == "deepbio"


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b'{"key": 5}', b'"key"'])
def test_a_damaged_file_is_reported_and_made_anew(content):
    cache_folder().mkdir(parents=True)
    (cache_folder() / "runtimes.json").write_bytes(content)
    heard = []
    assert recall("key", heard.append) is None
    assert [event.level for event in heard] == (["warning"] if content != b'{"key": 5}' else [])
    remember("key", {"runtime": "onnx"})
    assert recall("key", heard.append) == {"runtime": "onnx"}


def test_only_the_newest_are_kept():
    for number in range(203):
        remember(str(number), {"runtime": "onnx"})
    entries = json.loads((cache_folder() / "runtimes.json").read_text())
    assert list(entries) == [str(number) for number in range(3, 203)]


def test_a_folder_that_cannot_be_written_to_costs_only_time(tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    heard = []
    remember("key", {"runtime": "onnx"}, heard.append)
    assert "cannot be remembered" in heard[0].message
    assert heard[0].level == "warning"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(monkeypatch):
    remember("key", {"runtime": "onnx"})
    monkeypatch.setattr("deepbio.engine.choices.json.dump", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        remember("other", {"runtime": "torch"})
    assert recall("key") == {"runtime": "onnx"}
    assert [path.name for path in cache_folder().iterdir()] == ["runtimes.json"]
