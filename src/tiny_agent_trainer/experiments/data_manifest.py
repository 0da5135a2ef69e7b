# SPDX-License-Identifier: Apache-2.0
"""`data/manifest.json`: every input of a run, with digests of files and of decoded pixels."""

from tiny_agent_trainer import canonical
from tiny_agent_trainer.tokenizer.cohort import Cohort
from tiny_agent_trainer.tokenizer.tokenization import Normalization

SCHEMA = "data-manifest-v1"


def encode_data_manifest(cohort: Cohort, normalization: Normalization) -> bytes:
    """The cohort as one canonical JSON line.

    Samples stand in the order of their ordinals; patients are ordinals.
    """
    remarks = {"remarks": cohort.remarks} if cohort.remarks else {}
    rows = zip(cohort.samples, cohort.pixel_digests, cohort.patients.tolist(), strict=True)
    return canonical.encode_line(
        {
            **remarks,
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
                {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256}
                for file in cohort.files
            ],
            "samples": [
                {
                    "sample": ordinal,
                    "key": sample.key,
                    "pixels_sha256": digest,
                    "label": sample.label,
                    "split": sample.split,
                    "patient": patient,
                    "attributes": dict(sample.attributes),
                }
                for ordinal, (sample, digest, patient) in enumerate(rows)
            ],
        }
    )
