"""Descriptions that are odd, foreign or broken."""

from __future__ import annotations

import pytest

from deepbio.errors import ImageError
from deepbio.io.tiff_meta import imagej_facts, map_axes, ome_facts


@pytest.mark.parametrize(
    ("meta", "resolution", "spacing"),
    [
        ({"unit": "um", "spacing": 0}, (2.0, 2.0), {"x": 0.5, "y": 0.5, "z": 1}),
        ({"unit": "um", "spacing": "wide"}, (2.0, 2.0), {"x": 0.5, "y": 0.5, "z": 1}),
        ({"unit": "um", "spacing": -2}, None, {"x": 1, "y": 1, "z": 1}),
        ({"spacing": 3}, (72.0, 72.0), {"x": 1, "y": 1, "z": 3}),
    ],
)
def test_spacing_is_always_positive(
    meta: dict, resolution: tuple[float, float] | None, spacing: dict
) -> None:
    facts = imagej_facts(meta, resolution, 1)
    assert dict(facts.spacing) == pytest.approx(spacing)
    assert bool(facts.notes) == (meta["spacing"] in (0, -2))


@pytest.mark.parametrize("text", ["{", "[1]", '{"labels": 3}', '{"labels": {"x": "y"}}'])
def test_an_entry_of_ours_that_was_changed_is_left_out(text: str) -> None:
    facts = imagej_facts({"deepbio": text}, None, 1)
    assert facts.direction is None
    assert not facts.meta.get("labels")


@pytest.mark.parametrize("xml", ["<OME>", "<OME/>", "<a><b/></a>"])
def test_broken_ome(xml: str) -> None:
    with pytest.raises(ImageError, match="OME-XML"):
        ome_facts(xml, "YX")


@pytest.mark.parametrize(
    ("attributes", "unit", "x", "interval"),
    [
        ('PhysicalSizeX="0.5"', "micrometer", 0.5, None),
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="furlong"', "pixel", 0.5, None),
        (
            'PhysicalSizeX="2" PhysicalSizeXUnit="cm" TimeIncrement="3" TimeIncrementUnit="ms"',
            "millimeter",
            20,
            0.003,
        ),
        ('TimeIncrement="3" TimeIncrementUnit="moon"', "pixel", 1, None),
        ("", "pixel", 1, None),
    ],
)
def test_units_of_ome(attributes: str, unit: str, x: float, interval: float | None) -> None:
    facts = ome_facts(f"<OME><Image><Pixels {attributes}/></Image></OME>", "YX")
    assert (facts.unit, facts.frame_interval) == (unit, interval)
    assert facts.spacing["x"] == pytest.approx(x)
    assert bool(facts.notes) == ("furlong" in attributes)


def test_uneven_times_are_no_interval() -> None:
    planes = "".join(f'<Plane TheC="0" TheZ="0" TheT="{i}" DeltaT="{t}"/>' for i, t in enumerate([0, 1, 5]))
    assert ome_facts(f"<OME><Image><Pixels>{planes}</Pixels></Image></OME>", "TYX").frame_interval is None


def test_colours_and_channels_at_once() -> None:
    with pytest.raises(ImageError, match="not both"):
        map_axes("CYXS", "imagej")
