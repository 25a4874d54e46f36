"""Hosts, macros as files, errors; and everything without a screen, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError, OptionError
from deepbio.image import Grid, Image, LabelMap
from imagej_bridge import hosts, start
from imagej_bridge.hosts import find_host
from imagej_bridge.session import MacroError, read_macro
from tests.core.command import process
from tests.core.command import spots as bright_spots
from tests.imagej.hosts import JAR, missing
from tests.imagej.images import imageplus, java, planes, spots, titles

TIMEOUT = 60


# -- which ImageJ


def test_what_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPBIO_FIJI", raising=False)
    monkeypatch.delenv("DEEPBIO_IJ_JAR", raising=False)
    (tmp_path / "Fiji.app" / "jars").mkdir(parents=True)
    (tmp_path / "ij.jar").write_bytes(b"")
    assert find_host(tmp_path / "Fiji.app") == ("fiji", str(tmp_path / "Fiji.app"))
    assert find_host(ij_jar=tmp_path / "ij.jar") == ("ij.jar", str(tmp_path / "ij.jar"))
    assert find_host("sc.fiji:fiji") == ("fiji", "sc.fiji:fiji")

    monkeypatch.setenv("DEEPBIO_IJ_JAR", str(tmp_path / "ij.jar"))
    assert find_host() == ("ij.jar", str(tmp_path / "ij.jar"))
    monkeypatch.setenv("DEEPBIO_FIJI", str(tmp_path / "Fiji.app"))
    assert find_host() == ("fiji", str(tmp_path / "Fiji.app"))
    assert find_host(ij_jar=tmp_path / "ij.jar") == ("ij.jar", str(tmp_path / "ij.jar"))


def test_what_is_found_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPBIO_FIJI", raising=False)
    monkeypatch.delenv("DEEPBIO_IJ_JAR", raising=False)
    monkeypatch.setattr(hosts, "_FOLDERS", (str(tmp_path / "Fiji"),))
    monkeypatch.setattr(hosts, "_JARS", (str(tmp_path / "ij.jar"),))
    with pytest.raises(OptionError, match="No Fiji and no ImageJ was found") as caught:
        find_host()
    assert "libij-java" in caught.value.hint
    (tmp_path / "ij.jar").write_bytes(b"")
    assert find_host()[0] == "ij.jar"
    (tmp_path / "Fiji" / "jars").mkdir(parents=True)
    assert find_host()[0] == "fiji"


@pytest.mark.parametrize(
    ("fiji", "jar", "part"),
    [
        ("/not/there", None, "no Fiji folder '/not/there'"),
        (None, "/not/there.jar", "no ij.jar '/not/there.jar'"),
        ("/usr", None, "no folder 'jars'"),
        ("/a", "/b", "Name one of them"),
        ("C:/not/there", None, "no Fiji folder"),
    ],
)
def test_what_is_not_there_is_refused(fiji: str | None, jar: str | None, part: str) -> None:
    with pytest.raises(OptionError) as caught:
        find_host(fiji, jar)
    assert part in f"{caught.value.message} {caught.value.hint}"


# -- macros


def test_macros_are_texts_or_files(tmp_path: Path) -> None:
    path = tmp_path / "a b.ijm"
    path.write_text("// µ\nrun('Invert');\n", encoding="utf-8")
    assert read_macro(path) == read_macro(str(path)) == "// µ\nrun('Invert');\n"
    path.write_text("run('Invert');", encoding="utf-8-sig")
    assert read_macro(path) == read_macro("run('Invert');") == "run('Invert');"
    assert read_macro("return 'a.ijm'\n") == "return 'a.ijm'\n"


def test_macros_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MacroError, match="cannot be read: No such file"):
        read_macro("not there.ijm")
    with pytest.raises(MacroError, match="cannot be read: Is a directory"):
        read_macro(tmp_path)
    (tmp_path / "a.ijm").write_bytes("µ".encode("latin-1"))
    with pytest.raises(MacroError, match="no text in UTF-8"):
        read_macro(tmp_path / "a.ijm")


# -- a session


def test_a_process_has_one_session(session: Any) -> None:
    assert start() is session
    assert session.kind == "ij.jar"
    assert session.version.startswith("1.")


def test_arguments_and_results(session: Any, tmp_path: Path) -> None:
    (tmp_path / "a.ijm").write_text("return getArgument() + '!';")
    assert session.run_macro(tmp_path / "a.ijm", "a b = µ") == "a b = µ!"
    assert session.run_macro("x = 1;") == ""


def test_open(session: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a b.tif", bright_spots())
    image = session.open(tmp_path / "a b.tif")
    assert titles() == ["a b.tif"]
    np.testing.assert_array_equal(planes(image)[0], bright_spots())
    with pytest.raises(ImageError, match="There is no file"):
        session.open(tmp_path / "b.tif")
    (tmp_path / "text.tif").write_text("this is no image")
    with pytest.raises(ImageError):
        session.open(tmp_path / "text.tif")
    assert titles() == ["a b.tif"]


def test_what_imagej_cannot_open_deepbio_opens(session: Any) -> None:
    path = Path(__file__).parents[2] / "examples" / "hippocampus" / "hippocampus_311.nii.gz"
    image = session.open(path)
    assert int(image.getNSlices()) > 1
    assert str(image.getCalibration().getUnit()) == "mm"


def test_images_of_every_kind_are_shown(session: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", bright_spots())
    kinds = [tmp_path / "a.tif", str(tmp_path / "a.tif"), Image(bright_spots()), LabelMap(bright_spots()), imageplus(bright_spots())]  # fmt: skip
    for kind in kinds:
        assert session.run_macro("w = getWidth(); return d2s(w, 0);", image=kind) == "53"
    session.close_images()
    assert titles() == []


def test_to_and_from_image(session: Any) -> None:
    with pytest.raises(ImageError, match="No image is open"):
        session.to_image()
    grid = Grid((37, 53), (0.75, 0.5), unit="micrometer")
    shown = session.show(session.from_image(Image(bright_spots(), grid=grid), "mine"))
    assert titles() == ["mine"]
    for found in (session.to_image(), session.to_image(shown)):
        np.testing.assert_array_equal(found.numpy(), bright_spots())
        assert found.grid == grid


def test_close_images_asks_nothing(session: Any, model: str) -> None:
    spots()
    session.run_macro("run('Invert'); setBatchMode(true); newImage('b', '8-bit', 5, 5, 1);")
    session.close_images()
    assert titles() == []
    assert java("ij.WindowManager").getCurrentImage() is None


def test_closed_sessions_do_not_listen(session: Any, model: str) -> None:
    spots()
    session.bridge.uninstall()
    try:
        with pytest.raises(MacroError, match="Unrecognized command"):
            session.run_macro(f'run("DeepBio Segment", "{model}");')
    finally:
        session.bridge.install()


# -- without a screen


@pytest.fixture
def headless(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run Python code without a screen, where `session` is there; returns the dictionary `told`."""
    if missing():
        pytest.skip(missing())

    def run(code: str, **values: object) -> dict[str, Any]:
        head = (
            "import json, sys\nimport numpy as np\nfrom imagej_bridge import start\n"
            "from tests.imagej.images import *\nfrom deepbio.errors import DeepBioError\n"
            f"session = start(ij_jar={str(JAR)!r})\nvalues = json.loads({json.dumps(json.dumps(values))})\ntold = {{}}\n"
        )
        script = tmp_path / "script.py"
        script.write_text(head + code + "\nprint('told', json.dumps(told))\n", encoding="utf-8")
        env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
        env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), env.get("PYTHONPATH", "")])
        command = [sys.executable, "-W", "error", str(script)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr[-3000:]
        *printed, line = done.stdout.splitlines()
        return {
            **json.loads(line.removeprefix("told ")),
            "printed": printed,
        }  # the Log is printed where there is no screen

    return run


def test_all_outputs_without_a_screen(headless: Any, threshold_model: Path, tmp_path: Path) -> None:
    told = headless(
        """
image = spots("TZYX", show=session.show)
before = planes(image)
words = f"model=[{values['model']}] runtime=onnx device=cpu"
segment = lambda more: f'run("DeepBio Segment", "{words} {more}");'
told["title"] = session.run_macro(segment("output=labels,rois,overlay,table") + "t = getTitle(); return t;")
labels = java("ij.WindowManager").getCurrentImage()
told["foreground"] = bool(((planes(labels) > 0) == (before > 1000)).all())
told["overlays"] = [int(one.getOverlay().size()) for one in (image, labels)]
told["rows"] = int(results().size())
session.run_macro('selectWindow("cells.tif");' + segment("output=labels,rois frames=2-3 slices=4"))
part = java("ij.WindowManager").getCurrentImage()
told["part"] = [int(roi.getPosition()) for roi in part.getOverlay().toArray()]
part.close()
told["unchanged"] = bool((planes(image) == before).all())
told["loop"] = session.run_macro(
    'n = 0; for (i = 0; i < 3; i++) { selectWindow("cells.tif");' + segment("output=labels") + "n += nImages; } s = d2s(n, 0); return s;")
told["ext"] = session.run_macro(
    'run("DeepBio Macro Extensions"); selectWindow("cells.tif"); n = Ext.segment("' + values["model"] + '", "output=table frames=1 slices=1"); return n;')
session.run_macro('run("DeepBio Models"); run("DeepBio Doctor"); run("DeepBio Release");')
told["saved"] = session.run_macro(f'''selectWindow("cells.tif");
    run("DeepBio Segment", "{words} output=rois output_dir=[{values['out']}]"); return "well";''')
""",
        model=str(threshold_model),
        out=str(tmp_path / "out"),
    )
    assert told["title"] == "cells-labels"
    assert told["foreground"]
    assert told["unchanged"]
    assert told["overlays"] == [30, 30]
    assert told["rows"] == 30
    assert told["part"] == [1, 1, 2, 2]  # as the planes of the labels, which are a movie of two frames
    assert any("no ROI Manager" in line and "overlay of the labels" in line for line in told["printed"])
    assert told["loop"] == str(3 + 4 + 5)
    assert told["ext"] == "2"
    assert any(line.startswith("nuclei\tsegment") for line in told["printed"])
    assert told["saved"] == "well"
    assert (tmp_path / "out" / "cells-rois.zip").exists()


def test_errors_without_a_screen(headless: Any, threshold_model: Path) -> None:
    told = headless(
        """
spots(show=session.show)
words = f"model=[{values['model']}] runtime=onnx device=cpu"
macros = {
    "model": 'run("DeepBio Segment", "model=none"); print("went on");',
    "rois": f'run("DeepBio Segment", "{words} output=rois"); print("went on");',
    "variable": 'a = 1;\\nb = c;\\nprint("went on");',
    "image": 'selectWindow("b.tif"); print("went on");',
    "command": 'a = 1;\\nfor (i = 0; i < 2; i++) {\\n  run("No Such"); print("went on");\\n}',
    "dialog": 'Dialog.create("a"); Dialog.show(); print("went on");',
    "nested": 'eval("run(\\'DeepBio Segment\\', \\'model=none\\');"); print("went on");',
    "exit": 'exit("enough"); print("went on");',
}
for name, macro in macros.items():
    try:
        session.run_macro(macro)
        told[name] = "nothing"
    except DeepBioError as error:
        told[name] = error.message
spots(show=session.show)  # errors of ImageJ itself let go of the images in batch mode
told["after"] = session.run_macro(f'run("DeepBio Segment", "{words} output=labels"); t = getTitle(); return t;')
""",
        model=str(threshold_model),
    )
    assert "'none'" in told["model"]
    assert "Without a screen there is no ROI Manager" in told["rois"]
    assert "Undefined variable (line 2)" in told["variable"]
    assert (
        told["image"] == "The macro was aborted: see ImageJ's Log, which is printed where there is no screen."
    )
    assert 'No window with the title "b.tif" found.' in told["printed"]
    assert told["dialog"] == "The macro was aborted: it opens a window, and there is no screen."
    assert told["command"] == 'The macro was aborted: Unrecognized command: "No Such" (line 3).'
    assert [line for line in told["printed"] if "HeadlessException" in line] == []
    assert "'none'" in told["nested"]
    assert told["exit"] == "nothing"  # a macro's own decision; what it said is printed
    assert any("enough" in line for line in told["printed"])
    assert [line for line in told["printed"] if "went on" in line] == []
    assert told["after"] == "cells-labels"
    assert all("\n" not in text for name, text in told.items() if name != "printed")


# -- deepbio fiji run


@pytest.fixture
def command(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``deepbio fiji run`` of a macro's text, with or without a screen."""
    if missing():
        pytest.skip(missing())

    def run(macro: str, *words: object, display: bool = False) -> Any:
        path = tmp_path / "macro.ijm"
        path.write_text(macro, encoding="utf-8")
        env = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
        env |= {"DISPLAY": request.getfixturevalue("screen")} if display else {}
        return process("fiji", "run", path, "--ij-jar", JAR, *words, env=env, timeout=TIMEOUT)

    return run


@pytest.mark.parametrize("display", [False, True], ids=["no screen", "screen"])
def test_a_macro_on_the_command_line(
    command: Any, tmp_path: Path, threshold_model: Path, display: bool
) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", bright_spots())
    macro = (
        f'run("DeepBio Segment", "model=[{threshold_model}] output=labels,table");\n'
        f'saveAs("Tiff", "{tmp_path}/saved.tif");\nreturn getArgument() + " " + nResults;'
    )
    done = command(macro, "--image", tmp_path / "cells.tif", "--args", "rows:", display=display)
    assert (done.code, done.out.strip()) == (0, "rows: 2"), done.err
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "saved.tif") > 0, bright_spots() > 1000)


def test_json_has_stdout_for_itself(command: Any) -> None:
    done = command('print("to the Log"); run("DeepBio Models", "output=log"); return "" + 6 * 7;', "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"event": "result", "result": "42"}
    failed = command('run("DeepBio Segment", "model=nuclei");', "--json")
    told = json.loads(failed.out)
    assert (told["event"], told["error"], told["code"]) == ("error", "ImageError", failed.code)


def test_a_macro_that_fails_on_the_command_line(command: Any) -> None:
    done = command('run("DeepBio Segment", "model=nuclei");\nreturn "went on";')
    assert done.code != 0
    assert "No image is open" in done.err
    assert "Traceback" not in done.err
    assert "went on" not in done.out


def test_a_macro_that_ends_java(command: Any) -> None:
    done = command('call("java.lang.System.exit", "0");', display=True)
    assert (done.code, done.err) == (0, "")


@pytest.mark.skipif("DEEPBIO_FIJI" not in os.environ, reason="no Fiji here: DEEPBIO_FIJI names no folder")
def test_fiji_through_pyimagej(tmp_path: Path, threshold_model: Path) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", bright_spots())
    macro = tmp_path / "macro.ijm"
    macro.write_text(
        f'run("DeepBio Segment", "model=[{threshold_model}] output=labels"); t = getTitle(); return t;'
    )
    fiji = ["--fiji", os.environ["DEEPBIO_FIJI"], "--headless"]
    done = process("fiji", "run", macro, "--image", tmp_path / "cells.tif", *fiji, timeout=300)
    assert (done.code, done.out.strip().splitlines()[-1]) == (0, "cells-labels"), done.err
