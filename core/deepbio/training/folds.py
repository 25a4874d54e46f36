"""The folds of a cross-validation as one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from deepbio.errors import OptionError, WeightsError
from deepbio.library.card import ModelCard, read_card
from deepbio.library.package import write_package
from deepbio.networks.ensemble import Ensemble
from deepbio.tasks.decoder import Decoder
from deepbio.training.calibrate import largest_of
from deepbio.training.package import Ending, package_content
from deepbio.training.plan import Plan
from deepbio.training.scored import average_rows

__all__ = ["Folder", "package_ensemble"]


@dataclass(frozen=True)
class Folder:
    """Where a fold is trained, and its own package."""

    work: Path
    package: Path

    @property
    def finished(self) -> bool:
        """Whether it was trained to the end and packaged."""
        return (self.package / "bioimageio.yaml").is_file() and bool(read_card(self.package).scores)


def package_ensemble(
    folders: Sequence[Folder],
    plan: Plan,
    ending: Ending,
    output: Path,
    data: Path,
) -> Path:
    """Write the folds as one package that averages their scores.

    Its held-out scores are out of fold: each case's are those of the network that never saw it.

    Parameters
    ----------
    folders : sequence of Folder
        All folds of the plan.
    plan : Plan
        What they were trained with.
    ending : Ending
        As in `package_content`.
    output : Path
        Folder of the package.
    data : Path
        The data set, for the command on the card.

    Raises
    ------
    OptionError
        If a fold is not finished.
    WeightsError
        If the weights of a fold are not those of the plan's network.
    """
    missing = [one.work.name for one in folders if not one.finished]
    if missing:
        raise OptionError(
            f"Of {len(folders)} folds these are not trained yet: {', '.join(missing)}.",
            "Train them with --fold I (on any machine that shares the folder), or all without --fold.",
        )
    cards = [read_card(one.package) for one in folders]
    network = Ensemble(plan.network["name"], plan.network["arguments"], len(folders)).eval()
    for member, one in zip(network.members, folders, strict=True):
        try:
            member.load_state_dict(torch.load(one.work / "best.pt", map_location="cpu", weights_only=True))
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"The weights in {str(one.work)!r} do not fit the plan: {error}", "Train that fold again."
            ) from error
    rows = [dict(row) for card in cards for row in card.deepbio.get("calibration", ())]
    decoder = _decoder(cards, rows)
    command = f"deepbio train {data.name} -o {output.name} --folds {len(folders)}"
    scores = average_rows([[dict(row) for row in card.scores] for card in cards], command)
    files = {f"training_{k}.png": one.work / "history.png" for k, one in enumerate(folders)}
    with package_content(network, plan, decoder, ending) as content:
        config = {**content.config, "calibration": rows}
        write_package(output, replace(content, files=files, config=config, scores=scores), replace=True)
    return output


def _decoder(cards: Sequence[ModelCard], rows: Sequence[dict[str, Any]]) -> Decoder:
    """For classes what all held-out cases say together; for objects the best fold's."""
    decoders = [Decoder.from_card(card.deepbio["decode"]) for card in cards]
    if not decoders[0].instances:
        return decoders[0].replace(largest=largest_of(rows))
    best = max(range(len(cards)), key=lambda k: _precision(cards[k]))
    return decoders[best]


def _precision(card: ModelCard) -> float:
    return max((float(row["ap_50"]) + float(row["ap_50_90"])) for row in card.deepbio["calibration"])
