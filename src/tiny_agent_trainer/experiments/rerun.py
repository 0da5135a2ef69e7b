# SPDX-License-Identifier: Apache-2.0
"""Carry a configuration out again, in a process that cannot read what it has to reproduce."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tiny_agent_trainer.experiments import isolation
from tiny_agent_trainer.experiments.run_directory import layout
from tiny_agent_trainer.meta import session
from tiny_agent_trainer.tokenizer import places
from tiny_agent_trainer.tokenizer.cache import place

DATA_VARIABLE: Final = "TINY_AGENT_TRAINER_DATA"
_TAIL_CHARACTERS: Final = 2000

_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from tiny_agent_trainer.cli.main import main; main()"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run again.

    Attributes:
        config: The exact bytes of `config.toml`.
        source: Directory that holds the package to run.
        data_dirs: Directories that hold data; the first one is passed as --data if `name_data`.
        name_data: Whether the first directory replaces `[data] root`.
        weights: `[model.weights] path` of the configuration, "" if there is none.
        hidden: Paths that the process must not reach.
        work: An empty directory for it alone.
        tells_all: Whether its last words may be recorded: they may name files of the data.
    """

    config: bytes
    source: Path
    data_dirs: tuple[Path, ...]
    name_data: bool
    weights: str
    hidden: tuple[Path, ...]
    work: Path
    tells_all: bool = True


class RerunError(Exception):
    """The re-run did not come to a result; the message says why.

    Args:
        message: For the audit.
        words: What the re-run said, for the user's eyes alone.
    """

    def __init__(self, message: str, words: str = "") -> None:
        self.words = words
        super().__init__(message)


def rerun(order: Order) -> Path:
    """Run an experiment again.

    Returns:
        The directory of the new run.

    Raises:
        RerunError: No isolation on this machine, a hidden path in reach, or the run failed.
    """
    confinement = isolation.Confinement(
        readable=(*isolation.python_paths(), order.source, *order.data_dirs, *_weights(order)),
        writable=(order.work,),
    )
    _require_hidden(confinement, order.hidden)
    config = order.work / "config.toml"
    config.write_bytes(order.config)
    (order.work / "tmp").mkdir()
    results = order.work / "results"
    arguments = ["--config", str(config), "--results", str(results), "--quiet"]
    if order.name_data:
        arguments += ["--data", str(order.data_dirs[0])]
    python = [sys.executable, "-I", "-c", _START, str(order.source), *arguments]
    ended = subprocess.run(
        isolation.command(confinement, python),
        cwd=order.work,
        env=_environment(order),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode != 0:
        words = (ended.stderr or ended.stdout).strip()[-_TAIL_CHARACTERS:]
        ending = f"the re-run ended with exit code {ended.returncode}"
        if order.tells_all:
            raise RerunError(f"{ending}: {words}")
        raise RerunError(f"{ending}: {words.partition(chr(10))[0]}", words)
    return _only_run(results)


def _weights(order: Order) -> list[Path]:
    """Bring the weights file to where the re-run looks for it; the run checks its digest."""
    path = Path(order.weights)
    if not order.weights or not path.is_file():
        return []
    target = order.work / path
    if path.is_absolute() or not target.resolve().is_relative_to(order.work.resolve()):
        return [path]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return []


def _require_hidden(confinement: isolation.Confinement, hidden: Sequence[Path]) -> None:
    if not isolation.can_confine():
        raise RerunError(
            "this machine cannot confine the re-run (Landlock, Linux 5.13 or later), "
            "so it could read what it has to reproduce"
        )
    for path in hidden:
        if confinement.reaches(path):
            raise RerunError(
                f"{path} lies in a directory that the re-run needs to read; move it elsewhere"
            )


def _only_run(results: Path) -> Path:
    runs = sorted(results.iterdir()) if results.is_dir() else []
    finished = [path for path in runs if (path / layout.MANIFEST).is_file()]
    if len(finished) != 1:
        raise RerunError(f"the re-run left {len(finished)} finished runs, not one")
    return finished[0]


def _environment(order: Order) -> dict[str, str]:
    kept = {name: os.environ[name] for name in session.NUMERIC_ENVIRONMENT if name in os.environ}
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return kept | {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(order.work),
        "TMPDIR": str(order.work / "tmp"),
        "XDG_CACHE_HOME": cache,
        place.VARIABLE: str(order.work / "prepared"),  # nothing that the first run prepared
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **({DATA_VARIABLE: os.environ[DATA_VARIABLE]} if DATA_VARIABLE in os.environ else {}),
    }


def data_directories(data_dir: Path | None, root: str) -> tuple[tuple[Path, ...], bool]:
    """Where the data may be, the named one first, and whether one is named.

    Args:
        data_dir: What the user named with --data.
        root: `[data] root` of the configuration, relative to the working directory.
    """
    named = data_dir or (Path(root) if root else None)
    others = [Path(os.environ[DATA_VARIABLE])] if os.environ.get(DATA_VARIABLE) else []
    near = [named] if named and named.is_dir() else []
    found = [path.resolve() for path in (*near, *others, places.user_cache()) if path.is_dir()]
    return tuple(found), bool(near)
