"""The library: what is listed, found, added and removed, and what is refused."""

import io
import shutil
import stat
import sys
import time
import zipfile
from pathlib import Path

import pytest

from deepbio.errors import CardError, OutputError, UnknownModel, WeightsError
from deepbio.library import archive, store
from deepbio.library.store import (
    add_model,
    find_model,
    is_bundled,
    list_models,
    model_names,
    remove_model,
    scan_models,
    user_folder,
)


def files_below(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_empty_library(home):
    assert list_models() == ()
    assert scan_models() == ((), ())
    with pytest.raises(UnknownModel, match=r"no model 'nuclei'. Known: none\."):
        find_model("nuclei")


def test_bundled_and_added_models_are_listed_by_name(home, tiny):
    tiny(store.bundled_folder() / "nuclei")
    tiny(home / "cells", lambda card: card["config"]["deepbio"].update(task="restore", modality=["EM", "LM"]))
    cards = list_models()
    assert [card.name for card in cards] == ["cells", "nuclei"] == list(model_names())
    assert [is_bundled(card) for card in cards] == [False, True]
    assert [card.name for card in list_models(task="segment")] == ["nuclei"]
    assert [card.name for card in list_models(modality="LM")] == ["cells"]
    assert list_models(task="segment", modality="LM") == ()


def test_a_user_model_never_hides_a_bundled_one(home, tiny):
    tiny(store.bundled_folder() / "nuclei")
    tiny(home / "nuclei", lambda card: card.update(name="Another one"))
    assert find_model("nuclei").title == "Tiny model"


def test_broken_cards_are_told_and_hide_no_other(home, tiny):
    tiny(home / "good")
    tiny(home / "bad")
    (home / "bad" / "bioimageio.yaml").write_text("name: [1, 2")
    (home / "empty").mkdir()
    cards, problems = scan_models()
    assert [card.name for card in cards] == ["good"]
    assert [problem.name for problem in problems] == ["bad", "empty"]
    assert "not YAML" in str(problems[0].error)
    with pytest.warns(UserWarning, match=r"'(bad|empty)' is left out") as warned:
        assert len(list_models()) == 1
    assert len(warned) == 2
    with pytest.raises(CardError, match="not YAML"):
        find_model("bad")


@pytest.mark.parametrize("name", ["nucleii", "Nuclei", "nuclie"])
def test_the_nearest_names_are_told(home, tiny, name):
    tiny(home / "nuclei")
    tiny(home / "heart")
    with pytest.raises(UnknownModel, match=r"Did you mean 'nuclei'\?"):
        find_model(name)


def test_a_folder_can_be_named_by_its_path(home, package, monkeypatch):
    assert find_model(package).name == find_model(str(package)).name == "tiny-model"
    monkeypatch.chdir(package.parent)
    assert find_model("tiny-model").root == Path("tiny-model")
    shutil.copytree(package, home / "tiny-model")
    assert find_model("tiny-model").root == home / "tiny-model", "the library goes before the working folder"
    assert find_model("./tiny-model").root == Path("tiny-model")


@pytest.mark.parametrize("kind", ["folder", "card", "zip", "zip of the files"])
def test_the_real_package_is_added(home, real_folder, real_zip, tmp_path, kind):
    source = {"folder": real_folder, "card": real_folder / "bioimageio.yaml", "zip": real_zip}.get(kind)
    if source is None:
        source = Path(shutil.make_archive(str(tmp_path / "flat"), "zip", real_folder))
    card = add_model(source)
    assert card.name == "unet-2d-nuclei-broad"
    assert card.root == home / card.name
    assert files_below(home) == ["unet-2d-nuclei-broad"]
    assert files_below(card.root) == files_below(real_folder)
    card.weights[0].verify()
    assert find_model(card.name) == card


def test_names_of_added_models(home, tiny, tmp_path):
    assert add_model(tiny(tmp_path / "m"), name="my.model_2").name == "my.model_2"

    def nickname(card):
        card["config"]["bioimageio"] = {"nickname": "affable-shark"}

    assert add_model(tiny(tmp_path / "n", nickname)).name == "affable-shark"
    for name in ("Nuclei", "a/b", "..", "", "a b", ".hidden", "x" * 65, "ä"):
        if name:
            with pytest.raises(CardError, match="not allowed as a model's name"):
                add_model(tmp_path / "m", name=name)
    assert files_below(home) == ["affable-shark", "my.model_2"]


def test_a_title_that_gives_no_name(home, tiny, tmp_path):
    with pytest.raises(CardError, match=r"'' is not allowed.*--name"):
        add_model(tiny(tmp_path / "m", lambda card: card.update(name="細胞核")))


def test_a_taken_name_needs_replace(home, package, tiny, tmp_path):
    add_model(package)
    other = tiny(tmp_path / "other", lambda card: card.update(version="2"))
    with pytest.raises(CardError, match=r"already a model 'tiny-model'.*--replace"):
        add_model(other)
    assert find_model("tiny-model").version == "1.2.3"
    assert add_model(other, replace=True).version == "2"
    assert files_below(home) == ["tiny-model"]


def test_a_bundled_name_is_refused(home, package, tiny):
    tiny(store.bundled_folder() / "nuclei")
    with pytest.raises(CardError, match="ships with deepbio"):
        add_model(package, name="nuclei", replace=True)
    with pytest.raises(CardError, match="ships with deepbio and cannot be removed"):
        remove_model("nuclei")
    assert files_below(home) == []


def test_removing(home, package):
    add_model(package)
    remove_model("tiny-model")
    assert files_below(home) == []
    with pytest.raises(UnknownModel, match="no model 'tiny-model'"):
        remove_model("tiny-model")
    with pytest.raises(UnknownModel):
        remove_model(str(package))  # a path is no name
    assert package.exists()


def test_removing_a_linked_model_keeps_the_files(home, package):
    home.mkdir(parents=True)
    (home / "linked").symlink_to(package)
    assert find_model("linked").title == "Tiny model"
    remove_model("linked")
    assert files_below(home) == []
    assert (package / "bioimageio.yaml").exists()


def test_damaged_weights_are_not_added(home, package):
    (package / "weights.onnx").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"weights.onnx' is damaged"):
        add_model(package)
    assert files_below(home) == []


def test_damage_in_a_zip_is_told_of_the_zip(home, package, tmp_path):
    """Not of the temporary folder, which is gone when the message is read."""
    (package / "weights.onnx").write_bytes(b"damaged")
    source = shutil.make_archive(str(tmp_path / "sent"), "zip", package)
    with pytest.raises(WeightsError, match=r"sent.zip.weights.onnx' is damaged") as caught:
        add_model(source)
    assert str(home) not in str(caught.value)
    assert files_below(home) == []


@pytest.mark.parametrize("source", ["https://example.org/model.zip", "nowhere", "nowhere.zip"])
def test_sources_that_are_not_here(home, source):
    with pytest.raises(CardError, match=r"is an address|There is no folder or zip"):
        add_model(source)


def test_a_failure_while_copying_leaves_nothing(home, package, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.shutil, "copyfile", full)
    with pytest.raises(OutputError, match=r"No space left on device.*DEEPBIO_HOME"):
        add_model(package)
    assert files_below(home) == []


def test_an_interrupt_while_adding_leaves_nothing(home, package, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "read_card", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add_model(package)
    assert files_below(home) == []


def test_a_library_that_cannot_be_made(tmp_path, package, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be added"):
        add_model(package)


def test_where_user_models_are(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "models"
    monkeypatch.delenv("DEEPBIO_HOME")
    assert user_folder().parts[-2:] == ("deepbio", "models")


def zip_of(path, package, extra=(), prefix=""):
    """A zip of a package with further members, each (ZipInfo or name, bytes)."""
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(package.iterdir()):
            file.write(source, prefix + source.name)
        for name, content in extra:
            file.writestr(name, content)
    return path


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


EVIL = {
    "climbs out": ([("../evil.txt", b"x")], "leaves the model package"),
    "climbs out deep": ([("a/../../evil.txt", b"x")], "leaves the model package"),
    "absolute": ([("/tmp/evil.txt", b"x")], "leaves the model package"),
    "drive": ([("C:evil.txt", b"x")], "leaves the model package"),
    "link": ([(link("evil"), b"/etc/passwd")], "a link or a device"),
    "twice": ([("README.md", b"x"), ("README.md", b"y")], "twice"),
    "file and folder": ([("README.md", b"x"), ("README.md/y", b"y")], "twice"),
}


@pytest.mark.parametrize(("extra", "message"), EVIL.values(), ids=EVIL)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_evil_zips_are_refused(home, package, tmp_path, extra, message):
    source = zip_of(tmp_path / "evil.zip", package, extra)
    with pytest.raises(CardError, match=message):
        add_model(source)
    assert files_below(home) == []
    assert not list(tmp_path.rglob("evil.txt"))
    assert not Path("/tmp/evil.txt").exists()


def test_zips_that_grow_are_refused(home, package, tmp_path, monkeypatch):
    source = zip_of(tmp_path / "bomb.zip", package, [("zeros", bytes(10**6))])
    monkeypatch.setattr(archive, "MAX_BYTES", 10**6)
    with pytest.raises(CardError, match=r"unpacks to 1[0-9]* bytes; expected at most 1000000"):
        add_model(source)
    # and one whose index lies about the sizes
    data = bytearray(source.read_bytes())
    claimed = (10**6).to_bytes(4, "little")
    assert data.count(claimed) >= 2
    (tmp_path / "liar.zip").write_bytes(data.replace(claimed, (10).to_bytes(4, "little")))
    with pytest.raises(CardError, match=r"not a sound zip|unpacks to more"):
        add_model(tmp_path / "liar.zip")
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(CardError, match="holds 5 files; expected at most 3"):
        add_model(source)
    assert files_below(home) == []


def test_folders_that_are_too_large_or_linked(home, package, monkeypatch):
    (package / "more").symlink_to(package.parent)
    with pytest.raises(CardError, match="holds the link 'more'"):
        add_model(package)
    (package / "more").unlink()
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    with pytest.raises(CardError, match="too large"):
        add_model(package)
    assert files_below(home) == []


def test_files_that_are_no_zip(home, package, tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(CardError, match="not a sound zip file"):
        add_model(tmp_path / "text.zip")
    whole = zip_of(tmp_path / "whole.zip", package).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CardError, match="not a sound zip file"):
        add_model(tmp_path / "cut.zip")
    damaged = bytearray(whole)
    damaged[whole.index(b"not a network")] ^= 255
    (tmp_path / "damaged.zip").write_bytes(damaged)
    with pytest.raises(CardError, match="not a sound zip file"):
        add_model(tmp_path / "damaged.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a/b/bioimageio.yaml", "too deep")
    with pytest.raises(CardError, match=r"holds no bioimageio.yaml"):
        add_model(tmp_path / "other.zip")
    assert files_below(home) == []


def test_encrypted_zips_are_refused(home, package, tmp_path):
    buffer = io.BytesIO()
    zip_of(buffer, package)
    data = bytearray(buffer.getvalue())
    start = 0
    while (start := data.find(b"PK\x01\x02", start)) >= 0:
        data[start + 8] |= 1  # the flag in the index
        start += 4
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(CardError, match="is encrypted"):
        add_model(tmp_path / "locked.zip")


def test_hidden_files_are_left_out(home, package):
    (package / ".git").mkdir()
    (package / ".git" / "config").write_text("private")
    (package / ".DS_Store").write_text("")
    assert not [name for name in files_below(add_model(package).root) if name.startswith(".")]


def test_listing_is_fast_and_needs_no_torch(home, tiny):
    for number in range(20):
        tiny(home / f"model-{number}")
    assert len(list_models()) == 20
    seconds = []
    for _ in range(5):
        start = time.process_time()
        list_models()
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.15  # 0.03 on an idle machine


def test_the_library_does_not_import_torch(run_python):
    assert (
        run_python("import sys; import deepbio.library as l; l.list_models(); print('torch' in sys.modules)")
        == "False"
    )


@pytest.fixture
def run_python():
    import subprocess

    def run(code):
        return subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()

    return run


def test_a_folder_that_is_no_package_is_told_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(CardError, match=r"photos' is not a model package"):
        add_model(tmp_path / "photos")
