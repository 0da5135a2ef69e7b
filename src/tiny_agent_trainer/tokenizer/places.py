# SPDX-License-Identifier: Apache-2.0
"""Where data are looked for: the folder that the configuration names, and the user's cache."""

import os
from pathlib import Path

from tiny_agent_trainer import errors


def user_cache() -> Path:
    """The directory for what can be fetched or made again."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "tiny-agent-trainer"


def require_root(named: str) -> Path:
    """The folder of `[data] root`; without one, where the user stands.

    Raises:
        DatasetMissingError: There is no such folder.
    """
    root = Path(named or ".")
    if not root.is_dir():
        raise errors.DatasetMissingError(
            where="[data] root",
            expected="a directory with images",
            found=f"no directory {root}",
            remedy="write the path of the folder, seen from where you run, or use --data",
        )
    return root
