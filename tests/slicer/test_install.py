"""Installing, cancelling and removing, with the real uv and tiny packages (see packages.py)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.slicer.packages import Server, left, uv_folder, wheel, wheels

install = pytest.importorskip("SlicerDeepBioLib.install")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of DeepBio, uv on the PATH, no proxies but those of a test."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{uv_folder()}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "bio"))
    return tmp_path / "bio"


def settings(**what: Any) -> Any:
    return install.Settings(base=sys.executable, **{key: str(value) for key, value in what.items()})


def made(plan: Any) -> tuple[Any, list[tuple[str, float | None]]]:
    told: list[tuple[str, float | None]] = []
    job = install.Installation(plan, on_progress=lambda *what: told.append(what))
    job.start()
    job.wait()
    return job, told


def test_from_a_folder_of_wheels_without_any_network(root: Path, tmp_path: Path) -> None:
    folder = wheels(tmp_path / "wheels")
    plan = install.plan_environment(settings(wheels=folder), gpus=[])
    assert plan.problem == ""
    assert plan.download_mb == 0
    assert plan.torch == "none"
    assert "nothing to download" in plan.text
    assert str(root / "env") in plan.text
    assert not root.exists(), "planning changes nothing"

    job, told = made(plan)

    assert left(root) == ["env"]
    assert [text for text, _ in told if text != "Removing files" and not text.startswith("Installing")] == [
        *(step.text for step in plan.steps if step.text != "Installing"),
        "Ready",
    ]
    assert told[-1] == ("Ready", 1.0)
    assert any("deepbio-imaging" in line for line in job.log)
    found = install.find_python(settings())
    assert found.path == str(install.environment_python(root / "env"))
    assert (found.version, found.runtimes) == ("9.1", ("onnxruntime",))
    assert found.why.startswith("The environment that was installed for DeepBio")


@pytest.mark.skipif(os.name == "nt", reason="a shell script passes on to the real uv")
def test_uv_itself_is_fetched_where_there_is_none(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real pip, into a folder of its own; the wheel holds a script that calls the real uv."""
    folder = wheels(tmp_path / "wheels")
    script = f'#!/bin/sh\nexec "{uv_folder() / "uv"}" "$@"\n'
    wheel(folder, "uv", "0.13", {"uv-0.13.data/scripts/uv": script})
    monkeypatch.setenv("PATH", os.defpath)
    before = subprocess.run(
        [sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    plan = install.plan_environment(settings(wheels=folder), gpus=[])
    assert len(plan.steps) == 4
    assert plan.steps[0].text.startswith("Getting uv")
    made(plan)
    assert left(root) == ["env", "tools"]
    assert install.find_python(settings()).version == "9.1"
    assert len(install.plan_environment(settings(wheels=folder), gpus=[]).steps) == 3, "it is there now"
    after = subprocess.run(
        [sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert after == before, "the Python of the host is as it was"


def test_the_environment_works_after_it_was_renamed(root: Path, tmp_path: Path) -> None:
    made(install.plan_environment(settings(wheels=wheels(tmp_path / "wheels")), gpus=[]))
    python = install.environment_python(root / "env")
    told = subprocess.run(
        [python, "-I", "-c", "import deepbio, sys; print(deepbio.__file__, sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    file, prefix = told.stdout.split()
    assert Path(prefix) == root / "env"
    assert (root / "env") in Path(file).parents


def test_a_second_installation_replaces_the_first(root: Path, tmp_path: Path) -> None:
    folder = wheels(tmp_path / "wheels")
    made(install.plan_environment(settings(wheels=folder), gpus=[]))
    wheels(folder, "9.2")
    made(install.plan_environment(settings(wheels=folder), gpus=[]))
    assert install.find_python(settings()).version == "9.2"
    assert left(root) == ["env"]


def test_through_a_proxy(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is a host that exists for the proxy alone."""
    with Server(wheels(tmp_path / "wheels")) as proxy:
        plan = install.plan_environment(
            settings(index="http://packages.deepbio.invalid/simple/", proxy=proxy.url, torch="none"), gpus=[]
        )
        plan = _from_the_index(plan)
        made(plan)
    assert install.find_python(settings()).version == "9.1"
    assert {address.split("/files")[0] for address in proxy.seen if "/files/" in address} == {
        "http://packages.deepbio.invalid"
    }
    assert left(root) == ["env"]


def test_the_proxy_of_the_environment_is_passed_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(wheels(tmp_path / "wheels")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "intranet.invalid")
        plan = install.plan_environment(
            settings(index="http://packages.deepbio.invalid/simple/", torch="none"), gpus=[]
        )
        assert plan.environment["no_proxy"] == plan.environment["NO_PROXY"] == "intranet.invalid"
        made(_from_the_index(plan))
    assert proxy.seen
    assert install.find_python(settings()).version == "9.1"


def test_cancelled_in_the_middle_nothing_is_left(root: Path, tmp_path: Path) -> None:
    with Server(wheels(tmp_path / "wheels"), held=("appose",)) as server:
        plan = _from_the_index(
            install.plan_environment(settings(index=f"{server.url}/simple/", torch="none"), gpus=[])
        )
        ended: list[object] = []
        job = install.Installation(plan, on_done=ended.append)
        job.start()
        _until(server.asked.is_set, job)
        assert (root / "env.partial").is_dir()
        pid = job._process.pid
        start = time.monotonic()
        job.cancel()
        job.wait()
        seconds = time.monotonic() - start
    assert seconds < 5
    assert job.cancelled
    assert job.error is None
    assert ended == [None]
    assert not root.exists(), left(root)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_cancelling_keeps_what_was_there(root: Path, tmp_path: Path) -> None:
    made(install.plan_environment(settings(wheels=wheels(tmp_path / "wheels")), gpus=[]))
    (root / "models").mkdir()
    with Server(wheels(tmp_path / "newer", "9.2"), held=("appose",)) as server:
        plan = _from_the_index(
            install.plan_environment(settings(index=f"{server.url}/simple/", torch="none"), gpus=[])
        )
        job = install.Installation(plan)
        job.start()
        _until(server.asked.is_set, job)
        job.cancel()
        job.wait()
    assert left(root) == ["env", "models"]
    assert install.find_python(settings()).version == "9.1"


def test_removed_again(root: Path, tmp_path: Path) -> None:
    made(install.plan_environment(settings(wheels=wheels(tmp_path / "wheels")), gpus=[]))
    (root / "models").mkdir()
    for name in install.FETCHED:
        (root / name).mkdir()
    install.remove_environment(root)
    assert left(root) == ["models"]
    install.remove_environment(root)  # once more does no harm


@pytest.mark.parametrize(
    "case", ["missing package", "no index", "does not start", "does not work", "not startable"]
)
def test_a_failure_says_what_and_leaves_no_environment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    folder = wheels(tmp_path / "wheels")
    what: dict[str, Any] = {"wheels": folder}
    expected = {
        "missing package": ("Installing failed. A package was not found.", "every package"),
        "no index": ("Installing failed. The package index cannot be reached.", "proxy"),
        "does not start": ("deepbio was installed but does not start (exit code 1): ", "report"),
        "does not work": (
            "deepbio was installed but does not work: other package: another deepbio",
            "pip uninstall",
        ),
        "not startable": ("Making the environment failed (exit code 127)", ""),
    }[case]
    if case == "missing package":
        next(folder.glob("appose-*")).unlink()
    elif case == "no index":
        what = {"index": "http://127.0.0.1:9/simple/", "torch": "none"}
    elif case == "does not start":
        wheel(
            folder,
            "deepbio_imaging",
            "9.9",
            {"deepbio/__init__.py": "import nowhere\n"},
            "Provides-Extra: slicer\n",
        )
    elif case == "does not work":
        finding = {
            "name": "other package",
            "value": "another deepbio",
            "status": "error",
            "hint": "pip uninstall deepbio",
        }
        wheels(folder, "9.9", {"ok": False, "findings": [finding]})
    plan = _from_the_index(install.plan_environment(settings(**what), gpus=[]))
    if case == "not startable":
        first = plan.steps[0]
        plan = _replace(
            plan, steps=(type(first)(first.text, (str(tmp_path / "no uv"), *first.argv[1:])), *plan.steps[1:])
        )
    job = install.Installation(plan)
    job.start()
    with pytest.raises(install.InstallError) as caught:
        job.wait()
    assert caught.value.message.startswith(expected[0])
    assert expected[1] in caught.value.hint
    assert set(left(root)) <= {"downloads"}, "downloads are kept for another try"


def test_a_leftover_of_a_crash_is_no_obstacle(root: Path, tmp_path: Path) -> None:
    (root / "env.partial" / "bin").mkdir(parents=True)
    (root / "env.old").mkdir()
    lock = root / "install.lock"
    lock.write_text("1")
    os.utime(lock, (time.time() - 100, time.time() - 100))
    made(install.plan_environment(settings(wheels=wheels(tmp_path / "wheels")), gpus=[]))
    assert left(root) == ["env"]


def test_two_installations_at_once_are_refused(root: Path, tmp_path: Path) -> None:
    with Server(wheels(tmp_path / "wheels"), held=("appose",)) as server:
        plan = _from_the_index(
            install.plan_environment(settings(index=f"{server.url}/simple/", torch="none"), gpus=[])
        )
        first, second = install.Installation(plan), install.Installation(plan)
        first.start()
        _until(server.asked.is_set, first)
        second.start()
        with pytest.raises(install.InstallError, match=r"Another installation is at work in .*bio"):
            second.wait()
        assert (root / "env.partial").is_dir(), "the first goes on"
        first.cancel()
        first.wait()


def test_progress_tells_what_is_downloaded() -> None:
    from SlicerDeepBioLib.install import _Meter

    meter = _Meter(Path("/"), 1000)
    meter._free, meter._free_mb = 5000.0, lambda: 4750.0
    meter.read(["Downloading torch (190.5MiB)", "Downloading openvino (51.0MiB)", " Downloaded openvino"])
    assert meter.reading() == ("Installing, 250 MB of about 1.0 GB: downloading torch (190 MB)", 0.25)
    meter._free_mb = lambda: 4900.0  # another program freed some
    assert meter.reading()[1] == 0.25


def test_polling_never_takes_long(root: Path, tmp_path: Path) -> None:
    """A window polls from a timer: what it calls must be back at once."""
    plan = install.plan_environment(settings(wheels=wheels(tmp_path / "wheels")), gpus=[])
    job = install.Installation(plan)
    longest = 0.0
    begin = time.thread_time()
    job.start()
    longest = time.thread_time() - begin
    while not job.finished:
        begin = time.thread_time()
        job.poll()
        longest = max(longest, time.thread_time() - begin)
        time.sleep(0.005)
    assert job.error is None
    assert longest < 0.1


def _until(true: Any, job: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        job.poll()
        assert not job.finished, job.error
        assert time.monotonic() < end
        time.sleep(0.01)


def _from_the_index(plan: Any) -> Any:
    """The plan, as an installed extension makes it: in this source tree it would take deepbio from there."""
    wanted = plan.what[0].split(" @ ")[0]
    steps = tuple(
        type(step)(step.text, tuple(wanted if " @ " in word else word for word in step.argv))
        for step in plan.steps
    )
    return _replace(plan, what=(wanted,), steps=steps)


def _replace(plan: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(plan, **changes)


def test_threads_of_the_transport_end(root: Path, tmp_path: Path) -> None:
    before = threading.active_count()
    made(install.plan_environment(settings(wheels=wheels(tmp_path / "wheels")), gpus=[]))
    _ends = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < _ends:
        time.sleep(0.01)
    assert threading.active_count() <= before
