# SPDX-License-Identifier: Apache-2.0
"""`[data]`: which reader brings the samples. One options class per reader."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tiny_agent_trainer.config import section
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.config.labels import LabelSection
from tiny_agent_trainer.config.splits import (
    FractionsOptions,
    LinkedSplitOptions,
    SplitOptions,
    SplitSection,
)


class ReaderOptions(section.Part):
    """What every reader has in common."""

    decodes: ClassVar[bool] = False
    """Whether DICOM and NIfTI files are decoded, whose libraries are then part of the identity."""

    root: str = pydantic.Field("", json_schema_extra=section.NOT_SEMANTIC)
    """Directory that holds the files, relative to the working directory ("": see the reader)."""

    cache: str = pydantic.Field("auto", json_schema_extra=section.NOT_SEMANTIC)
    """Directory that keeps decoded and prepared images ("": none; `auto`: the user's cache)."""

    cache_limit_gigabytes: section.PositiveInt = pydantic.Field(
        50, json_schema_extra=section.NOT_SEMANTIC
    )
    """The longest unused files beyond this size are removed from it."""

    allow_leaks: bool = False
    """Train although a patient or an image stands in two splits; every report says so."""


class PhantomOptions(ReaderOptions):
    """Synthetic patients with and without a lesion; needs no file."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.phantom:PhantomReader"

    reader: Literal["phantom"] = "phantom"
    """The built-in generator."""

    phantom_seed: section.Seed = 0
    """Which phantom; apart from `base_seed`, so that a new `base_seed` keeps the test set."""

    patients: Annotated[int, pydantic.Field(ge=10, le=1_000_000)] = 1000
    """Number of patients."""

    images_per_patient: Annotated[int, pydantic.Field(ge=1, le=64)] = 3
    """Largest number of images of one patient; each has between 1 and so many."""

    image_size: Annotated[int, pydantic.Field(ge=16, le=1024)] = 32
    """Height and width in pixels."""

    lesion_fraction: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.5
    """Share of the patients that have a lesion."""

    lesion_contrast: Annotated[float, pydantic.Field(gt=0, le=4)] = 1.0
    """How bright lesions are, relative to the default; smaller is harder."""

    label_noise: Annotated[float, pydantic.Field(ge=0, lt=0.5)] = 0.02
    """Share of the images whose label is wrong."""

    split: SplitOptions = SplitOptions()
    """How patients are divided."""


class MedmnistOptions(ReaderOptions):
    """An official MedMNIST v2 file, known by its published MD5."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.medmnist:MedmnistReader"

    reader: Literal["medmnist"]
    """MedMNIST `.npz` files."""

    dataset: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]+$")]
    """Name of the set in lower case, such as `breastmnist`."""

    size: Literal[28, 64, 128, 224] = 28
    """Pixels along an edge."""

    download: bool = pydantic.Field(True, json_schema_extra=section.NOT_SEMANTIC)
    """Whether an absent file may be fetched from the publisher."""


class ImageFolderOptions(ReaderOptions):
    """PNG and JPEG files, labelled by their folders or by a CSV."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.image_folder:ImageFolderReader"

    reader: Literal["image_folder"]
    """A folder of images."""

    labels: str = ""
    """CSV file with the labels, relative to `root` ("": each class is a folder)."""

    file_column: str = "file"
    """Column of the CSV with the image's path, relative to `root`."""

    label_column: str = "label"
    """Column of the CSV with the class."""

    patient_column: str = ""
    """Column of the CSV with the patient ("": every image is its own patient)."""

    split_column: str = ""
    """Column of the CSV with train, val or test ("": divided by `[data.split]`)."""

    split: LinkedSplitOptions = LinkedSplitOptions()
    """How patients are divided when neither folders nor a column say it."""


class FolderOptions(ReaderOptions):
    """Medical images of any format below a folder, labelled by a table."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.folder:FolderReader"
    decodes: ClassVar[bool] = True

    reader: Literal["folder"]
    """A folder of DICOM, NIfTI, PNG and other images, and a table of labels."""

    labels: LabelSection
    """The table, and how it is to be read."""

    images: ImagesOptions = ImagesOptions()
    """Which files are taken, and how each becomes an image."""

    split: SplitSection = FractionsOptions()
    """How patients are divided."""

    label_maps: Annotated[str, pydantic.Field(max_length=1000)] = ""
    """Folder below `root` with a NIfTI label map for every image, of the same name and grid
    ("": none). Training patches are then drawn around what the maps mark, instead of what is
    bright (`[tokenizer.patches]`)."""

    on_refused: Literal["refuse", "list"] = "refuse"
    """Files that cannot be used: `refuse` them all, or `list` them and go on without."""


class DicomPhantomOptions(ReaderOptions):
    """The phantom as DICOM studies, written when they are first asked for."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.dicom_phantom:DicomPhantomReader"
    decodes: ClassVar[bool] = True

    reader: Literal["dicom_phantom"]
    """Synthetic DICOM studies, read as a folder is."""

    studies: Literal["radiographs", "volumes"] = "radiographs"
    """Single images in which 0 is white (MONOCHROME1), or CT-like series."""

    phantom_seed: section.Seed = 0
    """Which phantom; apart from `base_seed`."""

    patients: Annotated[int, pydantic.Field(ge=10, le=100_000)] = 150
    """Number of patients."""

    images_per_patient: Annotated[int, pydantic.Field(ge=1, le=64)] = 2
    """Largest number of images of one patient; each has between 1 and so many."""

    image_size: Annotated[int, pydantic.Field(ge=16, le=1024)] = 32
    """Height and width in pixels."""

    slices: Annotated[int, pydantic.Field(ge=2, le=256)] = 8
    """Files of one series of `volumes`."""

    lesion_fraction: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.5
    """Share of the patients that have a lesion."""

    lesion_contrast: Annotated[float, pydantic.Field(gt=0, le=4)] = 1.0
    """How bright lesions are, relative to the default; smaller is harder."""

    label_noise: Annotated[float, pydantic.Field(ge=0, lt=0.5)] = 0.02
    """Share of the images whose label is wrong."""

    images: ImagesOptions = ImagesOptions()
    """How each file becomes an image."""

    split: SplitSection = FractionsOptions()
    """How patients are divided."""


DataSection = Annotated[
    Annotated[PhantomOptions, pydantic.Tag("phantom")]
    | Annotated[MedmnistOptions, pydantic.Tag("medmnist")]
    | Annotated[ImageFolderOptions, pydantic.Tag("image_folder")]
    | Annotated[FolderOptions, pydantic.Tag("folder")]
    | Annotated[DicomPhantomOptions, pydantic.Tag("dicom_phantom")],
    section.chosen_by("reader", default="phantom"),
]
"""The listing of readers: a new one adds its class here."""
