# SPDX-License-Identifier: Apache-2.0
"""`[data.labels]`: a table of labels and how it is to be read. One options class per scheme."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tiny_agent_trainer.config import section

Column = Annotated[str, pydantic.Field(min_length=1)]


def _require_once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than once: {', '.join(twice)}")
    return names


_Once = pydantic.AfterValidator(_require_once)
Names = Annotated[tuple[Column, ...], pydantic.Field(strict=False), _Once]
Columns = Annotated[tuple[Column, ...], pydantic.Field(strict=False, min_length=1), _Once]
Grades = Annotated[tuple[Column, ...], pydantic.Field(strict=False, min_length=2), _Once]

IdName = Literal["auto", "file", "stem", "patient_id", "study_uid", "series_uid", "sop_uid"]
"""What an image can be called by in a table."""


class LabelOptions(section.Part):
    """What every scheme has in common."""

    file: Column
    """CSV (`.csv`) or TSV (`.tsv`, `.tab`) in UTF-8 with a header, relative to `root`."""

    id_column: Column
    """Column that says which image a row speaks of."""

    id_name: IdName = "auto"
    """What that column holds (`auto`: the one kind of name that fits all rows and images)."""

    patient_column: str = ""
    """Column with the patient ("": as the files say)."""

    each_image_is_a_patient: bool = False
    """Say so where neither a column nor the files name patients."""

    attributes: Names = ()
    """Columns with known facts for subgroups, such as `sex`; they are written to the manifest."""

    on_unmatched: Literal["refuse", "list"] = "refuse"
    """Rows without image and images without row: `refuse`, or `list` them and go on without."""

    @pydantic.model_validator(mode="after")
    def _name_patients_once(self) -> "LabelOptions":
        if self.patient_column and self.each_image_is_a_patient:
            raise ValueError("patient_column names patients, each_image_is_a_patient says none")
        return self


class OneColumnOptions(LabelOptions):
    """What schemes with one column of labels have in common."""

    on_blank: Literal["refuse", "list"] = "refuse"
    """Images whose label is blank: `refuse`, or `list` their rows and go on without them."""


class ClassOptions(OneColumnOptions):
    """One column with one class per row."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.labels.classes:ClassScheme"

    scheme: Literal["class"] = "class"
    """One class per image."""

    column: Column
    """Column with the class."""

    classes: Names = ()
    """Classes in the order of the model's outputs ((): all that occur, sorted by bytes)."""


class PipeOptions(OneColumnOptions):
    """One column with any number of findings, joined as in NIH ChestX-ray14."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.labels.pipe:PipeScheme"

    scheme: Literal["pipe"]
    """Findings joined in one cell."""

    column: Column
    """Column with the findings, such as `Finding Labels`."""

    separator: Annotated[str, pydantic.Field(min_length=1, max_length=1)] = "|"
    """What joins them."""

    nothing: Column = "No Finding"
    """How a row says that there is no finding; an empty cell is no label."""

    classes: Names = ()
    """Findings in the order of the model's outputs ((): all that occur, sorted by bytes)."""


class OneHotOptions(LabelOptions):
    """One column of 0 and 1 per finding."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.labels.one_hot:OneHotScheme"

    scheme: Literal["one_hot"]
    """Findings in columns of 0 and 1."""

    columns: Columns
    """Columns in the order of the model's outputs."""


class ChexpertOptions(LabelOptions):
    """One column per finding with 1, 0, -1 (uncertain) or nothing (not mentioned)."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.labels.chexpert:ChexpertScheme"

    scheme: Literal["chexpert"]
    """Findings in columns of 1, 0, -1 and blank."""

    columns: Columns
    """Columns in the order of the model's outputs."""

    uncertain: Literal["mask", "positive", "negative", "refuse"]
    """What -1 means: `mask` leaves it out of loss and metrics. There is no default."""

    missing: Literal["mask", "negative", "refuse"]
    """What a blank means: `mask` leaves it out of loss and metrics. There is no default."""


class RegressionOptions(OneColumnOptions):
    """One column with a number."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.labels.regression:RegressionScheme"

    scheme: Literal["regression"]
    """A continuous target."""

    column: Column
    """Column with finite decimal numbers; its name is the target's."""


class OrdinalOptions(OneColumnOptions):
    """One column with one of several grades."""

    builder: ClassVar[str] = "tiny_agent_trainer.tokenizer.labels.classes:OrdinalScheme"

    scheme: Literal["ordinal"]
    """Classes with an order."""

    column: Column
    """Column with the grade."""

    classes: Grades
    """Every grade, from the lowest to the highest."""


LabelSection = Annotated[
    Annotated[ClassOptions, pydantic.Tag("class")]
    | Annotated[PipeOptions, pydantic.Tag("pipe")]
    | Annotated[OneHotOptions, pydantic.Tag("one_hot")]
    | Annotated[ChexpertOptions, pydantic.Tag("chexpert")]
    | Annotated[RegressionOptions, pydantic.Tag("regression")]
    | Annotated[OrdinalOptions, pydantic.Tag("ordinal")],
    section.chosen_by("scheme", default="class"),
]
"""The listing of schemes: a new one adds its class here."""
