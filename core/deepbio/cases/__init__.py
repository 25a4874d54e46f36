"""Cases for training and evaluation: files, what is known of them, and which part they belong to."""

from deepbio.cases.segment import Case, Sample, check_grids, load_sample, read_cases
from deepbio.cases.split import Splittable, fold_cases, split_cases

__all__ = [
    "Case",
    "Sample",
    "Splittable",
    "check_grids",
    "fold_cases",
    "load_sample",
    "read_cases",
    "split_cases",
]
