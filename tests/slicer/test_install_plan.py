"""Which Python is taken, which build of PyTorch, and what is said before anything is installed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

install = pytest.importorskip("SlicerDeepBioLib.install")

from SlicerDeepBioLib import interpreters, plan, torch_build  # noqa: E402

GPU = "580.82.09, 9.0, NVIDIA H200"


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Python of Slicer, and an empty home."""
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "bio"))
    monkeypatch.setattr(interpreters, "host_python", lambda: "")
    return tmp_path


def python_that(folder: Path, says: str, code: int = 0, errors: str = "", name: str = "python3") -> Path:
    """A program in the place of a Python."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\necho '{errors}' >&2\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def answer(**changes: Any) -> str:
    told = {
        "python": "3.12.1",
        "deepbio": "0.2",
        "worker": True,
        "appose": True,
        "runtimes": ["torch"],
        "why": "",
    }
    return "a banner\n" + json.dumps({**told, **changes})


def find(**settings: Any) -> tuple[Any, list[str]]:
    tried: list[str] = []
    return install.find_python(install.Settings(**settings), tried), tried


def test_this_python_is_found_with_its_real_deepbio(alone: Path) -> None:
    import deepbio

    found, tried = find(python=sys.executable)
    assert found.version == deepbio.__version__
    assert "onnxruntime" in found.runtimes
    assert found.why == f"The Python that you chose: deepbio {deepbio.__version__} in Python {found.python}"
    assert tried == []


@pytest.mark.skipif(os.name == "nt", reason="shell scripts stand in for Pythons")
def test_the_order(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's, then the installed environment, then Slicer's own."""
    chosen = python_that(alone, answer(deepbio="1"))
    slicers = python_that(alone / "slicer", answer(deepbio="3"))
    monkeypatch.setattr(interpreters, "host_python", lambda: str(slicers))
    assert find()[0].version == "3"
    python_that(alone / "bio" / "env" / "bin", answer(deepbio="2"), name="python")
    assert find()[0].version == "2"
    assert find(python=str(chosen))[0].version == "1"


@pytest.mark.skipif(os.name == "nt", reason="shell scripts stand in for Pythons")
@pytest.mark.parametrize(
    ("told", "why"),
    [
        (answer(deepbio="", why="No module named 'deepbio'"), "has no deepbio (No module named 'deepbio')"),
        (
            answer(worker=False, where="/x"),
            "has a deepbio without a worker, 0.2 in /x: it is too old, or the other",
        ),
        (answer(appose=False), "lacks the package appose. Install it there with: pip install"),
        (answer(runtimes=[]), "has none of torch, openvino, onnxruntime to compute with"),
        ("Segmentation fault", "did not answer as a Python does, but with 'Segmentation fault'"),
        ("{}", "did not answer as a Python does"),
    ],
)
def test_a_python_that_will_not_do_says_why(alone: Path, told: str, why: str) -> None:
    path = python_that(alone, told)
    found, tried = find(python=str(path))
    assert found is None
    assert len(tried) == 1, "a chosen Python is not passed over for another"
    assert tried[0].startswith("The Python that you chose")
    assert str(path) in tried[0]
    assert why in tried[0]


@pytest.mark.skipif(os.name == "nt", reason="shell scripts stand in for Pythons")
def test_what_does_not_run_says_why(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not exist" in find(python=str(alone / "nowhere"))[1][0]
    (alone / "text").write_text("hello")
    assert "it cannot be started" in find(python=str(alone / "text"))[1][0]
    bad = python_that(alone, "", code=3, errors="no module named encodings")
    assert f"{bad} is no Python that works: no module named encodings." in find(python=str(bad))[1][0]
    assert find() == (
        None,
        [
            f"The environment that was installed for DeepBio: {alone / 'bio' / 'env' / 'bin' / 'python'} does not exist.",
            "Slicer's own Python: it does not exist.",
        ],
    )


@pytest.mark.skipif(os.name == "nt", reason="shell scripts stand in for Pythons")
def test_one_that_never_answers_is_given_up(alone: Path) -> None:
    path = alone / "python3"
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    answers: list[tuple[str, str]] = []
    question = interpreters.Question(
        [str(path)], lambda *told: answers.append(told), interpreters.ThreadProcess, limit=0.2
    )
    question.start()
    while not question.finished:
        question.poll()
    assert answers == [("", "it gave no answer in 0.2 s")]


def test_slicers_launcher_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLAUNCHER_0_PATH", "/usr/bin")
    monkeypatch.setenv("APPLAUNCHER_0_HOME", "/home/me")
    monkeypatch.setenv("APPLAUNCHER_LEVEL", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/Slicer/lib")
    monkeypatch.setenv("PYTHONHOME", "/opt/Slicer/lib/Python")
    monkeypatch.setenv("DEEPBIO_HOME", "/data/bio")
    environment = install.other_environment()
    assert environment["PATH"] == "/usr/bin"
    assert environment["HOME"] == "/home/me"
    assert environment["DEEPBIO_HOME"] == "/data/bio"
    assert not {"LD_LIBRARY_PATH", "PYTHONHOME", "APPLAUNCHER_LEVEL"} & set(environment)


def test_slicer_itself_is_never_started_as_a_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    assert interpreters.host_python() == ""


def test_slicers_python_is_the_one_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slicers = python_that(tmp_path, "", name="PythonSlicer")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    assert interpreters.host_python() == str(slicers)


@pytest.mark.parametrize(
    ("gpus", "system", "build", "why"),
    [
        ("", "linux", "cpu", "no NVIDIA GPU was found"),
        ("NVIDIA-SMI has failed because it couldn't communicate", "linux", "cpu", "no NVIDIA GPU was found"),
        (GPU, "linux", "cu130", "NVIDIA H200 with driver 580.82.09"),
        (GPU, "darwin", "cpu", "on a Mac"),
        ("572.16, 12.0, NVIDIA GeForce RTX 5090", "win32", "cu128", "RTX 5090"),
        (
            "560.35.03, 12.0, NVIDIA GeForce RTX 5090",
            "linux",
            "cpu",
            "560.35.03 of NVIDIA GeForce RTX 5090 is too old",
        ),
        ("550.54.14, 8.6, NVIDIA RTX A6000", "linux", "cu126", "A6000"),
        ("525.60.13, 8.6, NVIDIA RTX A6000", "linux", "cu126", "525.60.13"),
        ("525.60.12, 8.6, NVIDIA RTX A6000", "linux", "cpu", "too old for PyTorch"),
        ("527.41, 8.6, NVIDIA RTX A6000", "win32", "cpu", "too old"),
        ("528.33, 8.6, NVIDIA RTX A6000", "win32", "cu126", "528.33"),
        ("580.82.09, 6.1, NVIDIA GeForce GTX 1080 Ti", "linux", "cu126", "GTX 1080"),
        ("581.29, 7.0, Tesla V100", "win32", "cu128", "V100"),
        ("470.99, [N/A], Tesla K80", "linux", "cpu", "too old"),
        ("535.104, [Not Supported], NVIDIA T4", "linux", "cu126", "T4"),
        (
            "580.1, 6.1, NVIDIA GTX 1060\n580.1, 8.9, NVIDIA RTX 4090, Ltd.",
            "linux",
            "cu130",
            "NVIDIA RTX 4090, Ltd.",
        ),
    ],
)
def test_the_build_follows_from_driver_and_gpu(gpus: str, system: str, build: str, why: str) -> None:
    got = torch_build.torch_build(torch_build.parse_gpus(gpus), system=system)
    assert got[0] == build
    assert why in got[1]


@pytest.mark.parametrize("wanted", ["none", "cpu", "cu128"])
def test_a_build_that_the_user_wants_is_taken(wanted: str) -> None:
    assert torch_build.torch_build(torch_build.parse_gpus(GPU), wanted) == (wanted, "as you set it")


def test_a_build_that_does_not_exist_is_refused() -> None:
    with pytest.raises(install.InstallError, match="'gpu'; expected auto, none, cpu or such as cu126"):
        torch_build.torch_build([], "gpu")


def test_nvidia_smi_is_really_asked(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in on the PATH: there is no such GPU on every machine."""
    python_that(alone, GPU, name="nvidia-smi")
    monkeypatch.setenv("PATH", f"{alone}{os.pathsep}{os.environ['PATH']}")
    assert torch_build.ask_gpus() == [torch_build.Gpu("NVIDIA H200", "580.82.09", 9.0)]
    python_that(alone, GPU, code=9, name="nvidia-smi")
    assert torch_build.ask_gpus() == []


def test_the_plan_for_a_gpu(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_checkout", lambda: None)
    made = install.plan_environment(install.Settings(), torch_build.parse_gpus(GPU))
    assert made.what == ("deepbio-imaging[slicer,torch]",)
    assert made.folder == alone / "bio" / "env"
    words = made.steps[-2].argv
    if sys.platform != "darwin":
        assert words[words.index("--torch-backend") + 1] == "cu130"
    assert "with PyTorch for NVIDIA GPUs (cu130): NVIDIA H200 with driver 580.82.09" in made.text
    assert "GB to download" in made.text
    assert "estimated" in made.text
    assert "Slicer's packages are not touched" in made.text
    assert "pypi.org" in made.text


def test_the_plan_for_a_cpu_takes_openvino_too(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_checkout", lambda: None)
    made = install.plan_environment(install.Settings(), [])
    assert made.what == ("deepbio-imaging[slicer,torch,openvino]",)
    assert install.plan_environment(install.Settings(torch="none"), []).what == (
        "deepbio-imaging[slicer,openvino]",
    )


def test_a_source_tree_is_installed_from(alone: Path) -> None:
    root = Path(__file__).parents[2]
    made = install.plan_environment(install.Settings(), [])
    assert made.what[0].endswith(f" @ {root.as_uri()}")
    assert str(root) in made.source


def test_a_folder_of_wheels_decides_the_extras(alone: Path) -> None:
    folder = alone / "wheels"
    folder.mkdir()
    for name in ("deepbio_imaging-1-py3-none-any", "torch-2.13-cp312-cp312-linux_x86_64"):
        (folder / f"{name}.whl").touch()
    made = install.plan_environment(install.Settings(wheels=str(folder)), torch_build.parse_gpus(GPU))
    assert made.what == ("deepbio-imaging[slicer,torch]",)
    assert {"--no-index", "--offline"} <= set(made.steps[-2].argv)
    assert "--torch-backend" not in made.steps[-2].argv
    assert made.source == f"the folder {folder}, without any network"


def test_problems_are_told_before_anything_is_done(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def problem(**settings: Any) -> str:
        return str(install.plan_environment(install.Settings(**settings), []).problem)

    assert problem(wheels=str(alone / "none")).startswith(f"There is no folder {alone / 'none'}.")
    assert problem(wheels=str(alone)).startswith("There is no deepbio_imaging-*.whl in")
    usage = shutil.disk_usage(alone)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50 * 2**20))
    assert problem(torch="none") == f"{alone} has 50 MB free; about 900 MB are needed. Free some space."
    monkeypatch.setattr(plan, "find_uv", lambda root: "")
    monkeypatch.setattr(plan, "host_python", lambda: "")
    assert problem().startswith("Neither uv nor Slicer's Python was found.")


def test_uv_is_fetched_beside_not_into_slicers_python(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "find_uv", lambda root: "")
    monkeypatch.setattr(plan, "host_python", lambda: "/opt/Slicer/bin/PythonSlicer")
    first, second, *_ = install.plan_environment(
        install.Settings(index="https://mirror.invalid/simple"), []
    ).steps
    tools = alone / "bio" / "tools"
    assert first.argv[:4] == ("/opt/Slicer/bin/PythonSlicer", "-m", "pip", "install")
    assert first.argv[-5:] == ("--target", str(tools), "--index-url", "https://mirror.invalid/simple", "uv")
    assert Path(second.argv[0]).parent == tools / "bin"


def test_preparation_does_both_without_blocking(alone: Path) -> None:
    got: list[tuple[Any, ...]] = []
    job = install.Preparation(
        install.Settings(python=sys.executable), interpreters.ThreadProcess, lambda *told: got.append(told)
    )
    job.start()
    while not job.finished:
        job.poll()
    assert got[0][0].path == sys.executable
    assert got[0][1:] == ([], None)

    job = install.Preparation(install.Settings(), interpreters.ThreadProcess, lambda *told: got.append(told))
    job.start()
    while not job.finished:
        job.poll()
    found, tried, made = got[1]
    assert found is None
    assert len(tried) == 2
    assert made.folder == alone / "bio" / "env"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "error: failed to write: No space left on device (os error 28)",
            "The disk is full.",
            "Free some space",
        ),
        ("invalid peer certificate: UnknownIssuer", "a certificate that is not trusted", "SSL_CERT_FILE"),
        (
            "HTTP status client error (407 Proxy Authentication Required)",
            "name and password",
            "http://name:password",
        ),
        ("error: No interpreter found for Python >=3.11, <3.14", "There is no Python 3.11", "python.org"),
        ("error: unexpected argument '--torch-backend' found", "too old", "uv self update"),
        (
            "Failed to fetch: `https://pypi.org/simple/x/` dns error",
            "cannot be reached",
            "Downloads are kept",
        ),
        ("error: something new", "Installing failed (exit code 2): error: something new.", ""),
    ],
)
def test_what_uv_says_becomes_a_way_out(said: str, message: str, hint: str) -> None:
    from SlicerDeepBioLib.install_errors import explain

    error = explain(plan.Step("Installing", ()), 2, ["Resolved 3 packages", said])
    assert error.message.startswith("Installing failed")
    assert message in error.message
    assert hint in error.hint
