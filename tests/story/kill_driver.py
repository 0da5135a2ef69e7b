# SPDX-License-Identifier: Apache-2.0
"""Program of test_kill.py: kills a small run at chosen calls of `durable`, resumes, prints digests.

Every run is a fork of this process, which has imported everything but computed nothing yet. Usage:
`kill_driver.py RESULTS first last step`; prints `N OUTCOME RUN_DIGEST` per line.
"""

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

from tiny_agent_trainer import durable
from tiny_agent_trainer.experiments import run as running

CONFIG = """
[engine]
epochs = 2
batch_size = 16
threads = 1
checkpoint_every = "2 steps"
keep = ["best"]
[data]
patients = 20
image_size = 16
[tokenizer.augmentation]
flip_horizontal = true
shift_pixels = 1
[model]
name = "mlp"
hidden = [8]
dropout = 0.2
"""


class Killer:
    """Counts calls of the primitives and kills the process at one of them."""

    def __init__(self, target: int) -> None:
        self.left = target
        self.write, self.fsync, self.replace = durable._write, durable._fsync, durable._replace
        durable._write, durable._fsync = self.on_write, self.on_fsync
        durable._replace = self.on_move

    def on_write(self, descriptor: int, data: memoryview) -> int:
        if self._is_target() and len(data) > 1:
            self.write(descriptor, data[: len(data) // 2])  # a torn write
        self._die_at_target()
        return self.write(descriptor, data)

    def on_fsync(self, descriptor: int) -> None:
        self._die_at_target()
        self.fsync(descriptor)

    def on_move(self, source: Path, target: Path) -> None:
        self._die_at_target()
        self.replace(source, target)

    def _is_target(self) -> bool:
        return self.left == 1

    def _die_at_target(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def in_fork(action) -> tuple[int, str]:
    """Exit status of a fork that carries out `action`, and what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.write(writer, action().encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001 (the fork must not go on)
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    return os.waitpid(child, 0)[1], said


def find_runs(results: Path) -> list[Path]:
    return [path for path in results.glob("*") if not path.name.startswith(".")]


def start(config: Path, results: Path) -> str:
    return str(running.run_experiment(config, results_dir=results).run_digest)


def finish(config: Path, results: Path) -> str:
    runs = find_runs(results)
    if runs:
        return str(running.resume_experiment(runs[0]).run_digest)
    return start(config, results)


def killed_at(target: int, config: Path, results: Path) -> str:
    Killer(target)
    return start(config, results)


def main() -> None:
    folder, first, last, step = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    config = folder / "small.toml"
    config.write_text(CONFIG)
    for target in range(first, last + 1, step):
        results = folder / f"killed_{target}"
        status, said = in_fork(lambda n=target, r=results: killed_at(n, config, r))
        if status == 0:
            print(target, "survived", said, flush=True)
            return
        assert os.WIFSIGNALED(status), f"call {target}: the run failed on its own"
        again, digest = in_fork(lambda r=results: finish(config, r))
        leftovers = list(results.rglob("*.part"))
        print(target, "resumed" if again == 0 and not leftovers else "FAILED", digest, flush=True)
        shutil.rmtree(results)


if __name__ == "__main__":
    main()
