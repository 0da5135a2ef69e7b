# SPDX-License-Identifier: Apache-2.0
"""Our training loop against a bare PyTorch loop: same model, data, optimiser, threads.

Prints a line per case: NAME ours S s  bare S s  ratio R (medians of alternating pairs; the ratio is
the median of the pairs' ratios). Also prints what ledger and checkpoints cost of a ResNet-18 run,
amortised at the default `checkpoint_every`, and the time of `--help`.

Usage: python -m benchmarks.training_overhead [--only NAME] [--pairs N]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments import observer, prepare, recorder
from tiny_agent_trainer.meta import chronicle
from tiny_agent_trainer.model import build
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.training import loop, store

CASES = {
    "cnn": ("[data]\npatients = 1000\n", 64, 20),
    "resnet18": ('[data]\npatients = 120\nimage_size = 28\n[model]\nname = "resnet18"\n', 64, 3),
    "vit": (
        "[data]\npatients = 300\n[tokenizer]\nkind = 'patches'\n"
        "[model]\nname = 'vit'\nlayers = 4\nwidth = 96\n",
        64,
        6,
    ),
}
THREADS = 2


class Case:
    """One configuration, trained by both loops on the same batches."""

    def __init__(
        self,
        text: str,
        batch_size: int,
        steps: int,
        arithmetic: str = "native",
        threads: int = THREADS,
    ) -> None:
        engine = f"[engine]\narithmetic = '{arithmetic}'\nepochs = 1000\n"
        engine += f"batch_size = {batch_size}\nthreads = {threads}\n"
        self.config = trainer_config.parse_config((engine + text).encode(), "benchmark")
        self.data = prepare.read_data(self.config, None, samples.silent)
        self.batch_size, self.steps = batch_size, steps

    @property
    def num_training(self) -> int:
        """Samples of an epoch."""
        return len(self.data.cohort.splits["train"])

    def build_network(self) -> build.BuiltNetwork:
        """A new network with its initial weights."""
        classes = len(self.data.cohort.classes)
        return prepare.build_network(self.config, self.data.feed.tokenizer, classes)

    def ours(self) -> float:
        """Seconds of our loop, ledger included, from the first step on."""
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder)
            checkpoints = store.CheckpointStore(directory=run, keep=("best", "last"))
            stop = StopAfter(self.steps)
            length = prepare.span(self.config, self.data)
            scale = recorder.Scale(
                epochs=1000, steps_per_epoch=length.steps_per_epoch, metric="auroc"
            )
            seen_by = recorder.LedgerWitness(run / chronicle.FILE_NAME, "x", scale, stop)
            seen_by.begin()
            network = self.build_network()
            trainer, _ = prepare.build_trainer(
                self.config, self.data, network, "x", checkpoints, seen_by
            )
            stop.began_s = time.perf_counter()
            trainer.run()
            return stop.ended_s - stop.began_s

    def bare(self) -> float:
        """Seconds of the loop that anybody would write."""
        torch.set_num_threads(THREADS)
        torch.use_deterministic_algorithms(True)
        network = self.build_network().network
        feed = self.data.feed
        members = feed.cohort.splits["train"]
        inputs = torch.from_numpy(feed.plain_batch(members).inputs)
        labels = torch.from_numpy(feed.cohort.labels[members])
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        network.train()
        began = time.perf_counter()
        for order in self._orders(len(members)):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(inputs[order]), labels[order])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
        return time.perf_counter() - began

    def _orders(self, count: int) -> list[torch.Tensor]:
        orders: list[torch.Tensor] = []
        while len(orders) < self.steps:
            orders += torch.split(torch.randperm(count), self.batch_size)
        return orders[: self.steps]


class StopAfter(observer.SilentObserver):
    """Stops the training after so many steps and notes the time."""

    def __init__(self, steps: int) -> None:
        self.left, self.began_s, self.ended_s = steps, 0.0, 0.0

    def wants_stop(self) -> bool:
        """After the last step."""
        self.left -= 1
        self.ended_s = time.perf_counter()
        return self.left <= 0


def compare(name: str, ours: Callable[[], float], bare: Callable[[], float], pairs: int) -> None:
    """Print one case."""
    ours(), bare()
    timed = [(ours(), bare()) for _ in range(pairs)]
    ratio = statistics.median(one / other for one, other in timed)
    print(
        f"{name} ours {statistics.median(one for one, _ in timed):.3f} s "
        f"bare {statistics.median(other for _, other in timed):.3f} s ratio {ratio:.3f}"
    )


def recording_share() -> None:
    """What ledger and checkpoints cost of a ResNet-18 run at the default cadence."""
    case = Case(*CASES["resnet18"])
    step_s = statistics.median(case.ours() for _ in range(3)) / case.steps
    cadence = case.config.engine.checkpoint_cadence.count
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        scale = recorder.Scale(epochs=1000, steps_per_epoch=1, metric="auroc")
        seen_by = recorder.LedgerWitness(
            run / chronicle.FILE_NAME, "x", scale, observer.SilentObserver()
        )
        seen_by.begin()
        network = case.build_network()
        checkpoints = store.CheckpointStore(directory=run, keep=("best", "last"))
        trainer, _ = prepare.build_trainer(
            case.config, case.data, network, "x", checkpoints, seen_by
        )
        times = [_time(lambda: _write_both(trainer, checkpoints)) for _ in range(5)]
    write_s = statistics.median(times)
    share = write_s / (cadence * step_s)
    print(
        f"checkpoints (best and last) {write_s:.3f} s every {cadence} steps of {step_s:.3f} s: "
        f"{100 * share:.2f} % of the run"
    )


def _write_both(trainer: loop.Trainer, checkpoints: store.CheckpointStore) -> None:
    checkpoints.remember_best(trainer.best_state())
    trainer.write_checkpoint(is_scheduled=True)


def _time(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def help_time() -> None:
    """The time of `--help`."""
    command = [sys.executable, "-m", "tiny_agent_trainer", "--help"]
    times = [
        _time(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(7)
    ]
    print(f"--help {statistics.median(times):.3f} s")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[*CASES, "recording", "help"])
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    for name, (text, batch_size, steps) in CASES.items():
        if chosen.only in (None, name):
            case = Case(text, batch_size, steps)
            compare(name, case.ours, case.bare, chosen.pairs)
    if chosen.only in (None, "recording"):
        recording_share()
    if chosen.only in (None, "help"):
        help_time()


if __name__ == "__main__":
    main()
