"""What ships with the extension for the application: sample data, and the terminology of our models.

The samples are those of ``examples/`` in formats that Slicer reads without questions; their sources and
licences stand in ``examples/README.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CATEGORY", "SAMPLES", "TERMINOLOGY", "Sample", "register"]

CATEGORY = "DeepBio"
RESOURCES = Path(__file__).resolve().parents[1] / "Resources"
TERMINOLOGY = RESOURCES / "Terminologies" / "SegmentationCategoryTypeModifier-DeepBio.term.json"


@dataclass(frozen=True)
class Sample:
    """A file that the module Sample Data offers.

    Attributes
    ----------
    name : str
        What is shown, and what ``SampleData.downloadSample(name)`` takes.
    node : str
        Name of the node in the scene.
    file : str
        In ``Resources/SampleData``.
    kind : str
        Slicer's name of the type of file.
    sha256 : str
        Of the file.
    model : str
        Bundled model that is made for it.
    """

    name: str
    node: str
    file: str
    kind: str
    sha256: str
    model: str

    @property
    def path(self):
        """The file."""
        return RESOURCES / "SampleData" / self.file

    @property
    def thumbnail(self):
        """Its picture."""
        return RESOURCES / "Icons" / f"Sample-{self.node}.png"


SAMPLES = (
    Sample(
        "DeepBio hippocampus (MR)",
        "hippocampus",
        "hippocampus_311.nii.gz",
        "VolumeFile",
        "e4a9edc2a465cfb37acc21720b6d687eb2fd7928f6c4fc2c35e0f0a187376a2a",
        "hippocampus",
    ),
    Sample(
        "DeepBio heart (cine MR)",
        "heart",
        "heart_cine.seq.nrrd",
        "SequenceFile",
        "5c25504767865e00bb4250c313fe23fea79a060241d455c3d32c14889ed8abed",
        "heart-lv",
    ),
    Sample(
        "DeepBio nuclei (fluorescence)",
        "fluorescence",
        "fluorescence.nrrd",
        "VolumeFile",
        "62b5f6df506a877ce2fce602b977849f7a81564db092e2b0beb38f2340647992",
        "nuclei",
    ),
    Sample(
        "DeepBio nuclei (stained tissue)",
        "histology",
        "histology.nrrd",
        "VolumeFile",
        "19fa03551c79740fee090f3c3789d8b70222adabe8528d1842f19f798ea2bb32",
        "nuclei",
    ),
)


def register():
    """Offer the samples in the module Sample Data, and our terms where segments get their names.

    To be called once the application has started, when the modules that it needs are there.
    """
    import SampleData
    import slicer

    for sample in SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            uris=sample.path.as_uri(),
            fileNames=sample.file,
            nodeNames=sample.node,
            loadFileType=sample.kind,
            thumbnailFileName=str(sample.thumbnail),
            checksums=f"SHA256:{sample.sha256}",
        )
    if not slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(TERMINOLOGY)):
        raise RuntimeError(
            f"Slicer does not read the terminology {TERMINOLOGY}. Install the extension again."
        )
