# SPDX-License-Identifier: Apache-2.0
"""`data/manifest.json`: every input of a run, with digests of files and of decoded pixels."""

from typing import Any

from tiny_agent_trainer import canonical
from tiny_agent_trainer.tokenizer.cohort import Cohort
from tiny_agent_trainer.tokenizer.samples import SourceFile
from tiny_agent_trainer.tokenizer.tokenization import Normalization

SCHEMA = "data-manifest-v1"


def encode_data_manifest(cohort: Cohort, normalization: Normalization) -> bytes:
    """The cohort as one canonical JSON line.

    Samples stand in the order of their ordinals; patients are ordinals. Where keys and paths may
    name a person, samples and files have ordinals instead of them.
    """
    rows = zip(cohort.samples, cohort.pixel_digests, cohort.patients.tolist(), strict=True)
    return canonical.encode_line(
        {
            **_if_any("remarks", cohort.remarks),
            **_if_any("decoders", cohort.decoders),
            "schema": SCHEMA,
            "name": cohort.name,
            "task": cohort.task,
            "classes": cohort.classes,
            "dims": cohort.dims,
            "prepared_shape": cohort.prepared_NCS.shape[1:],
            "prepared_dtype": cohort.prepared_NCS.dtype.str,
            "normalization": {
                "mean": normalization.mean,
                "deviation": normalization.deviation,
            },
            "leaks": [str(leak) for leak in cohort.leaks],
            "files": [
                {"path": name, "size_bytes": file.size_bytes, "sha256": file.sha256}
                for name, file in name_files(cohort)
            ],
            "samples": [
                {
                    "sample": ordinal,
                    "key": name_sample(ordinal) if cohort.names_are_private else sample.key,
                    "pixels_sha256": digest,
                    "label": sample.label,
                    "split": sample.split,
                    "patient": patient,
                    "attributes": dict(sample.attributes),
                    **_label_map(cohort, ordinal),
                }
                for ordinal, (sample, digest, patient) in enumerate(rows)
            ],
        }
    )


def name_sample(ordinal: int) -> str:
    """What a run calls a sample whose key is private."""
    return f"image/{ordinal:07d}"


def name_files(cohort: Cohort) -> list[tuple[str, SourceFile]]:
    """Every file with what a run calls it: its path, or its rank by digest if paths are private."""
    if not cohort.names_are_private:
        return [(file.path, file) for file in cohort.files]
    ranked = sorted(cohort.files, key=lambda file: (file.sha256, file.path.encode()))
    return [(f"file/{rank:07d}", file) for rank, file in enumerate(ranked)]


def _label_map(cohort: Cohort, ordinal: int) -> dict[str, str]:
    found = cohort.label_map_digests
    return {"label_map_sha256": found[ordinal]} if found else {}


def _if_any(name: str, values: tuple[str, ...]) -> dict[str, Any]:
    return {name: values} if values else {}
