"""What a user can choose when a foreign model is imported."""

from __future__ import annotations

from dataclasses import dataclass

from deepbio.errors import OptionError
from deepbio.library.spatial import check_grid

__all__ = ["CHECKPOINTS", "ImportChoice"]

CHECKPOINTS = ("final", "best")


@dataclass(frozen=True)
class ImportChoice:
    """Choices for an import; a package in the BioImage.IO format leaves none.

    Attributes
    ----------
    folds : tuple of str
        Folds of a cross-validation whose networks are averaged, such as ``("0", "3")`` or ``("all",)``; empty for
        all that are there.
    checkpoint : {"final", "best"}
        Weights after the last epoch, or those with the best validation.
    orientation : str
        Where the axes z, y and x of the training images point, such as ``"SAR"``; images are brought to it. Empty
        leaves them as they are stored, as nnU-Net does.

    Raises
    ------
    OptionError
        If the checkpoint is unknown or the orientation is none.
    """

    folds: tuple[str, ...] = ()
    checkpoint: str = CHECKPOINTS[0]
    orientation: str = ""

    def __post_init__(self) -> None:
        if self.checkpoint not in CHECKPOINTS:
            raise OptionError(
                f"There is no checkpoint {self.checkpoint!r}; expected one of {', '.join(CHECKPOINTS)}."
            )
        if self.orientation:
            check_grid({"orientation": self.orientation}, 3)
