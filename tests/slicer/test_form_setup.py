"""The form without a Python that has deepbio: what it offers, installing with cancel, and choosing a Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not usable", exc_type=ImportError)
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
uv = pytest.importorskip("uv", reason="uv is not installed")

from tests.slicer.shim.user import User, opened  # noqa: E402


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """Opens the module for the first time, on a computer where no Python has deepbio."""
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    folder = str(Path(uv.find_uv_bin()).parent)
    monkeypatch.setenv("PATH", folder + os.pathsep + os.environ["PATH"])
    from SlicerDeepBioLib import install, interpreters

    assert (
        install.host_python
    )  # imported before it is exchanged where the search looks: this Python has deepbio
    monkeypatch.setattr(interpreters, "host_python", lambda: "")
    (tmp_path / "settings").mkdir()
    with opened(tmp_path / "settings", python="") as user:
        user.wait(lambda: not user.form.environment.busy, what="search")
        yield user


def test_one_clear_box_in_the_place_of_the_form(user: User, tmp_path: Path) -> None:
    ui = user.ui
    assert ui.setupBox.visible
    assert not ui.runBox.visible
    assert not any(section.visible for section in (ui.optionsSection, ui.batchSection, ui.modelsSection))
    assert ui.environmentSection.visible
    text = ui.setupText.text
    assert str(tmp_path / "home" / "env") in text
    assert "on the disk" in text
    assert "to download" in text
    assert ui.installButton.visible
    assert not ui.setupCancelButton.visible


def test_a_folder_of_wheels_changes_the_plan(user: User, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    user.open_section(user.ui.environmentSection)
    user.type(user.ui.wheelsPath._edit, str(tmp_path / "wheels"))
    user.wait(lambda: not user.form.environment.busy, what="search")
    assert "There is no deepbio_imaging-*.whl" in user.ui.setupText.text
    assert not user.ui.installButton.enabled
    user.type(user.ui.wheelsPath._edit, "")
    user.wait(lambda: not user.form.environment.busy, what="search")
    assert user.ui.installButton.enabled, user.seen()


def test_installing_fails_with_a_way_out(user: User, tmp_path: Path) -> None:
    """A folder with a wheel that is none: the real uv says so."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "deepbio_imaging-9.9.9-py3-none-any.whl").write_bytes(b"")
    user.open_section(user.ui.environmentSection)
    user.type(user.ui.wheelsPath._edit, str(wheels))
    user.wait(lambda: not user.form.environment.busy and user.ui.installButton.enabled, what="plan")
    user.heart.start()
    user.click(user.ui.installButton)
    assert user.ui.setupCancelButton.visible
    assert user.ui.setupProgress.visible
    assert not user.ui.environmentBox.enabled
    user.wait(lambda: not user.form.environment.busy, what="installation ended")
    assert user.heart.stop() < 0.1
    assert user.form.messages.level == "error"
    assert user.ui.installButton.visible
    assert not (tmp_path / "home" / "env").exists()
    assert not (tmp_path / "home" / "env.partial").exists()


def test_cancelling_an_installation_removes_what_was_made(user: User, tmp_path: Path) -> None:
    """The uv is a stand-in here, one that takes its time; what follows from Cancel is real."""
    slow = tmp_path / "home" / "bin" / "uv"
    slow.parent.mkdir(parents=True)
    slow.write_text('#!/bin/sh\nfor last; do :; done\nmkdir -p "$last"\nexec sleep 60\n')
    slow.chmod(0o755)
    user.form.environment.use("")
    user.wait(lambda: not user.form.environment.busy, what="search")
    user.click(user.ui.installButton)
    user.wait(lambda: user.ui.setupStatus.text == "Making the environment", what="first step")
    user.wait((tmp_path / "home" / "env.partial").exists)
    user.click(user.ui.setupCancelButton)
    assert not user.ui.setupCancelButton.enabled, user.seen()
    user.wait(lambda: not user.form.environment.busy, 10, "cancelled")
    assert "Cancelled" in user.message
    assert not (tmp_path / "home" / "env.partial").exists()
    assert user.ui.setupBox.visible


def test_choosing_a_python_opens_the_form(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    broken = str(Path(os.devnull))
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *arguments: broken))
    user.click(user.ui.setupChooseButton)
    user.wait(lambda: not user.form.environment.busy, what="search")
    assert broken in user.ui.setupText.text
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *arguments: sys.executable))
    user.click(user.ui.setupChooseButton)
    user.wait(lambda: user.form.models.cards, what="models listed")
    assert user.ui.runBox.visible
    assert not user.ui.setupBox.visible
    assert user.app.userSettings().value("DeepBio/Python") == sys.executable
    user.open_section(user.ui.environmentSection)
    user.click(user.ui.forgetButton)
    user.wait(lambda: user.ui.setupBox.visible, what="box")
    assert user.app.userSettings().value("DeepBio/Python") is None
