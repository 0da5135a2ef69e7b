# SPDX-License-Identifier: Apache-2.0
"""One cell of the matrix: trains a small experiment under the environment it was started in.

`matrix_cell.py CONFIG RESULTS [--stop-after STEPS]` prints one JSON line: the digests, what the
training did, and the proof that each setting of the environment acted.
"""

import argparse
import hashlib
import json
import math
import os
from pathlib import Path

import numba
import numpy as np
import torch
from numba.core import config as numba_config
from safetensors.torch import load_file

from tiny_agent_trainer import run_experiment
from tiny_agent_trainer.experiments import observer, run


class Recorder(observer.SilentObserver):
    """Keeps the losses, and asks to stop once after so many steps."""

    def __init__(self, stop_after, witness):
        self.losses, self.stop_after, self.witness = [], stop_after, witness

    def stepped(self, news):
        if self.witness and not self.losses:
            self.witness.calls = 0  # what was called before were self-tests
        self.losses.append(news.loss)

    def wants_stop(self):
        return len(self.losses) == self.stop_after


def train(config, results, stop_after, witness):
    """The finished run, stopped once and resumed where that is asked for; and its losses."""
    recorder = Recorder(stop_after, witness)
    finished = run_experiment(config, results_dir=results, told=recorder)
    if stop_after:
        assert finished.outcome == "interrupted"
        finished = run.resume_experiment(finished.path, told=recorder)
    return finished, recorder.losses


def describe(finished, losses):
    """Digests and losses."""
    tensors = load_file(finished.path / "checkpoints" / "last.safetensors")
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return {"run_digest": finished.run_digest, "weights": total.hexdigest(), "losses": losses}


def glibc_bits():
    """Changes where the C library picks other variants of its functions."""
    values = [math.exp(k / 97) + math.cos(k) + math.pow(k + 0.5, 1.7) for k in range(4000)]
    return hashlib.sha256(str([value.hex() for value in values]).encode()).hexdigest()[:12]


def proofs():
    """What the process can say of itself."""
    return {
        "aten": torch.backends.cpu.get_cpu_capability(),
        "glibc": glibc_bits(),
        "numba": [numba_config.CPU_NAME, numba_config.CPU_FEATURES],
        "tunables": os.environ.get("GLIBC_TUNABLES"),
    }


@numba.njit
def doubled(x):
    """A loop that the compiler turns into vectors, to be looked at."""
    for place in range(len(x)):
        x[place] = x[place] * 2 + 1


def emitted_registers():
    """The widest registers in the machine code that Numba emits here."""
    doubled(np.zeros(9, np.float32))
    assembly = "".join(doubled.inspect_asm().values())
    return next(name for name in ("zmm", "ymm", "xmm") if name in assembly)


class ExactWitness:
    """Counts what exact arithmetic does while it trains."""

    def __init__(self):
        from tiny_agent_trainer.exact.contractions import current

        self.calls, self.torch_threads = 0, set()
        for engine in current.ENGINES.values():
            engine.convolve = self.counted(engine.convolve)

    def counted(self, method):
        def count(*arguments):
            self.calls += 1
            self.torch_threads.add(torch.get_num_threads())
            return method(*arguments)

        return count

    def proofs(self):
        """What acted."""
        from tiny_agent_trainer.exact import threads
        from tiny_agent_trainer.exact.contractions import current
        from tiny_agent_trainer.exact.kernels import instruction_sets

        return {
            "calls": self.calls,
            "engine": current.engine().name,
            "instructions": instruction_sets.current().name,
            "registers": emitted_registers(),
            "threads": threads.get_threads(),
            "torch_threads_inside": max(self.torch_threads),
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--stop-after", type=int, default=0)
    chosen = parser.parse_args()
    is_exact = 'arithmetic = "exact"' in chosen.config.read_text()
    witness = ExactWitness() if is_exact else None
    answer = describe(*train(chosen.config, chosen.results, chosen.stop_after, witness)) | proofs()
    print(json.dumps(answer | (witness.proofs() if witness else {})))


if __name__ == "__main__":
    main()
