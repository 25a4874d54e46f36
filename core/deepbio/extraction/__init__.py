"""Features: what a layer of a loaded model says about an image, as vectors and as maps."""

from deepbio.extraction.extract import features
from deepbio.extraction.layers import list_layers

__all__ = ["features", "list_layers"]
