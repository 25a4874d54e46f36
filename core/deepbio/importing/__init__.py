"""Models that other programs trained: those of nnU-Net, StarDist and MONAI become packages of ours.

BioImage.IO packages need no importer: :mod:`deepbio.library` reads them as they are.
"""

from deepbio.importing.add import add_model
from deepbio.importing.choice import ImportChoice

__all__ = ["ImportChoice", "add_model"]
