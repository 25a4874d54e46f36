"""Macros call our commands, in the ways in which macros call commands."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagej_bridge.commands import COMMANDS
from tests.imagej.calls import aborted, segment
from tests.imagej.images import column, java, log_lines, planes, results, spots, titles

# -- one command


def test_labels_are_the_current_image_when_the_line_returns(session: Any, model: str) -> None:
    image = spots()
    before = planes(image)
    told = session.run_macro(segment(model, "output=labels") + "getStatistics(n, mean, low, high); return getTitle() + high;")  # fmt: skip
    assert told == "cells-labels2"
    assert titles() == ["cells.tif", "cells-labels"]
    np.testing.assert_array_equal(planes(image), before)
    assert not image.changes


def test_the_defaults_are_labels_and_table(session: Any, model: str) -> None:
    spots()
    session.run_macro(segment(model))
    assert titles() == ["cells.tif", "cells-labels"]
    assert column("label") == [1, 2]
    assert column("image") == ["cells.tif", "cells.tif"]


def test_a_bundled_model_is_named(session: Any) -> None:
    path = Path(__file__).parents[2] / "examples" / "fluorescence.tif"
    told = session.run_macro(
        segment("model=nuclei", "output=labels runtime=onnx device=cpu")
        + 's = Property.get("DeepBio.model"); return s;',
        image=path,
    )
    assert told.startswith("nuclei ")
    assert planes(java("ij.WindowManager").getCurrentImage()).max() > 10


def test_run_takes_models_of_any_task(session: Any, model: str) -> None:
    spots()
    assert (
        session.run_macro(f'run("DeepBio Run", "{model} output=labels"); return getTitle();')
        == "cells-labels"
    )


def test_a_task_whose_models_do_not_take_the_image_says_why(session: Any) -> None:
    spots()
    told = aborted(session, 'run("DeepBio Sequence", "");')
    assert "No model takes this image. heart-cine: " in told
    assert "follows frames through time; the image has 1 frame" in told


@pytest.mark.parametrize("word", ["Restore", "Sequence", "Classify", "Generate"])
def test_models_of_another_task_say_where_they_run(session: Any, word: str, model: str) -> None:
    spots()
    told = aborted(session, f'run("DeepBio {word}", "{model}");')
    assert 'run("DeepBio Segment"' in told


def test_models_in_a_table_and_in_the_log(session: Any) -> None:
    session.run_macro('run("DeepBio Models");')
    table = java("ij.measure.ResultsTable").getResultsTable("DeepBio Models")
    assert "nuclei" in [str(table.getStringValue("name", row)) for row in range(int(table.size()))]
    assert int(results().size()) == 0
    session.run_macro('run("DeepBio Models", "output=log");')
    assert any(line.startswith("nuclei  segment") for line in log_lines())


def test_doctor(session: Any) -> None:
    session.run_macro('run("DeepBio Doctor", "output=log");')
    assert any("onnxruntime" in line for line in log_lines())


def test_release(session: Any, model: str) -> None:
    session.run_macro('run("DeepBio Release"); run("DeepBio Release");')
    assert log_lines()[-1] == "DeepBio holds no model."
    spots()
    session.run_macro(segment(model) + 'run("DeepBio Release", "");')
    assert log_lines()[-1] == "DeepBio let go: spots."


def test_commands_of_imagej_are_left_to_it(session: Any) -> None:
    spots()
    session.run_macro('run("Invert"); run("Duplicate...", "title=copy");')
    assert titles() == ["cells.tif", "copy"]


def test_a_command_that_is_not_there(session: Any) -> None:
    spots()
    assert "Did you mean DeepBio Segment" in aborted(session, 'run("DeepBio Segmnet", "model=nuclei");')


# -- which image


def test_another_image_is_named_by_title_or_id(session: Any, model: str) -> None:
    first = spots(title="my cells.tif")
    spots(title="other.tif")
    for name in ("[my cells.tif]", str(first.getID())):
        told = session.run_macro(segment(model, f"output=labels input={name}") + "return getTitle();")
        assert told.startswith("my cells-labels")


def test_no_image(session: Any, model: str) -> None:
    assert "No image is open" in aborted(session, segment(model))
    spots()
    assert "There is no image 'b.tif'. Open are: cells.tif." in aborted(
        session, segment(model, "input=b.tif")
    )


def test_titles_are_unique_and_may_be_given(session: Any, model: str) -> None:
    spots()
    macro = segment(model, "output=labels input=cells.tif")
    session.run_macro(macro + macro + segment(model, "output=labels input=cells.tif title=[my result]"))
    assert titles() == ["cells.tif", "cells-labels", "cells-labels-1", "my result"]


def test_frames_and_slices(session: Any, model: str) -> None:
    image = spots("TZYX")
    image.setPosition(1, 3, 2)
    macro = segment(model, "output=labels frames=current slices=2-4") + "Stack.getDimensions(w, h, c, z, t); return d2s(z, 0) + d2s(t, 0);"  # fmt: skip
    assert session.run_macro(macro) == "31"


def test_a_channel(session: Any, model: str) -> None:
    image = spots("CYX")
    image.setPosition(2, 1, 1)
    told = aborted(session, segment(model))
    assert "channel" in told
    session.run_macro(segment(model, "output=labels channel=2"))
    found = planes(java("ij.WindowManager").getCurrentImage())
    assert found.shape == (1, 37, 53)
    np.testing.assert_array_equal(found[0] > 0, planes(image)[1] > 1000)


def test_a_selection_does_not_matter_and_stays(session: Any, model: str) -> None:
    image = spots()
    session.run_macro("makeRectangle(2, 3, 9, 8);" + segment(model, "output=labels"))
    assert planes(java("ij.WindowManager").getCurrentImage()).max() == 2
    assert image.getRoi().getBounds().width == 9


# -- how macros call


def test_batch_mode(session: Any, model: str) -> None:
    spots()
    told = session.run_macro(
        "setBatchMode(true);"
        + segment(model, "output=labels")
        + 'title = getTitle(); n = nImages; getStatistics(a, b, c, high); setBatchMode("exit and display");'
        + 'return title + " " + n + " " + high;'
    )
    assert told == "cells-labels 2 2"
    assert titles() == ["cells.tif", "cells-labels"]


def test_batch_mode_leaves_no_window(session: Any, model: str) -> None:
    spots()
    windows = int(java("ij.WindowManager").getWindowCount())
    session.run_macro(
        "setBatchMode(true);" + segment(model, "output=labels") + "close(); setBatchMode(false);"
    )
    assert int(java("ij.WindowManager").getWindowCount()) == windows
    assert titles() == ["cells.tif"]


def test_a_loop_loads_the_model_once(session: Any, model: str) -> None:
    spots()
    loads = counted_loads(session)
    told = session.run_macro(
        "setBatchMode(true);\nfor (i = 0; i < 5; i++) {\nselectWindow('cells.tif');\n"
        + segment(model, "output=labels,table")
        + "close();\n}\nreturn d2s(nResults, 0);"
    )
    assert told == "10"
    assert loads == [1]


def counted_loads(session: Any) -> list[int]:
    """How many models have been loaded from now on, in a list of one."""
    session.bridge.desk.models.release()
    models, loads = session.bridge.desk.models._models, [0]

    class Counting(type(models)):  # type: ignore[misc]
        def __setitem__(self, key: object, value: object) -> None:
            loads[0] += 1
            super().__setitem__(key, value)

    session.bridge.desk.models._models = Counting(models)
    return loads


def test_in_a_function_and_nested_macros(session: Any, model: str, tmp_path: Path) -> None:
    spots()
    (tmp_path / "inner.ijm").write_text(segment(model, "output=labels") + "return getTitle();")
    told = session.run_macro(
        "function find(more) {\n"
        f'  run("DeepBio Segment", "{model} " + more);\n  return getTitle();\n}}\n'
        f'a = find("output=labels");\nselectWindow("cells.tif");\nb = runMacro("{tmp_path}/inner.ijm");\n'
        'selectWindow("cells.tif");\nc = eval("'
        + segment(model, "output=labels").strip().replace('"', '\\"')
        + ' return getTitle();");\nreturn a + " " + b + " " + c + " " + getTitle();'
    )
    assert told == "cells-labels cells-labels-1 cells-labels-2 cells-labels-2"


def test_from_java(session: Any, ij: Any, model: str) -> None:
    spots()
    ij.run("DeepBio Segment", f"{model} output=labels")
    assert titles() == ["cells.tif", "cells-labels"]
    macro = segment(model, "output=labels") + "return getTitle();"
    assert str(ij.runMacro(macro)) == "cells-labels-labels"


def test_from_another_thread(session: Any, ij: Any, model: str) -> None:
    spots()
    done: list[str] = []

    def work() -> None:
        done.append(str(ij.runMacro(segment(model, "output=labels") + "return getTitle();")))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert done == ["cells-labels"]


# -- Ext


def test_extensions(session: Any, model: str) -> None:
    spots()
    quoted = model.removeprefix("model=[").split("]")[0]
    told = session.run_macro(
        'run("DeepBio Release"); run("DeepBio Macro Extensions");\n'
        f'n = Ext.segment("{quoted}", "output=labels min_size=2");\nExt.last("title", title);\nExt.last("model", name);\n'
        f'selectWindow("cells.tif");\nm = Ext.run("{quoted}");\n'
        "list = Ext.models();\ngone = Ext.release();\n"
        'return n + "|" + title + "|" + name + "|" + m + "|" + list + "|" + gone;'
    )
    n, title, name, m, models, gone = told.split("|")
    assert (n, title, name, m, gone) == ("2", "cells-labels", "spots", "2", "spots")
    assert "nuclei" in models.split(",")


@pytest.mark.parametrize(
    "call",
    [
        'Ext.segment("none", "");',
        'Ext.segment("nuclei", "modle=3");',
        'Ext.segment("nuclei", "title=[a");',
        'Ext.segment("nuclei", "model=hippocampus");',
        'Ext.segment("][ \' \\"", "");',
    ],
)
def test_extensions_abort_too(session: Any, call: str) -> None:
    spots()
    aborted(session, f'run("DeepBio Macro Extensions"); {call}')


def test_what_is_not_known_of_the_last_run_is_empty(session: Any) -> None:
    assert (
        session.run_macro('run("DeepBio Macro Extensions"); Ext.last("xyzzy", s); return "<" + s + ">";')
        == "<>"
    )


# -- all commands


def test_every_command_is_tried_here() -> None:
    text = Path(__file__).read_text() + Path(__file__).with_name("test_commands.py").read_text()
    tried = {
        "DeepBio Restore",
        "DeepBio Sequence",
        "DeepBio Classify",
        "DeepBio Generate",
        "DeepBio Features",
    }
    assert [name for name in COMMANDS if name not in tried and f'"{name}"' not in text] == []
