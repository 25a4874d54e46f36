"""Training: a data set becomes a plan, the plan a network, the network a model package."""

from deepbio.errors import MissingPackage

try:
    import torch as _torch  # noqa: F401 - to say at once what is missing
except ImportError as error:
    raise MissingPackage("torch", "Training", extra="train") from error

from deepbio.training.description import Description, read_description
from deepbio.training.families import guess_task, propose_plan, read_plan, train, wishes_of
from deepbio.training.plan import Plan, write_plan
from deepbio.training.wishes import Wishes

__all__ = [
    "Description",
    "Plan",
    "Wishes",
    "guess_task",
    "propose_plan",
    "read_description",
    "read_plan",
    "train",
    "wishes_of",
    "write_plan",
]
