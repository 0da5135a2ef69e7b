# SPDX-License-Identifier: Apache-2.0
"""Looks at every image of a folder, in a range of values that suits all of them."""

from collections.abc import Mapping
from typing import Any

import pydantic

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import FolderOptions
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.experiments.first_config import ranges, survey
from tiny_agent_trainer.tokenizer import folder, samples
from tiny_agent_trainer.tokenizer.images.image import Item, Listing
from tiny_agent_trainer.tokenizer.labels import join, tables


def images_of(modality: str) -> ImagesOptions:
    """The options of images of one modality, or of all.

    Raises:
        UsageError: DICOM abbreviates no modality so.
    """
    try:
        return ImagesOptions(modality=modality)
    except pydantic.ValidationError as error:
        raise errors.UsageError(
            where="--modality",
            expected="what DICOM abbreviates a modality by, such as CT, MR or PT",
            found=modality,
            remedy="write it in capital letters",
        ) from error


def named(listing: Listing, table: tables.Table, keys: Mapping[str, Any]) -> list[Item]:
    """The images that the table speaks of."""
    joined = join.join(listing.items, table, keys["id_column"], keys["id_name"])
    return [item for item, rows in zip(listing.items, joined.rows, strict=True) if rows]


def look(
    options: FolderOptions,
    listing: Listing,
    modalities: Mapping[str, int],
    progress: samples.Progress,
) -> tuple[samples.Dataset, survey.Survey, ranges.Chosen]:
    """Look at every image; from the start again where one shows that a range has to be chosen.

    Raises:
        DatasetError: As `FolderReader.read` does.
    """
    chosen = ranges.of_modality(modalities)
    try:
        dataset, seen = _read_in(chosen, options, listing, progress)
        if len(seen.types) == 1 or not ranges.have_no_unit(modalities):
            return dataset, seen, chosen
    except survey.UnstorableError:
        pass
    chosen = ranges.of_fractions(modalities)
    return (*_read_in(chosen, options, listing, progress), chosen)


def _read_in(
    chosen: ranges.Chosen, options: FolderOptions, listing: Listing, progress: samples.Progress
) -> tuple[samples.Dataset, survey.Survey]:
    preparation = TokenizerSection.model_validate(chosen[0])
    seen = survey.Survey(preparation)
    watched = seen.watch(listing)
    reader = folder.FolderReader(options, progress, lambda *_: watched, preparation)
    return reader.read(), seen
