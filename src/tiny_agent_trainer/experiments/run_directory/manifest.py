# SPDX-License-Identifier: Apache-2.0
"""`manifest.json`: every file of a sealed run, its digest, and the two digests people compare.

Guarantees:
    Every byte of the file is covered by its own digest; the reader accepts only the spelling that
    the writer makes and raises nothing but `IntegrityError`. Not claimed: protection against
    someone who seals a changed run anew; then `run_digest` is another, and that is what people
    compare, or a signature over this file.

Source:
    docs/formats/run-v1.md [R-3]..[R-6].
"""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tiny_agent_trainer import canonical, digests, durable, errors
from tiny_agent_trainer.experiments.run_directory import journal, layout

FILE_NAME: Final = layout.MANIFEST
"""Path of the manifest inside a run's directory."""

SCHEMA: Final = "run-manifest-v1"
EXPERIMENT: Final = "experiment-v1"
RESULTS: Final = "results-v1"

MAX_BYTES: Final = 1 << 24
"""Size of a manifest; a longer one is refused before it is read whole."""

MAX_FILE_BYTES: Final = 8**11 - 1
"""Size of a file in a run; a larger one does not fit into an archive."""

_NAMES: Final = frozenset(
    {"digest", "experiment_digest", "files", "identity", "journal", "run_digest", "schema"}
)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file: path inside the run, size, SHA-256 as 64 hex digits, class from `layout`."""

    path: str
    size_bytes: int
    sha256: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What `manifest.json` says.

    Args:
        experiment_digest: Digest of `identity`.
        identity: What names the experiment: any JSON.
        run_digest: Digest of the paths and digests of the results.
        files: Sorted by the bytes of their paths, without the manifest and what still grows.
        journal_length_bytes: How much of the journal is sealed.
        journal_sha256: SHA-256 of that part.
    """

    experiment_digest: str
    identity: canonical.JsonValue
    run_digest: str
    files: tuple[FileEntry, ...]
    journal_length_bytes: int
    journal_sha256: str

    @property
    def digest(self) -> str:
        """Digest over everything else in the manifest."""
        return digests.named(SCHEMA, canonical.encode(_body(self)))

    def entry(self, path: str) -> FileEntry | None:
        """The entry of a file, or None."""
        return next((entry for entry in self.files if entry.path == path), None)


def build_manifest(
    run: Path, identity: canonical.JsonValue, *, excluded: Collection[str] = ()
) -> Manifest:
    """Read the files of a finished run and make its manifest.

    Files still being written (`*.part`) are left out; a link, a directory or a file that no run
    holds is refused.

    Args:
        run: The run's directory.
        identity: What names the experiment.
        excluded: Paths that are deleted as soon as the run is sealed.

    Raises:
        IntegrityError: An unknown file, a link, or a file of a run that is missing.
    """
    left_out = {*layout.GROWING, *excluded}
    files = tuple(_entry_of(run, path) for path in list_files(run) if path not in left_out)
    present = {entry.path for entry in files}
    missing = [path for path in layout.REQUIRED if path not in present]
    if missing:
        raise refusal(str(run), f"{', '.join(layout.REQUIRED)}", f"no {', '.join(missing)}")
    length_bytes, sha256 = journal.seal_point(run / layout.JOURNAL)
    return Manifest(
        experiment_digest=experiment_digest_of(identity),
        identity=identity,
        run_digest=_run_digest(files),
        files=files,
        journal_length_bytes=length_bytes,
        journal_sha256=sha256,
    )


def experiment_digest_of(identity: canonical.JsonValue) -> str:
    """The digest that names an experiment."""
    return digests.named(EXPERIMENT, canonical.encode(identity))


def run_digest_of(run: Path, *, excluded: Collection[str] = ()) -> str:
    """The digest of the results in a run's directory, sealed or not.

    Args:
        run: The run's directory.
        excluded: Paths that do not count, as in `build_manifest`.

    Raises:
        IntegrityError: An unknown file or a link.
    """
    counted = (path for path in list_files(run) if path not in excluded)
    results = (path for path in counted if layout.classify(path) == layout.RESULT)
    return _run_digest(_entry_of(run, path) for path in results)


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, which seals the run.

    Raises:
        StorageError: The disk is full, read-only or not permitted.
    """
    durable.write_atomic(run / layout.MANIFEST, encode_manifest(manifest))


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`."""
    return canonical.encode_line({**_body(manifest), "digest": manifest.digest})


def read_manifest(data: bytes, where: str) -> Manifest:
    """Decode and verify a manifest by itself; `integrity` holds the files against it.

    Args:
        data: The bytes of `manifest.json`.
        where: What they are called in errors.

    Raises:
        IntegrityError: Anything that `encode_manifest` would not have written.
    """
    if len(data) > MAX_BYTES:
        raise refusal(where, f"at most {MAX_BYTES} bytes", f"{len(data)}")
    try:
        value = canonical.decode(data)
        manifest = _decode(value)
        right = encode_manifest(manifest)
    except (ValueError, RecursionError) as error:
        raise refusal(where, "a manifest of a run", str(error)) from None
    if right != data:
        raise refusal(where, "canonical JSON whose digest holds", _first_difference(right, data))
    return manifest


def read_manifest_of(run: Path) -> Manifest:
    """Read and verify the manifest in a run's directory.

    Raises:
        IntegrityError: None there, a link, longer than `MAX_BYTES`, or as in `read_manifest`.
    """
    path = run / FILE_NAME
    try:
        if path.is_symlink() or not path.is_file():
            raise refusal(str(path), "the manifest of a sealed run", "no such file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise refusal(str(path), "a manifest that can be read", found) from error
    return read_manifest(data, str(path))


def list_files(run: Path) -> list[str]:
    """Paths of all files of a run but `manifest.json` and `*.part`, sorted by their bytes.

    Raises:
        IntegrityError: Something that no run holds: an unknown file, a directory, a link.
    """
    found = []
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_dir() and not path.is_symlink():
            if name not in layout.DIRECTORIES:
                raise refusal(f"{run}, {name!r}", "only files of a run", "another directory")
        elif name != layout.MANIFEST and not name.endswith(durable.TEMPORARY_SUFFIX):
            if path.is_symlink() or not path.is_file():
                raise refusal(f"{run}, {name!r}", "a plain file", "a link or a device")
            if layout.classify(name) == layout.UNKNOWN:
                raise refusal(f"{run}, {name!r}", "only files of a run", "another file")
            found.append(name)
    return sorted(found, key=str.encode)


def refusal(where: str, expected: str, found: str) -> errors.IntegrityError:
    """The error for a manifest or a run that is not as it has to be."""
    return errors.IntegrityError(
        where=where,
        expected=expected,
        found=found,
        remedy="restore the run from its archive, or run the experiment again",
    )


def _entry_of(run: Path, path: str) -> FileEntry:
    place = run / path
    return FileEntry(
        path=path,
        size_bytes=place.stat().st_size,
        sha256=digests.sha256_file(place),
        kind=layout.classify(path),
    )


def _run_digest(files: Iterable[FileEntry]) -> str:
    results = ((file.path, file.sha256) for file in files if file.kind == layout.RESULT)
    return digests.of_entries(RESULTS, results)


def _body(manifest: Manifest) -> dict[str, canonical.JsonValue]:
    return {
        "schema": SCHEMA,
        "experiment_digest": manifest.experiment_digest,
        "identity": manifest.identity,
        "run_digest": manifest.run_digest,
        "files": [
            {
                "path": file.path,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "class": file.kind,
            }
            for file in manifest.files
        ],
        "journal": {
            "length_bytes": manifest.journal_length_bytes,
            "sha256": manifest.journal_sha256,
        },
    }


def _decode(value: canonical.JsonValue) -> Manifest:
    fields = _mapping(value, _NAMES, "the manifest")
    if fields["schema"] != SCHEMA:
        message = f"the schema {fields['schema']!r}, not {SCHEMA!r}"
        raise ValueError(message)
    listed, identity = fields["files"], fields["identity"]
    if not isinstance(listed, list):
        raise ValueError("files that are not a list")  # noqa: TRY004
    files = tuple(_decode_file(item) for item in listed)
    _require_order([file.path for file in files])
    sealed = _mapping(fields["journal"], frozenset({"length_bytes", "sha256"}), "the journal")
    return Manifest(
        experiment_digest=_computed(fields, "experiment_digest", experiment_digest_of(identity)),
        identity=identity,
        run_digest=_computed(fields, "run_digest", _run_digest(files)),
        files=files,
        journal_length_bytes=_size(sealed["length_bytes"], "the journal"),
        journal_sha256=_hex(sealed["sha256"], "the journal"),
    )


def _decode_file(value: canonical.JsonValue) -> FileEntry:
    names = frozenset({"path", "size_bytes", "sha256", "class"})
    fields = _mapping(value, names, "an entry of files")
    path, kind = fields["path"], fields["class"]
    if not isinstance(path, str) or not isinstance(kind, str):
        raise ValueError("a path or a class that is not text")  # noqa: TRY004
    if layout.classify(path) == layout.UNKNOWN or path in layout.GROWING:
        message = f"the path {path!r}, which a manifest does not list"
        raise ValueError(message)
    if layout.classify(path) != kind:
        message = f"the class {kind!r} for {path!r}, which is {layout.classify(path)!r}"
        raise ValueError(message)
    size_bytes, sha256 = _size(fields["size_bytes"], path), _hex(fields["sha256"], path)
    return FileEntry(path=path, size_bytes=size_bytes, sha256=sha256, kind=kind)


def _require_order(paths: list[str]) -> None:
    for before, after in itertools.pairwise(paths):
        if before.encode() >= after.encode():
            message = f"the path {after!r} behind {before!r}"
            raise ValueError(message)
    if len({path.casefold() for path in paths}) != len(paths):
        raise ValueError("two paths that differ only in case")
    missing = [path for path in layout.REQUIRED if path not in paths]
    if missing:
        message = f"no entry for {', '.join(missing)}"
        raise ValueError(message)


def _mapping(
    value: canonical.JsonValue, names: frozenset[str], what: str
) -> Mapping[str, canonical.JsonValue]:
    if not isinstance(value, Mapping) or set(value) != names:
        message = f"{what} without exactly {', '.join(sorted(names))}"
        raise ValueError(message)
    return value


def _computed(fields: Mapping[str, canonical.JsonValue], name: str, right: str) -> str:
    if fields[name] != right:
        message = f"{name} {fields[name]!r} where {right!r} follows from the rest"
        raise ValueError(message)
    return right


def _size(value: canonical.JsonValue, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_FILE_BYTES:
        message = f"a size of {value!r} bytes for {what}"
        raise ValueError(message)
    return value


def _hex(value: canonical.JsonValue, what: str) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        message = f"a SHA-256 {value!r} for {what}"
        raise ValueError(message)
    return value


def _first_difference(right: bytes, found: bytes) -> str:
    ends = min(len(right), len(found))
    place = next((i for i in range(ends) if right[i] != found[i]), ends)
    return f"other bytes from byte {place} on"
