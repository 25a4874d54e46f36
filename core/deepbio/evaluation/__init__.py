"""How well a model does on images whose labels are known: per image, per class, and per group of images."""

from deepbio.evaluation.report import Report, score_row
from deepbio.evaluation.running import TOLERANCES, choose_split, evaluate
from deepbio.evaluation.scores import (
    CaseScore,
    ClassMean,
    ClassScore,
    GroupScore,
    card_rows,
    class_means,
    group_scores,
    track_scores,
)

__all__ = [
    "TOLERANCES",
    "CaseScore",
    "ClassMean",
    "ClassScore",
    "GroupScore",
    "Report",
    "card_rows",
    "choose_split",
    "class_means",
    "evaluate",
    "group_scores",
    "score_row",
    "track_scores",
]
