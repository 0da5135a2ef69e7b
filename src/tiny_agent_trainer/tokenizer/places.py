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
    require_folder(root)
    return root


def require_folder(folder: Path) -> None:
    """Refuse a folder of images that is not there.

    Raises:
        DatasetMissingError: There is no such folder.
    """
    if not folder.is_dir():
        raise errors.DatasetMissingError(
            where="the folder of images",
            expected="a directory",
            found=f"no directory {folder}",
            remedy="write its path, seen from where you run: on the command line, in `root` under "
            "[data], or behind --data",
        )
