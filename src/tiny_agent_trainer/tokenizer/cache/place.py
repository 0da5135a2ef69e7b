# SPDX-License-Identifier: Apache-2.0
"""Where prepared images are kept."""

import os
import tempfile
from pathlib import Path
from typing import Final

from tiny_agent_trainer.tokenizer import places
from tiny_agent_trainer.tokenizer.cache.store import Store

VARIABLE: Final = "TINY_AGENT_TRAINER_PREPARED"
"""Environment variable that names another directory, whatever the configuration says; "": none."""

AUTOMATIC: Final = "auto"
"""The value of `[data] cache` that means the user's own cache."""

_BYTES_PER_GIGABYTE: Final = 10**9


def directory_of(cache: str) -> Path | None:
    """The directory that a value of `[data] cache` names; None for no cache."""
    named = os.environ.get(VARIABLE, cache)
    if not named:
        return None
    if named != AUTOMATIC:
        return Path(named)
    return places.user_cache() / "prepared"


def open_store(cache: str, limit_gigabytes: int) -> Store | None:
    """The store that the configuration names; None without one, or where nothing can be written.

    Args:
        cache: `[data] cache`.
        limit_gigabytes: `[data] cache_limit_gigabytes`.
    """
    directory = directory_of(cache)
    if directory is None:
        return None
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return None
    return Store(directory, limit_gigabytes * _BYTES_PER_GIGABYTE)
