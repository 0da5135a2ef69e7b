# SPDX-License-Identifier: Apache-2.0
"""Digests whose names hold everything that changes them: `sha256:<what>-<version>:<64 hex>`."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_CHUNK_SIZE_BYTES = 1 << 20


def sha256_hex(data: bytes | memoryview) -> str:
    """SHA-256 of bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 lower-case hexadecimal digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named(what: str, data: bytes) -> str:
    """Digest `data` under a name, for example `named("canonical-json-v1", encode(value))`."""
    return f"sha256:{what}:{sha256_hex(data)}"


def of_entries(what: str, entries: Iterable[tuple[str, str]]) -> str:
    """Digest a set of (name, hex digest) pairs, whatever their order.

    The pairs are sorted by the UTF-8 bytes of their names and written as `name NUL digest LF`, so
    no name can imitate another entry.
    """
    ordered = sorted((name.encode(), digest.encode()) for name, digest in entries)
    return named(what, b"".join(name + b"\0" + digest + b"\n" for name, digest in ordered))


def short(digest: str) -> str:
    """The first 12 hexadecimal digits of a named digest, for people and file names."""
    return digest.rsplit(":", 1)[-1][:12]
