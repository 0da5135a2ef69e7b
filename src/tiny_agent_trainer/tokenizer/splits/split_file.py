# SPDX-License-Identifier: Apache-2.0
"""A division that can be used again: one split per digest of decoded pixels.

The format is described in docs/formats/split-v1.md. It holds no name, path or patient, so that it
may be published; who has the images can apply it, whatever their files are called.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tiny_agent_trainer import canonical, durable, errors
from tiny_agent_trainer.tokenizer import samples

SCHEMA: Final = "split-v1"

_MANIFEST_SCHEMA: Final = "data-manifest-v1"
"""A run's `data/manifest.json` holds the same facts among others."""

SIZE_LIMIT_BYTES: Final = 1 << 28
"""A larger file is refused before it is read; 3 million samples take 0.25 GB."""

_DIGITS: Final = frozenset("0123456789abcdef")


def encode_split_file(rows: Iterable[tuple[str, samples.Split]]) -> bytes:
    """Encode (pixel digest, split) as one line of canonical JSON.

    Raises:
        DatasetError: One digest stands in two splits; such a file could not be applied.
    """
    found: dict[str, samples.Split] = {}
    for digest, split in rows:
        if found.setdefault(digest, split) != split:
            raise _fault("the splits", f"pixels {digest} in {found[digest]} and in {split}")
    return canonical.encode_line({"schema": SCHEMA, "samples": found})


def write_split_file(path: Path, rows: Iterable[tuple[str, samples.Split]]) -> None:
    """Write a split file, whole or not at all.

    Raises:
        DatasetError: As in `encode_split_file`.
        StorageError: The disk refuses.
    """
    durable.write_atomic(path, encode_split_file(rows))


def read_split_file(path: Path) -> dict[str, samples.Split]:
    """The split of every pixel digest in a split file or a data manifest.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetError: Too large, not JSON, another schema, or rows that are not as they should be.
    """
    if not path.is_file():
        raise errors.DatasetMissingError(
            where="[data.split] path",
            expected=f"a split file {path.name} below the data root",
            found="no such file",
            remedy="correct `path`, or divide by another method",
        )
    if path.stat().st_size > SIZE_LIMIT_BYTES:
        raise _fault(path.name, f"more than {SIZE_LIMIT_BYTES} bytes")
    return decode_split_file(path.read_bytes(), path.name)


def decode_split_file(content: bytes, name: str) -> dict[str, samples.Split]:
    """The inverse of `encode_split_file`; also reads a data manifest. `name` is for messages.

    Raises:
        DatasetError: As in `read_split_file`.
    """
    try:
        value: Any = canonical.decode(content)
    except (ValueError, RecursionError, errors.TrainerError) as error:
        raise _fault(name, f"no JSON: {error}") from error
    schema = value.get("schema") if isinstance(value, Mapping) else None
    if schema not in (SCHEMA, _MANIFEST_SCHEMA):
        raise _fault(name, f"schema {schema!r}")
    rows = list(_rows_of_manifest(value, name) if schema == _MANIFEST_SCHEMA else _rows(value))
    return _require_rows(rows, name)


def _rows(value: Mapping[str, Any]) -> Iterable[tuple[object, object]]:
    listed = value.get("samples")
    return listed.items() if isinstance(listed, Mapping) else ()


def _rows_of_manifest(value: Mapping[str, Any], name: str) -> Iterable[tuple[object, object]]:
    listed = value.get("samples")
    for row in listed if isinstance(listed, list) else ():
        if not isinstance(row, Mapping):
            raise _fault(name, "a sample that is no object")
        yield row.get("pixels_sha256"), row.get("split")


def _require_rows(rows: list[tuple[object, object]], name: str) -> dict[str, samples.Split]:
    found: dict[str, samples.Split] = {}
    for digest, written in rows:
        if not isinstance(digest, str) or len(digest) != 64 or not _DIGITS.issuperset(digest):
            raise _fault(name, f"pixel digest {str(digest)[:70]!r}")
        split = next((known for known in samples.SPLITS if known == written), None)
        if split is None:
            raise _fault(name, f"split {str(written)[:40]!r} of pixels {digest}")
        if found.setdefault(digest, split) != split:
            raise _fault(name, f"pixels {digest} in {found[digest]} and in {split}")
    if not found:
        raise _fault(name, "no sample")
    return found


def _fault(where: str, found: str) -> errors.DatasetError:
    return errors.DatasetError(
        where=where,
        expected=f"a split file ({SCHEMA}): each pixel digest once, with train, val or test",
        found=found,
        remedy="write the split file again, or divide by another method",
    )
