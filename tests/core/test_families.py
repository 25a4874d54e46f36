"""The table of families: every part that is there has the name it is called by."""

from __future__ import annotations

import pytest

from deepbio.errors import OptionError
from deepbio.families import FAMILIES, family_of
from deepbio.options import OUTPUTS


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_names_outputs_that_a_result_can_have(family) -> None:
    assert family.outputs
    assert set(family.outputs) <= set(OUTPUTS)
    assert FAMILIES[family.name] is family


def test_unknown_task() -> None:
    with pytest.raises(OptionError, match=r"no task 'clasify'; expected one of segment, classify"):
        family_of("clasify")


def test_cards_without_a_task_segment() -> None:
    assert family_of("") is FAMILIES["segment"]
