"""Finding similar images: an index over features, and what is near to a query."""

from deepbio.retrieval.index import Index, build_index, load_index
from deepbio.retrieval.many import Asked, Described, ObjectsOf, describe_images

__all__ = ["Asked", "Described", "Index", "ObjectsOf", "build_index", "describe_images", "load_index"]
