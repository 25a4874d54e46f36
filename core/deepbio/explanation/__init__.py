"""Why a model says what it says, and how sure it is: maps on the image, and numbers for its objects."""

from deepbio.explanation.attribution import explain
from deepbio.explanation.run import with_maps
from deepbio.explanation.unsure import uncertainty

__all__ = ["explain", "uncertainty", "with_maps"]
