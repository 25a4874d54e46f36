"""RunOptions: ranges, parsing of texts, errors that name what is near."""

from dataclasses import fields

import pytest

from deepbio.errors import OptionError
from deepbio.options import RunOptions

DEFAULTS = RunOptions()


def test_every_option_explains_itself() -> None:
    for option in fields(RunOptions):
        assert len(option.metadata["help"]) > 10, option.name
        assert ("low" in option.metadata) == ("high" in option.metadata), option.name


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("tile", "512", 512),
        ("tile", " auto ", None),
        ("tile", "", None),
        ("overlap", "0.25", 0.25),
        ("overlap", "None", None),
        ("batch", "4", 4),
        ("diameter", "12.5", 12.5),
        ("diameter", "auto", None),
        ("channel", "DAPI", "DAPI"),
        ("per_slice", "", True),
        ("mirror", "true", True),
        ("per_slice", "yes", True),
        ("per_slice", "FALSE", False),
        ("per_slice", "0", False),
        ("threshold", "1e-1", 0.1),
        ("min_size", "0", 0),
        ("output", "labels, table", ("labels", "table")),
        ("device", "cuda:1", "cuda:1"),
        ("runtime", "onnx", "onnx"),
    ],
)
def test_text_is_read(name: str, text: str, value: object) -> None:
    options = RunOptions.parse({name: text})
    assert getattr(options, name) == value
    rest = {option.name for option in fields(RunOptions)} - {name}
    assert all(getattr(options, other) == getattr(DEFAULTS, other) for other in rest)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tile", "8", "'tile' is 8; expected 16 to 16384"),
        ("tile", "20000", "expected 16 to 16384"),
        ("tile", "big", "'tile' is 'big'; expected a whole number or auto"),
        ("overlap", "0.95", "expected 0.0 to 0.9"),
        ("overlap", "nan", "'overlap' is nan; expected 0.0 to 0.9"),
        ("overlap", "half", "expected a number or auto"),
        ("diameter", "0", "'diameter' is 0.0; expected 0.5 to 100000.0"),
        ("diameter", "nan", "'diameter' is nan; expected 0.5"),
        ("diameter", "small", "'diameter' is 'small'; expected a number or auto"),
        ("precision", "fp8", "'precision' is 'fp8'; expected one of auto, fp32, bf16, fp16"),
        ("per_slice", "maybe", "expected true or false"),
        ("output", "labels,cake", "'output' is 'cake'; expected one of labels"),
        ("device", "gpu", "'device' is 'gpu'; expected auto, cpu, cuda"),
        ("device", "cuda:first", "expected auto, cpu, cuda, cuda:N"),
    ],
)
def test_bad_value_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        RunOptions.parse({name: text})
    assert message in str(caught.value)


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(OptionError) as caught:
        RunOptions.parse({"overlapp": "0.5"})
    assert caught.value.message == "There is no option 'overlapp'."
    assert caught.value.hint == "Did you mean 'overlap'?"


def test_unknown_name_far_from_all_gets_the_list() -> None:
    with pytest.raises(OptionError) as caught:
        RunOptions.parse({"xyzzy": "1"})
    assert all(option.name in caught.value.hint for option in fields(RunOptions))


def test_replace_checks_again() -> None:
    assert RunOptions(tile=64).replace(overlap=0.5) == RunOptions(tile=64, overlap=0.5)
    with pytest.raises(OptionError):
        RunOptions(tile=64).replace(overlap=2.0)
