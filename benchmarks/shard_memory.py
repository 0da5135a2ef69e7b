# SPDX-License-Identifier: Apache-2.0
"""Memory of a step of 8 shards of 16 against a step of one batch of 16, in exact arithmetic.

Prints a line per case: NAME shards P MiB batch Q MiB gradients G MiB bound Q+G MiB met|EXCEEDED.
P is the peak of two steps of eight shards, Q that of sixteen steps of one: as many passes. Each is
of a process of its own, above a process that built the network and loaded the kernels. G is what
the gradients of the other seven shards take, a float32 per parameter each: they are kept until the
last shard is done, because only then the grids are known that all of them share.

Usage: python -m benchmarks.shard_memory [--only NAME]
"""

import argparse
import resource
import subprocess
import sys
from typing import Final

import numpy as np

from benchmarks import exact_vs_float32 as cases
from tiny_agent_trainer import randomness
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.config.optimizers import AdamOptions, CrossEntropyOptions
from tiny_agent_trainer.model import shape
from tiny_agent_trainer.tokenizer.batches import Batch
from tiny_agent_trainer.training import group, step
from tiny_agent_trainer.training.exact_arithmetic import ExactArithmetic
from tiny_agent_trainer.training.flat import FlatParameters
from tiny_agent_trainer.training.losses.cross_entropy import CrossEntropy
from tiny_agent_trainer.training.optimizers.adam import Adam

SHARD: Final = 16
SHARDS: Final = 8
STEPS: Final = 2
NAMES: Final = ("resnet18-64", "vit", "densenet121")
"""Networks that dwarf the code of the kernels."""


class Unread:
    """Stands where a step has a feed: its batches are made here."""


def parts_of(name: str, shards: int) -> step.StepParts:
    """A training of this many shards."""
    case = cases.CASES[name]
    network = case.build(shape.InputShape(kind=case.kind, sizes=case.sizes, classes=2))
    engine = f"[engine]\nbatch_size = {SHARD * shards}\nshard_size = {SHARD}\n"
    values, options = FlatParameters(network), AdamOptions(name="adam")
    return step.StepParts(
        engine=trainer_config.parse_config(engine.encode(), "benchmark").engine,
        options=options,
        network=network,
        flat=values,
        feed=Unread(),  # type: ignore[arg-type]
        loss=CrossEntropy(CrossEntropyOptions(name="cross_entropy"), [1, 1]),
        optimizer=Adam(options, values.length),
        arithmetic=ExactArithmetic(cases.THREADS, "auto", group.Alone()),
    )


def train(name: str, shards: int, steps: int) -> FlatParameters:
    """Carry out this many steps."""
    parts, sizes = parts_of(name, max(shards, 1)), cases.CASES[name].sizes
    count = SHARD * shards
    inputs = randomness.stream(1, "benchmark").uniform(count * int(np.prod(sizes)))
    numbers = np.arange(count)
    batch = Batch(samples=numbers, inputs=inputs.reshape(count, *sizes), labels=numbers % 2)
    with parts.arithmetic.context():
        for number in range(1, steps + 1):
            order = group.StepOrder(epoch=1, number=number, rate=1e-3, chosen=numbers)
            step.carry_out(parts, order, batch)
    return parts.flat


def peak(name: str, shards: int, steps: int) -> None:
    """Print the largest resident size in bytes, and how many parameters there are."""
    train("cnn", 2, 1)  # loads the code of all kernels, whatever is measured
    length = train(name, shards, steps).length
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, length)


def measured(name: str, shards: int, steps: int) -> tuple[int, int]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.shard_memory", "--only", name, "--peak"]
    size, length = subprocess.check_output([*command, str(shards), str(steps)]).split()
    return int(size), int(length)


def compare(name: str) -> None:
    """Print one case."""
    idle, length = measured(name, 1, 0)
    mine = measured(name, SHARDS, STEPS)[0] - idle
    peer = measured(name, 1, STEPS * SHARDS)[0] - idle
    gradients = (SHARDS - 1) * length * 4
    is_met = mine <= peer + gradients
    print(
        f"{name} shards {mine >> 20} MiB batch {peer >> 20} MiB gradients {gradients >> 20} MiB "
        f"bound {(peer + gradients) >> 20} MiB {'met' if is_met else 'EXCEEDED'}",
        flush=True,
    )


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--peak", nargs=2, type=int, metavar=("SHARDS", "STEPS"))
    chosen = parser.parse_args()
    names = [chosen.only] if chosen.only else NAMES
    if chosen.peak:
        peak(names[0], *chosen.peak)
    else:
        for name in names:
            compare(name)


if __name__ == "__main__":
    main()
