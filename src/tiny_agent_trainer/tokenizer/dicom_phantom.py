# SPDX-License-Identifier: Apache-2.0
"""The phantom by way of DICOM: its studies are written once, then read as any folder is."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

from tiny_agent_trainer import canonical, digests, durable, errors
from tiny_agent_trainer.config import section
from tiny_agent_trainer.config.data import DicomPhantomOptions, FolderOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import folder, places, samples
from tiny_agent_trainer.tokenizer.cache.store import Store


@dataclasses.dataclass(frozen=True, slots=True)
class DicomPhantomReader:
    """Reader of the phantom's DICOM studies.

    They are looked for below `root`, else below the user's cache, in a directory that is named
    after the options, and written there when they are absent; where that cannot be written, into a
    temporary directory for this process.
    """

    options: DicomPhantomOptions
    progress: samples.Progress = samples.silent
    preparation: TokenizerSection = dataclasses.field(default_factory=TokenizerSection)
    store: Store | None = None

    def preparing(self, preparation: TokenizerSection, store: Store | None) -> "DicomPhantomReader":
        """As `items.PreparingReader` says."""
        return dataclasses.replace(self, preparation=preparation, store=store)

    def read(self) -> samples.Dataset:
        """Write the studies if need be, and read them.

        Raises:
            StorageError: They can be written nowhere.
            DatasetError: They were changed so that they cannot be read.
        """
        reader = folder.FolderReader(self._folder_options(self.place()), self.progress)
        dataset = reader.preparing(self.preparation, self.store).read()
        # Nobody's names: keys may stand in a run, and there is nobody to link them to.
        return dataclasses.replace(dataset, name="dicom_phantom", names_are_private=False)

    def place(self) -> Path:
        """The directory of the studies, complete."""
        parent = Path(self.options.root) if self.options.root else places.user_cache()
        target = parent / self.name()
        if target.is_dir():
            return target
        try:
            durable.make_directory(parent)
            return self._write(parent, target)
        except (errors.StorageError, OSError):
            parent = Path(tempfile.mkdtemp(prefix="tiny-agent-trainer-"))
            return self._write(parent, parent / self.name())

    def name(self) -> str:
        """What the directory is called: by everything that changes its content."""
        values = section.semantic_values(self.options)
        told = {name: values[name] for name in values if name not in _ABOUT_READING}
        return f"dicom-phantom-{digests.sha256_hex(canonical.encode(told))[:12]}"

    def _write(self, parent: Path, target: Path) -> Path:
        """Write beside the target and rename, so that what has the name is complete."""
        dicom_studies = folder.import_late("tiny_agent_trainer.tokenizer.dicom_studies")
        beside = Path(tempfile.mkdtemp(prefix=".dicom-phantom-", dir=parent))
        try:
            dicom_studies.write_studies(beside, self.options, self.progress)
            os.rename(beside, target)  # noqa: PTH104
        except OSError:
            if not target.is_dir():  # else another run was faster
                raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return target

    def _folder_options(self, root: Path) -> FolderOptions:
        return FolderOptions.model_validate(
            {
                "reader": "folder",
                "root": str(root),
                "labels": {
                    "file": "labels.csv",
                    "id_column": "image",
                    "id_name": "file",
                    "column": "finding",
                    "patient_column": "patient_id",
                    "classes": ["no lesion", "lesion"],
                    "attributes": ["sex", "age_band", "scanner"],
                },
                "images": self.options.images.model_dump(),
                "split": self.options.split.model_dump(),
            }
        )


_ABOUT_READING = ("reader", "allow_leaks", "images", "split")
"""Options that change how the studies are read, not what is in them."""
