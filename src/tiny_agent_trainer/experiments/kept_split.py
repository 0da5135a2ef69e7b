# SPDX-License-Identifier: Apache-2.0
"""The division of a run as a split file beside its data, for other configurations to use."""

from pathlib import Path

from tiny_agent_trainer import digests, errors
from tiny_agent_trainer.experiments import links
from tiny_agent_trainer.tokenizer.cohort import Cohort
from tiny_agent_trainer.tokenizer.labels import unmatched
from tiny_agent_trainer.tokenizer.splits import split_file


def write_split(root: Path, cohort: Cohort) -> str:
    """Write the split of every image, by its pixels, and say how a configuration uses the file.

    The file is named after its content, so that runs of one division share it. Where it cannot be
    written, or one image stands in two splits, it is not, and the sentence says so.
    """
    splits = (sample.split for sample in cohort.samples)
    try:
        rows = list(zip(cohort.pixel_digests, splits, strict=True))
        content = split_file.encode_split_file(rows)
        name = f"split_{digests.sha256_hex(content)[:12]}.json"
        split_file.write_split_file(links.private_folder(root) / name, rows)
    except (errors.DatasetError, errors.StorageError) as error:
        return f"the division is not written as a split file ({error.found})"
    return (
        f'the division, for [data.split] of other configurations: method = "file", '
        f'path = "{unmatched.FOLDER}/{name}"'
    )
