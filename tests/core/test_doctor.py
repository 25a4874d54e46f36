"""The doctor: finds the foreign package, says how to get what is missing, looks at everything."""

from importlib import metadata
from pathlib import Path

import pytest

from deepbio import doctor
from deepbio.doctor import DISTRIBUTION, Finding, examine


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Installed distributions, for a test to change."""
    installed = {DISTRIBUTION: "0.1.0"}

    def version(name: str) -> str | None:
        return installed.get(name)

    monkeypatch.setattr(doctor, "_version", version)
    return installed


def named(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_this_machine_is_described() -> None:
    findings = examine()
    topics = {finding.topic for finding in findings}
    assert topics == {"DeepBio", "Devices", "Packages", "Extras", "Models", "Folders"}
    assert "GiB free" in named(findings, "cpu").value
    assert named(findings, "numpy").value == metadata.version("numpy")
    assert not [finding for finding in findings if finding.status == "error"]


def test_every_extra_that_is_missing_has_its_pip_line() -> None:
    findings = examine()
    for extra in doctor._EXTRAS:
        finding = named(findings, extra)
        if finding.status == "missing":
            assert finding.hint == f'pip install "{DISTRIBUTION}[{extra}]"'


def test_extras_are_those_of_the_package() -> None:
    declared = set(metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ())
    assert set(doctor._EXTRAS) == declared - {"dev"}


def test_missing_module_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_there", lambda module: module != "imagej")
    finding = named(list(doctor._extras()), "fiji")
    assert finding.status == "missing"
    assert "pyimagej" in finding.value
    assert "scyjava" not in finding.value


def test_submodule_of_a_missing_package_is_missing() -> None:
    assert not doctor._there("no_such_package.part")
    assert doctor._there("importlib.metadata")


def test_the_registrys_deepbio_is_an_error(versions: dict[str, str]) -> None:
    assert list(doctor._foreign()) == []
    versions["deepbio"] = "0.0.5"
    (finding,) = doctor._foreign()
    assert finding.status == "error"
    assert "'deepbio' 0.0.5 is installed" in finding.value
    assert "pip uninstall deepbio" in finding.hint


def test_a_deepbio_that_nobody_installed_is_told(versions: dict[str, str]) -> None:
    versions.clear()
    (finding,) = doctor._foreign()
    assert finding.status == "warning"
    assert f"pip install {DISTRIBUTION}" in finding.hint


def test_missing_base_package_is_an_error(versions: dict[str, str]) -> None:
    finding = named(list(doctor._base()), "scipy")
    assert (finding.status, finding.value) == ("error", "not installed")
    assert finding.hint.startswith("Install it with: pip install 'scipy")


def test_unwritable_library_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "deeper" / "home"))
    assert named(list(doctor._folders()), "models of yours").status == "ok"
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    finding = named(list(doctor._folders()), "models of yours")
    assert finding.status == "warning"
    assert "DEEPBIO_HOME" in finding.hint


def test_unused_gpu_is_told(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr("deepbio.engine.device._accelerated_torch", lambda: (None, "for the test"))
    finding = named(list(doctor._devices()), "NVIDIA GPU")
    assert finding.status == "warning"
    assert "torch is not installed" in finding.value
