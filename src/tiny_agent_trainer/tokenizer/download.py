# SPDX-License-Identifier: Apache-2.0
"""Fetch a published file over HTTPS, checked before it gets its name."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO

from tiny_agent_trainer import durable
from tiny_agent_trainer.tokenizer import samples

_PIECE_SIZE_BYTES = 1 << 18
_TIMEOUT_S = 20


def fetch(url: str, target: Path, md5: str, progress: samples.Progress) -> str:
    """Fetch `url` into `target`.

    Args:
        url: Where the publisher keeps the file.
        target: Where it belongs; its directory is made.
        md5: The published digest; anything else is thrown away.
        progress: Told bytes done and in all.

    Returns:
        "" when the file is there, else why it could not be fetched.
    """
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            durable.make_directory(target.parent)
            total = int(answer.headers.get("Content-Length") or 0) or None
            durable.write_atomic(target, _checked(answer, md5, target.name, total, progress))
    except _WrongContentError as error:
        return str(error)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        return f"the publisher could not be reached ({error})"
    return ""


class _WrongContentError(Exception):
    """What came is not the published file."""


def _checked(
    answer: IO[bytes], md5: str, name: str, total: int | None, progress: samples.Progress
) -> Iterator[bytes]:
    digest = hashlib.md5(usedforsecurity=False)
    done = 0
    while piece := answer.read(_PIECE_SIZE_BYTES):
        digest.update(piece)
        done += len(piece)
        progress(f"fetching {name}", done, total)
        yield piece
    if digest.hexdigest() != md5:
        message = f"what came has MD5 {digest.hexdigest()}, not {md5}"
        raise _WrongContentError(message)
