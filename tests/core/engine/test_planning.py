"""From a card and a device to tiles."""

import itertools

import pytest

from deepbio.engine.device import Device, cpu_device
from deepbio.engine.ladder import Rung
from deepbio.engine.planning import first_rung, ladder_for, plan_for
from deepbio.errors import CardError

GIB = 1 << 30


def device(name, free, monkeypatch):
    monkeypatch.setattr(Device, "free", lambda self: free)
    return Device(name, name, 2 * free)


@pytest.mark.parametrize(
    ("ndim", "where", "free", "config", "options", "tile", "batch"),
    [
        (2, "cpu", 16 * GIB, {}, {}, (512, 512), 1),
        (3, "cpu", 16 * GIB, {}, {}, (128, 128, 128), 1),
        (2, "cuda:0", 16 * GIB, {}, {}, (1024, 1024), 10),
        (3, "cuda:0", 40 * GIB, {}, {}, (160, 160, 160), 6),
        (2, "cpu", 16 * GIB, {"tile": {"size": [256, 384]}}, {}, (256, 384), 1),
        (2, "cpu", 1 * GIB, {}, {}, (512, 512), 1),
        (2, "cpu", 300 << 20, {}, {}, (256, 256), 1),  # less memory: smaller tiles
        (2, "cpu", 0, {}, {}, (64, 64), 1),
        (3, "cpu", 1 * GIB, {}, {}, (64, 64, 64), 1),
        (2, "cpu", 0, {}, {"tile": 2000}, (2000, 2000), 1),  # the user's word
        (2, "cpu", 16 * GIB, {}, {"tile": (100, 300), "batch": 3}, (100, 300), 3),
        (2, "cuda:0", 1 << 50, {}, {}, (1024, 1024), 16),
    ],
)
def test_the_first_rung(plain_card, monkeypatch, ndim, where, free, config, options, tile, batch):
    card = plain_card(ndim, features=[32, 64], **config)
    rung = first_rung(card, device(where, free, monkeypatch), **options)
    assert (rung.tile, rung.batch, rung.precision) == (tile, batch, "auto")


def test_a_fixed_size_wins_over_all(plain_card, monkeypatch):
    card = plain_card(size=640, tile={"size": [512, 512]})
    rung = first_rung(card, device("cpu", 0, monkeypatch), tile=100)
    assert rung.tile == (640, 640)
    assert ladder_for(card, rung) == (rung,)


def test_a_card_with_a_tile_of_other_axes_is_wrong(plain_card):
    with pytest.raises(CardError, match="expected 2"):
        first_rung(plain_card(tile={"size": [64, 64, 64]}), cpu_device())


@pytest.mark.parametrize(
    ("card", "asked", "expected"),
    [
        ({}, None, 0.125),
        ({}, 0.4, 0.4),
        ({"tile": {"overlap": 0.25}}, None, 0.25),
        ({"tile": {"overlap": 0.25}}, 0.0, 0.0),
        ({"tile": {"shared": 128}}, None, 0.25),
        ({"tile": {"shared": 600}}, None, 0.75),
        ({"tile": {"shared": [64, 128]}}, None, 0.25),  # the larger one is told
        ({"halo": 48}, None, 0.1875),  # 2 * 48 of 512 pixels
        ({"halo": 400}, None, 0.5),
        ({"network": {"receptive_field": [384, 384]}}, None, 0.25),  # a third of it
    ],
)
def test_the_overlap(plain_card, card, asked, expected):
    rung = Rung(cpu_device(), "auto", (512, 512))
    assert plan_for(plain_card(**card), (2000, 2000), rung, overlap=asked).overlap == expected


def test_axes_share_what_the_card_says_of_each(plain_card):
    tile = {"size": [512, 512], "shared": [64, 256], "cell": [1, 4]}
    plan = plan_for(
        plain_card(minimum=8, step=8, tile=tile), (2000, 2000), Rung(cpu_device(), "auto", (512, 512))
    )
    shared = [[a + 512 - b for a, b in itertools.pairwise(starts)] for starts in plan.starts]
    assert (plan.cell, len(plan.starts[0]), len(plan.starts[1])) == ((1, 4), 5, 7)
    assert (min(shared[0]) >= 64, min(shared[1]) >= 256) == (True, True)
    with pytest.raises(CardError, match=r"cell .* expected 2 numbers that divide its steps"):
        plan_for(
            plain_card(minimum=8, step=8, tile={"cell": [1, 3]}),
            (40, 40),
            Rung(cpu_device(), "auto", (32, 32)),
        )


def test_the_plan_keeps_to_what_the_network_takes(plain_card):
    rung = Rung(cpu_device(), "auto", (500, 500), 4)
    plan = plan_for(plain_card(minimum=24, step=32), (1000, 70), rung)
    assert plan.batch == 4
    assert [(size - 24) % 32 for size in plan.tile] == [0, 0]
    assert plan.tile[0] <= 500
    assert plan.tile[1] == 88  # the next size above 70


def test_the_ladder_stops_at_the_networks_minimum(plain_card):
    tiles = [
        rung.tile for rung in ladder_for(plain_card(minimum=200), Rung(cpu_device(), "auto", (512, 512)))
    ]
    assert tiles == [(512, 512), (256, 256), (200, 200)]


def test_a_tile_that_the_card_fixes_is_kept_whatever_the_image_and_the_memory(plain_card, monkeypatch):
    card = plain_card(3, tile={"size": [20, 48, 40], "overlap": 0.5, "fixed": True, "pad": "zero"})
    rung = first_rung(card, device("cpu", 0, monkeypatch))
    assert rung.tile == (20, 48, 40)
    assert {one.tile for one in ladder_for(card, rung)} == {rung.tile}
    plan = plan_for(card, (9, 100, 33), rung)
    assert (plan.tile, plan.pad) == ((20, 48, 40), "zero")
    assert plan.starts == ((-5,), (0, 17, 35, 52), (-3,))
    free = plan_for(plain_card(3, tile={"size": [20, 48, 40], "overlap": 0.5}), (9, 100, 33), rung)
    assert free.tile[0] < 20
    assert free.pad == "reflect"


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        ({"size": [32, 32], "fixed": "yes"}, "fixed 'yes'"),
        ({"fixed": True}, "with a size"),
        ({"shared": "all"}, "shared 'all'; expected a number of pixels"),
        ({"shared": [3, 3, 3]}, "shared .* or one for each axis"),
        ({"cell": [2]}, r"cell \[2\]; expected 2 numbers that divide its steps"),
        ({"cell": 2}, "cell 2; expected 2 numbers"),
        ({"cell": [0, 1]}, "expected 2 numbers"),
        ({"size": [32, 32], "pad": "wrap"}, "pad 'wrap'; expected one of reflect, zero"),
    ],
)
def test_a_tile_that_cannot_be_understood_is_told(plain_card, tile, message):
    card = plain_card(tile=tile)
    with pytest.raises(CardError, match=message):
        plan_for(card, (40, 40), Rung(cpu_device(), "auto", (32, 32), 1))


def test_the_classes_that_a_cascade_sees_count_as_channels(plain_card, monkeypatch):
    few, many = (plain_card(3, features=[32, 64]) for _ in range(2))
    many.weights[0].arguments["in_channels"] = 130
    edges = [first_rung(card, device("cpu", 8 * GIB, monkeypatch)).tile[0] for card in (few, many)]
    assert edges == [128, 64]
