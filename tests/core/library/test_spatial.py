"""What a card says about space is checked when it is read, and shown."""

import pytest

from deepbio.errors import CardError
from deepbio.library import read_card

GOOD = [
    {"grid": {"spacing": [1.5, None, 0.7], "unit": "micrometer", "orientation": "SAR", "crop": "nonzero"}},
    {"grid": {"orientation": "LPI"}},
    {"grid": {}},
    {"grid": {"spacing": [1.0, 1.0, 1.0], "interpolation": "monai", "inside": "nonzero", "back": "nearest"}},
    {"grid": {"crop": "positive"}},
    {"mirror": [0, 2]},
    {"mirror": []},
    {"per_slice": False},
    {"sizes": {"typical": [14, 60.5], "target": [20, 40], "zoom": [1, 2], "auto": True}},
    {"sizes": {"typical": [14, 14]}},
]
BAD = [
    ({"grid": [1, 1, 1]}, "grid is .*expected a mapping"),
    ({"grid": {"spacings": [1, 1, 1]}}, "'spacings'.*known are spacing, unit, orientation, crop"),
    ({"grid": {"spacing": [1.0, 1.0]}}, "one for each of the network's 3 axes"),
    ({"grid": {"spacing": [1.0, -1.0, 1.0]}}, "positive numbers"),
    ({"grid": {"spacing": [1.0, float("nan"), 1.0]}}, "positive numbers"),
    ({"grid": {"spacing": [1.0, True, 1.0]}}, "positive numbers"),
    ({"grid": {"spacing": 1.0}}, "positive numbers"),
    ({"grid": {"unit": "inch"}}, "unit 'inch'; expected one of millimeter, micrometer"),
    ({"grid": {"orientation": "SAS"}}, "orientation 'SAS'; expected one of L/R"),
    ({"grid": {"orientation": "SA"}}, "orientation 'SA'"),
    ({"grid": {"orientation": ["S", "A", "R"]}}, "orientation"),
    ({"grid": {"crop": "body"}}, "crop 'body'; expected 'nonzero' or 'positive'"),
    ({"grid": {"interpolation": "cubic"}}, "interpolation 'cubic'; expected 'nnunet' or 'monai' or 'linear'"),
    ({"grid": {"inside": "nonzero"}}, "inside, which needs interpolation"),
    ({"grid": {"interpolation": "nnunet", "back": "nearest"}}, "back, which needs interpolation 'monai'"),
    ({"mirror": [3]}, r"mirror is \[3\]; expected different axes, 0 to 2"),
    ({"mirror": [0, 0]}, "different axes"),
    ({"mirror": "x"}, "different axes"),
    ({"mirror": [True]}, "different axes"),
    ({"per_slice": True}, "per_slice is true, but its network is 3D"),
    ({"per_slice": "yes"}, "expected true or false"),
    ({"sizes": [14, 60]}, "sizes is .*expected a mapping"),
    ({"sizes": {}}, "typical None; expected the smallest and the largest"),
    ({"sizes": {"typical": [60, 14]}}, r"typical \[60, 14\]; expected the smallest"),
    ({"sizes": {"typical": [14, float("inf")]}}, "expected the smallest"),
    ({"sizes": {"typical": [True, 60]}}, "expected the smallest"),
    ({"sizes": {"typical": [14, 60], "typcial": 3}}, "'typcial'.*known are typical, target, zoom, auto"),
    ({"sizes": {"typical": [14, 60], "target": 20}}, "target 20; expected .* two diameters from 14 to 60"),
    ({"sizes": {"typical": [14, 60], "target": [10, 40]}}, "two diameters from 14 to 60"),
    ({"sizes": {"typical": [14, 60], "zoom": [1.5, 2]}}, r"zoom \[1.5, 2\]; expected .* with 1 between"),
    ({"sizes": {"typical": [14, 60], "zoom": 2}}, "zoom 2; expected"),
    ({"sizes": {"typical": [14, 60], "auto": "yes"}}, "auto 'yes'; expected true or false"),
]


def _changed(entries):
    def change(card):
        card["config"]["deepbio"].update(entries)

    return change


@pytest.mark.parametrize("entries", GOOD, ids=str)
def test_good_entries_are_read(tiny, tmp_path, entries) -> None:
    card = read_card(tiny(tmp_path / "model", _changed(entries)))
    for name, value in entries.items():
        assert card.deepbio[name] == value
        assert card.describe()[name] == value


@pytest.mark.parametrize(("entries", "message"), BAD, ids=str)
def test_bad_entries_are_told(tiny, tmp_path, entries, message) -> None:
    with pytest.raises(CardError, match=message):
        read_card(tiny(tmp_path / "model", _changed(entries)))


def test_a_2d_network_has_no_orientation(tiny, tmp_path) -> None:
    def flat(card):
        card["config"]["deepbio"]["grid"] = {"orientation": "SAR"}
        card["inputs"][0].pop("preprocessing")
        for tensor in (*card["inputs"], *card["outputs"]):
            tensor["axes"] = [axis for axis in tensor["axes"] if axis.get("id") != "z"]

    with pytest.raises(CardError, match="its network is 2D"):
        read_card(tiny(tmp_path / "model", flat))
