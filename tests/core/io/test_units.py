"""Units as files spell them."""

from __future__ import annotations

import pytest

from deepbio.io.units import parse_length, parse_time


@pytest.mark.parametrize(
    "text",
    [
        "um",
        "µm",
        "\u03bcm",
        "\\u00B5m",
        "Âµm",
        "micron",
        "microns",
        "Micrometer",
        "micrometre",
        "micrometers",
        " um ",
    ],
)
def test_micrometers_have_many_names(text: str) -> None:
    assert parse_length(text) == ("micrometer", 1.0)


@pytest.mark.parametrize(
    ("text", "unit", "factor"),
    [
        ("nm", "micrometer", 1e-3),
        ("Å", "micrometer", 1e-4),
        ("mm", "millimeter", 1),
        ("cm", "millimeter", 10),
        ("m", "millimeter", 1000),
        ("inch", "millimeter", 25.4),
        ("inches", "millimeter", 25.4),
        ("in", "millimeter", 25.4),
        ("feet", "millimeter", 304.8),
        ("pixel", "pixel", 1),
        ("pixels", "pixel", 1),
        ("", "pixel", 1),
    ],
)
def test_lengths(text: str, unit: str, factor: float) -> None:
    found = parse_length(text)
    assert found is not None
    assert found[0] == unit
    assert found[1] == pytest.approx(factor)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("s", 1),
        ("sec", 1),
        ("seconds", 1),
        ("ms", 1e-3),
        ("msec", 1e-3),
        ("min", 60),
        ("minutes", 60),
        ("hr", 3600),
        ("days", 86400),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds)


def test_what_is_not_known_is_none() -> None:
    assert parse_length("furlong") is None
    assert parse_time("fortnight") is None
