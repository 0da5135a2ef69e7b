# SPDX-License-Identifier: Apache-2.0
"""The other workers of a training: processes of the same command, started and ended with it.

A follower reads configuration and data itself, joins the group and carries out the steps that the
leader announces. It writes nothing into the run.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tiny_agent_trainer import canonical, errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments import prepare
from tiny_agent_trainer.experiments.observer import Observer
from tiny_agent_trainer.experiments.run_directory import layout
from tiny_agent_trainer.meta import session
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.training import gloo_group, group, step

_INTERFACE: Final = "GLOO_SOCKET_IFNAME"
_TOLD: Final = "tiny-agent-trainer-worker: "
_DIE_WITH_PARENT: Final = 1
_LOOK_AGAIN_S: Final = 0.05
_LAST_WORDS_S: Final = 10.0
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from tiny_agent_trainer.experiments.workers import main; main(sys.argv[1])"
)


@dataclass(frozen=True, slots=True)
class Follower:
    """A started process."""

    rank: int
    process: "subprocess.Popen[bytes]"
    place: Path

    @property
    def is_ready(self) -> bool:
        """Whether it is about to join the group."""
        return (self.place / f"ready-{self.rank}").exists()

    def require_alive(self) -> None:
        """Raise what ended it.

        Raises:
            TrainerError: What the follower itself raised, or a WorkerError.
        """
        code = self.process.poll()
        if code is None:
            return
        raise _ending(self.rank, code, self.words.read_text(errors="replace"))

    @property
    def words(self) -> Path:
        """What it says on standard error; a file, because nobody reads a pipe meanwhile."""
        return self.place / f"words-{self.rank}"

    def end(self) -> None:
        """Wait for nothing more from it."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def at_work(
    config: trainer_config.TrainerConfig, run: Path, data_dir: Path | None, told: Observer
) -> Iterator[group.AbstractGroup]:
    """The group of a training; its followers end with the context.

    Raises:
        WorkerError: A follower died; what it raised itself is raised here as it is.
    """
    size = config.engine.workers
    if size == 1 or not _has_sockets(told):
        yield group.Alone()
        return
    with tempfile.TemporaryDirectory() as folder, _loopback():
        followers = [_start(rank, size, run, data_dir, Path(folder)) for rank in range(1, size)]
        try:
            _wait_until_ready(followers)
            joined = gloo_group.GlooGroup(0, size, Path(folder) / "meeting")
            try:
                yield joined
            finally:
                joined.leave()
        except errors.WorkerError:
            _explain(followers)
            raise
        finally:
            for follower in followers:
                follower.end()


def main(argument: str) -> None:
    """What a follower does: one JSON argument, and on failure one JSON line on standard error."""
    # An orphan would wait for ever: the kernel ends it with its leader (prctl, PR_SET_PDEATHSIG).
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    order: Any = canonical.decode(argument.encode())
    if os.getppid() != order["leader"]:
        raise SystemExit(errors.WorkerError.exit_code)
    try:
        _follow(order)
    except errors.TrainerError as error:
        words = {"where": error.where, "expected": error.expected, "found": error.found}
        told = canonical.encode(words | {"remedy": error.remedy}).decode()
        sys.stderr.write(f"\n{_TOLD}{told}\n")
        raise SystemExit(error.exit_code) from error


def _follow(order: dict[str, Any]) -> None:
    run, place, rank = Path(order["run"]), Path(order["place"]), order["rank"]
    config = trainer_config.read_config(run / layout.CONFIG).config
    folder = None if order["data_dir"] is None else Path(order["data_dir"])
    data = prepare.read_data(config, folder, samples.silent)
    if data.manifest != (run / layout.DATA_MANIFEST).read_bytes():
        raise errors.WorkerError(
            where=f"worker {rank}",
            expected="the data that the run began with",
            found="files that changed since",
            remedy="bring the data back and continue with --resume",
        )
    network = prepare.build_network(config, data.feed.tokenizer, data.cohort.num_outputs)
    (place / f"ready-{rank}").touch()
    joined = gloo_group.GlooGroup(rank, order["size"], place / "meeting")
    parts = prepare.build_steps(config, data, network, joined)
    joined.share(step.state_of(parts))
    gloo_group.follow(parts, joined)
    joined.leave()


def _start(rank: int, size: int, run: Path, data_dir: Path | None, place: Path) -> Follower:
    order = {
        "run": str(run.resolve()),
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "rank": rank,
        "size": size,
        "place": str(place),
        "leader": os.getpid(),
    }
    source = str(session.package_parent())
    told = canonical.encode(order).decode()
    command = [sys.executable, "-I", "-c", _START, source, told]
    with (place / f"words-{rank}").open("wb") as words:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            start_new_session=True,  # Ctrl-C is for the leader, who stops all of them
        )
    return Follower(rank, process, place)


def _wait_until_ready(followers: list[Follower]) -> None:
    while not all(follower.is_ready for follower in followers):
        for follower in followers:
            follower.require_alive()
        _pause(followers)


def _explain(followers: list[Follower]) -> None:
    """Raise what ended a follower, as soon as one has ended."""
    tries = int(_LAST_WORDS_S / _LOOK_AGAIN_S)
    for _ in range(tries):
        for follower in followers:
            follower.require_alive()
        _pause(followers)


def _pause(followers: list[Follower]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        followers[0].process.wait(_LOOK_AGAIN_S)


def _ending(rank: int, code: int, said: str) -> errors.TrainerError:
    kinds = {kind.exit_code: kind for kind in errors.listed_errors()}
    lines = [line for line in said.splitlines() if line.strip()]
    told = [line.removeprefix(_TOLD) for line in lines if line.startswith(_TOLD)]
    if code in kinds and told:
        words: Any = canonical.decode(told[-1].encode())
        return kinds[code](**words)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    tail = f": {lines[-1]}" if lines else ""
    return gloo_group.lost(f"worker {rank} ended with {how}{tail}")


def _has_sockets(told: Observer) -> bool:
    """Whether processes may talk here; a confined re-run may not, and needs no others."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    except PermissionError:
        told.said("no sockets here: one worker does the work of all, with the same bits")
        return False
    return True


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Let gloo meet on this machine only, whatever its name resolves to."""
    before = os.environ.get(_INTERFACE)
    os.environ[_INTERFACE] = before or "lo"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_INTERFACE]
