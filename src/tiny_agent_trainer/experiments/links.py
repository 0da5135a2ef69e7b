# SPDX-License-Identifier: Apache-2.0
"""What links a run's ordinals to files and patients: a private file that stays with the data."""

import csv
import hmac
import io
import os
from pathlib import Path
from typing import Final

from tiny_agent_trainer import digests, durable, errors
from tiny_agent_trainer.experiments import data_manifest, identity
from tiny_agent_trainer.tokenizer.cohort import Cohort
from tiny_agent_trainer.tokenizer.labels import unmatched

SALT: Final = "salt"
_SALT_BYTES: Final = 32


def write_links(root: Path, cohort: Cohort, manifest: bytes) -> str:
    """Write the links of a run beside its data, for their owner alone, and say where they are.

    The file is named after the digest of `data/manifest.json`, so that a run finds its own. Where
    nothing can be written, as in a re-run, nothing is, and the sentence says so.
    """
    name = f"links_{digests.short(identity.digest_data(manifest))}.csv"
    try:
        folder = private_folder(root)
        content = _encode(cohort, _salt(folder / SALT))
        durable.write_atomic(folder / name, content, mode=durable.PRIVATE_MODE)
    except errors.StorageError as error:
        return f"links between ordinals and files are not written ({error.found})"
    return f"links between ordinals and files: {unmatched.FOLDER}/{name} below the data root"


def private_folder(root: Path) -> Path:
    """The folder for what must stay with the data, made where it is absent.

    Raises:
        StorageError: It cannot be made, or is a link, which may lead anywhere.
    """
    folder = root / unmatched.FOLDER
    durable.make_directory(folder)
    if folder.is_symlink():
        raise errors.StorageError(
            where=unmatched.FOLDER,
            expected="a folder below the data root",
            found="the folder is a link",
            remedy="remove the link",
        )
    return folder


def _salt(path: Path) -> bytes:
    """The salt of a data root, made when it is first asked for; no randomness of results."""
    if path.is_file() and path.stat().st_size == _SALT_BYTES:
        return path.read_bytes()
    made = os.urandom(_SALT_BYTES)
    durable.write_atomic(path, made, mode=durable.PRIVATE_MODE)
    return made


def _encode(cohort: Cohort, salt: bytes) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["ordinal", "path", "patient", "patient_hmac_sha256"])
    rows = zip(cohort.samples, cohort.patients.tolist(), strict=True)
    for ordinal, (sample, patient) in enumerate(rows):
        salted = hmac.new(salt, sample.patient.encode(), "sha256").hexdigest()
        writer.writerow([data_manifest.name_sample(ordinal), sample.key, patient, salted])
    for name, file in data_manifest.name_files(cohort):
        writer.writerow([name, file.path, "", ""])
    return text.getvalue().encode("utf-8", "surrogateescape")
