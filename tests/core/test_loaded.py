"""Models that stay loaded between requests."""

from pathlib import Path

from deepbio.library import read_card
from deepbio.library.archive import copy_folder
from deepbio.loaded import LoadedModels


def test_the_one_used_longest_ago_goes_first(threshold_model: Path, tmp_path: Path) -> None:
    cards = []
    for name in ("one", "two", "three"):
        copy_folder(threshold_model, tmp_path / name)
        cards.append(read_card(tmp_path / name))
    models = LoadedModels(kept=2)
    first, second = models.get(cards[0]), models.get(cards[1])
    assert models.get(cards[0]) is first
    third = models.get(cards[2])
    assert models.get(cards[0]) is first
    assert models.get(cards[2]) is third
    assert models.get(cards[1]) is not second
    assert models.release() == ["three", "two"]
    assert models.release() == []


def test_forget_lets_one_go(threshold_model: Path) -> None:
    card = read_card(threshold_model)
    models = LoadedModels()
    model = models.get(card)
    models.forget("another")
    assert models.get(card) is model
    models.forget(card.name)
    assert models.release() == []
