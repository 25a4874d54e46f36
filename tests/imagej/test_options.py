"""The grammar of option strings; nothing of it needs Java."""

from __future__ import annotations

import random
from dataclasses import fields

import pytest

from deepbio.errors import OptionError
from deepbio.options import RunOptions
from imagej_bridge.options import (
    BatchOptions,
    DeepImageJOptions,
    ImageOptions,
    NoOptions,
    TableOptions,
    format_words,
    parse_span,
    parse_words,
    read_options,
    run_options,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", {}),
        ("   ", {}),
        ("model=nuclei", {"model": "nuclei"}),
        ("  model=nuclei\tmin_size=20 \n", {"model": "nuclei", "min_size": "20"}),
        ("Model=Nuclei MIN_SIZE=20", {"model": "Nuclei", "min_size": "20"}),
        ("per_slice", {"per_slice": None}),
        ("per_slice mirror=true", {"per_slice": None, "mirror": "true"}),
        ("title=[my cells]", {"title": "my cells"}),
        ("title=[]", {"title": ""}),
        ("title=", {"title": ""}),
        ("title= min_size=3", {"title": "", "min_size": "3"}),
        ("title=[a [b] c]", {"title": "a [b] c"}),
        ("title=[[a]]", {"title": "[a]"}),
        ("title=a[1]", {"title": "a[1]"}),
        ("title=it's", {"title": "it's"}),
        ("title=[it's]", {"title": "it's"}),
        ('title="my cells"', {"title": "my cells"}),
        ("title='my cells'", {"title": "my cells"}),
        ('title="a ] b"', {"title": "a ] b"}),
        ('title=[say "hi"]', {"title": 'say "hi"'}),
        ("title=a=b", {"title": "a=b"}),
        ("output_dir=[C:\\my data\\out]", {"output_dir": "C:\\my data\\out"}),
        ("output_dir=/a/b", {"output_dir": "/a/b"}),
        ("title=[Zellkerne µm, 細胞]", {"title": "Zellkerne µm, 細胞"}),
        ("title=細胞", {"title": "細胞"}),
        ("title=[a\nb]", {"title": "a\nb"}),
    ],
)
def test_words(text: str, words: dict[str, str | None]) -> None:
    assert parse_words(text) == words


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title=[my cells", "'title' begins with [ and has no ]"),
        ("title=[a [b] c", "'title' begins with [ and has no ]"),
        ('title="my cells', "'title' begins with \" and has no \""),
        ("title='my cells", "'title' begins with ' and has no '"),
        ("title=[a]b", "'title=[a]b' is not understood"),
        ("title=[a]]", "'title=[a]]' is not understood"),
        ('title="a"b"', "is not understood"),
        ("=5", "'=5' is not understood"),
        ("model=nuclei , min_size=3", "',' is not understood"),
        ("[a b]", "'[a' is not understood"),
        ("größe=3", "is not understood"),
        ("5=model", "'5=model' is not understood"),
        ("model:nuclei", "'model:nuclei' is not understood"),
        ("model=a model=b", "'model' is given twice"),
        ("model=a MODEL=b", "'model' is given twice"),
        ("per_slice per_slice=true", "'per_slice' is given twice"),
    ],
)
def test_what_is_not_understood(text: str, reason: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_words(text)
    assert reason in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.hint


VALUES = [
    "a", "", "a b", "[", "]", "[]", "a[b]c", "][", "]a[", "[[a]", '"', "'", "it's", 'say "hi"', "both ' and \"",
    "x ] y", 'x ] "y"', "tab\there", "line\nbreak", "C:\\a b\\c", "µ 細胞", "=", "a=b c=d", " ", " a ", ",",
    "]'\"", "a['\"",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_what_is_written_is_read_again(value: str) -> None:
    words = {"title": value, "mirror": None, "min_size": "3"}
    assert parse_words(format_words(words)) == words


def test_any_words_are_read_again() -> None:
    random.seed(5)
    refused = []
    for _ in range(3000):
        value = "".join(random.choices("ab [\"]'=\\é", k=random.randint(0, 6)))
        words = {"model": "a", "title": value, "log": None}
        try:
            assert parse_words(format_words(words)) == words, value
        except OptionError:
            refused.append(value)
    assert len(refused) < 60
    assert all('"' in value and "'" in value and ("[" in value or "]" in value) for value in refused)


@pytest.mark.parametrize("value", ["]a[ 'b' \"c\"", "['\""])
def test_what_cannot_be_written_is_refused(value: str) -> None:
    with pytest.raises(OptionError, match=r"'title'.*cannot be written in a macro"):
        format_words({"title": value})


def test_any_text_is_read_or_refused() -> None:
    random.seed(7)
    parts = [
        "model",
        "=",
        "[",
        "]",
        '"',
        "'",
        " ",
        ",",
        "5",
        "µ",
        "\\",
        "\n",
        "title=",
        "per_slice",
        "\0",
        "=[a b]",
    ]
    refused = 0
    for _ in range(3000):
        text = "".join(random.choices(parts, k=random.randint(0, 8)))
        try:
            words = parse_words(text)
        except OptionError:
            refused += 1
        else:
            assert parse_words(format_words(words)) == words, text
    assert 300 < refused < 3000


def test_the_options_of_an_image() -> None:
    text = (
        "model=nuclei tile=256 overlap=0.25 min_size=auto output=labels,rois per_slice mirror=no frames=2-3"
    )
    options, given = read_options(ImageOptions, text)
    assert (options.model, options.tile, options.overlap, options.min_size) == ("nuclei", 256, 0.25, None)
    assert (options.output, options.per_slice, options.mirror) == (("labels", "rois"), True, False)
    assert options.frames == "2-3"
    assert given == {"model", "tile", "overlap", "min_size", "output", "per_slice", "mirror", "frames"}


@pytest.mark.parametrize("kind", [ImageOptions, BatchOptions])
def test_every_option_of_the_core_is_there(kind: type) -> None:
    assert {one.name for one in fields(RunOptions)} <= {one.name for one in fields(kind)}


@pytest.mark.parametrize("kind", [ImageOptions, BatchOptions, DeepImageJOptions, TableOptions, NoOptions])
def test_every_option_is_explained_and_has_a_name_that_macros_find(kind: type) -> None:
    read_options(kind, "")
    for one in fields(kind):
        assert one.name == one.name.lower()
        assert one.name.isidentifier()
        assert one.metadata["help"]


def test_the_core_gets_its_own_options() -> None:
    options, _ = read_options(
        ImageOptions, "tile=64 min_size=5 threshold=0.25 output=rois device=cpu channel=2"
    )
    core = run_options(options, ("labels",))
    assert type(core) is RunOptions
    assert core == RunOptions(
        tile=64, min_size=5, threshold=0.25, output=("labels",), device="cpu", channel="2"
    )


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (ImageOptions, "modle=nuclei", ["'modle'", "'model'"]),
        (ImageOptions, "xyzzy=1", ["'xyzzy'", "Known:", "min_size"]),
        (ImageOptions, "minsize", ["'minsize'", "'min_size'"]),
        (ImageOptions, "model", ["'model' has no value", "model=value"]),
        (ImageOptions, "output=labels, rois", ["'rois'", "output=[labels, rois]"]),
        (ImageOptions, "title=my result", ["no option 'result'", "title=[my result]"]),
        (ImageOptions, "output_dir=/data/a b c log=debug", ["no option 'b'", "output_dir=[/data/a b]"]),
        (ImageOptions, "model=nuclei perslice", ["'perslice'", "Did you mean 'per_slice'"]),
        (ImageOptions, "title=[my result] new", ["no option 'new'", "Known:"]),
        (ImageOptions, "output=label", ["'output' is 'label'", "labels"]),
        (ImageOptions, "tile=big", ["'tile' is 'big'", "a whole number"]),
        (ImageOptions, "tile=2.5", ["'tile' is '2.5'", "a whole number"]),
        (ImageOptions, "tile=4", ["'tile' is 4", "16 to 16384"]),
        (ImageOptions, "overlap=0.95", ["'overlap' is 0.95", "0.0 to 0.9"]),
        (ImageOptions, "overlap=nan", ["'overlap' is nan"]),
        (ImageOptions, "mirror=maybe", ["'mirror' is 'maybe'", "true or false"]),
        (ImageOptions, "min_size=-1", ["'min_size' is -1"]),
        (ImageOptions, "device=gpu", ["'device' is 'gpu'", "cuda"]),
        (ImageOptions, "frames=0", ["'frames' is '0'", "counted from 1"]),
        (ImageOptions, "slices=5-2", ["'slices' is '5-2'"]),
        (ImageOptions, "slices=last", ["'slices' is 'last'"]),
        (ImageOptions, "log=loud", ["'log' is 'loud'", "normal, debug"]),
        (BatchOptions, "save=labels,pdf", ["'save' is 'pdf'"]),
        (TableOptions, "output=window", ["'output' is 'window'", "table, log"]),
        (NoOptions, "now", ["'now'", "none"]),
        (NoOptions, "model=nuclei", ["'model'", "none"]),
        (DeepImageJOptions, "modelPath=a", ["'modelpath'", "'model_path'"]),
    ],
)
def test_a_wrong_option_says_what_is_right(kind: type, text: str, told: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        read_options(kind, text)
    message = f"{caught.value.message} {caught.value.hint}"
    assert all(part in message for part in told), message
    assert "\n" not in message


def test_paths_from_home_are_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    options, _ = read_options(ImageOptions, "model=~/net output_dir=[~/my results] input=~/a.tif title=~/b")
    assert (options.model, options.output_dir) == ("/home/me/net", "/home/me/my results")
    assert (options.input, options.title) == ("~/a.tif", "~/b")  # titles
    assert read_options(BatchOptions, "input=~/in")[0].input == "/home/me/in"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", range(9)),
        ("", range(9)),
        (" All ", range(9)),
        ("current", range(3, 4)),
        ("1", range(1)),
        ("9", range(8, 9)),
        ("2-7", range(1, 7)),
        ("4-4", range(3, 4)),
        ("1-9", range(9)),
    ],
)
def test_spans(text: str, expected: range) -> None:
    assert parse_span("frames", text, 4, 9) == expected


@pytest.mark.parametrize("text", ["0", "10", "3-10", "5-4", "-3", "3-", "a", "1,2", "1.5", "2 - 3", "²"])
def test_spans_that_are_not_there(text: str) -> None:
    with pytest.raises(OptionError, match="'frames' is"):
        parse_span("frames", text, 4, 9)


def test_a_span_that_is_too_long_says_how_many_there_are() -> None:
    with pytest.raises(OptionError) as caught:
        parse_span("slices", "3-10", 1, 9)
    assert "the image has 9" in caught.value.message
    assert caught.value.hint == "Choose 1 to 9."


def test_objects_of_features_follow_the_title(tmp_path) -> None:
    import numpy as np

    from deepbio.image import LabelMap
    from deepbio.io import write
    from imagej_bridge.commands import _objects

    write(tmp_path / "cells-labels.tif", LabelMap(np.array([[0, 7], [7, 0]])))
    assert _objects(str(tmp_path), "cells.tif").numpy().tolist() == [[0, 7], [7, 0]]
    assert _objects("nuclei", "cells.tif") == "nuclei"
    assert _objects("", "cells.tif") is None
