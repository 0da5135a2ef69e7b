# SPDX-License-Identifier: Apache-2.0
"""A training step in exact arithmetic against plain float32 PyTorch: same model, batch, threads.

Prints a line per case: NAME exact S s float32 S s ratio R (medians of alternating pairs; the ratio
is the median of the pairs' ratios). Seconds are those of one step: forward, backward, Adam. The
peer is eager PyTorch with its default settings and torch.optim.Adam.

`--limits` repeats this with oneDNN and our kernels limited to older instruction sets, says what
both used, and names the limits that this machine is below. `--memory` compares peaks, `--profile`
shows where the time goes.

Usage: python -m benchmarks.exact_vs_float32 [--only NAME] [--pairs N]
    [--limits | --profile | --memory]
"""

import argparse
import cProfile
import dataclasses
import os
import pstats
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import llvmlite.binding
import torch
from monai.networks import nets
from torch import nn
from torch.nn import functional

from tiny_agent_trainer import randomness
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.config.optimizers import AdamOptions
from tiny_agent_trainer.exact.kernels import instruction_sets
from tiny_agent_trainer.model import build, drawing, initial, shape
from tiny_agent_trainer.training import group
from tiny_agent_trainer.training.exact_arithmetic import ExactArithmetic
from tiny_agent_trainer.training.flat import FlatParameters
from tiny_agent_trainer.training.optimizers.adam import Adam

THREADS = 2

_AVX2 = "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+popcnt"
_AVX512 = f"{_AVX2},+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"
LIMITS = {
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": _AVX2},
    "AVX512_CORE": {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": _AVX512},
    "AVX512_CORE_VNNI": {
        "NUMBA_CPU_NAME": "cascadelake", "NUMBA_CPU_FEATURES": f"{_AVX512},+avx512vnni"
    },
}  # fmt: skip
"""What oneDNN is limited to, and the same for the compiler of our kernels."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, its input and a batch."""

    build: Callable[[shape.InputShape], nn.Module]
    kind: str
    sizes: tuple[int, ...]
    batch: int
    steps: int = 1


def configured(text: str) -> Callable[[shape.InputShape], nn.Module]:
    """A builder of the network of a `[model]` section."""
    options = trainer_config.parse_config(f"[model]\n{text}\n".encode(), "benchmark").model
    return lambda target: build.build_network(options, target, base_seed=1).network


def unet(target: shape.InputShape) -> nn.Module:
    """MONAI's 3-D UNet, which answers with a volume."""
    with drawing.recording() as recorder:
        network = nets.UNet(  # type: ignore[attr-defined]
            3, target.sizes[0], target.classes, (16, 32, 64), (2, 2), num_res_units=2
        )
    initial.initialise(network, recorder, base_seed=1)
    return network


DENSENET = (
    'name = "monai:DenseNet121"\n[model.arguments]\nspatial_dims = 2\nin_channels = 1\n'
    "out_channels = 2"
)
RESNET, CNN = configured('name = "resnet18"'), configured('name = "cnn"\nlayers = 3\nwidth = 16')
VIT = configured('name = "vit"\nlayers = 6\nwidth = 192')
CASES = {
    "resnet18-64": Case(RESNET, "image", (1, 28, 28), 64),
    "resnet18-128": Case(RESNET, "image", (1, 28, 28), 128),
    "cnn": Case(CNN, "image", (1, 32, 32), 64, 20),
    "vit": Case(VIT, "patches", (64, 64), 64),
    "densenet121": Case(configured(DENSENET), "image", (1, 64, 64), 16),
    "unet3d": Case(unet, "image", (1, 32, 32, 32), 2, 2),
}


class Sides:
    """The same network twice, and a step of each."""

    def __init__(self, case: Case) -> None:
        self.case = case
        target = shape.InputShape(kind=case.kind, sizes=case.sizes, classes=2)
        self.ours, self.theirs = (case.build(target).train() for _ in range(2))
        count = case.batch * torch.Size(case.sizes).numel()
        values = randomness.stream(1, "benchmark").uniform(count)
        self.inputs = torch.from_numpy(values).reshape(case.batch, *case.sizes)
        with torch.no_grad():
            answer = self.theirs(self.inputs[:2])
        self.labels = torch.arange(case.batch).view(-1, *(1,) * (answer.dim() - 2)) % 2
        self.labels = self.labels.expand(case.batch, *answer.shape[2:]).contiguous()
        self.flat = FlatParameters(self.ours)
        self.adam = Adam(AdamOptions(name="adam"), self.flat.length)
        self.peer = torch.optim.Adam(self.theirs.parameters(), lr=1e-3)
        self.arithmetic = ExactArithmetic(THREADS, "auto", group.Alone())
        self.count = 0

    def exact(self) -> float:
        """Seconds of a step of ours."""
        began = time.perf_counter()
        with self.arithmetic.context():
            for _ in range(self.case.steps):
                self.count += 1
                self.flat.gradients.zero_()
                self.arithmetic.seed_network(1, self.count, 0)
                loss = functional.cross_entropy(self.ours(self.inputs), self.labels)
                loss.backward()  # type: ignore[no-untyped-call]
                loss.item()
                self.arithmetic.update(self.adam, self.flat, 1e-3, self.count)
        return (time.perf_counter() - began) / self.case.steps

    def float32(self) -> float:
        """Seconds of a step of plain PyTorch."""
        torch.set_num_threads(THREADS)
        began = time.perf_counter()
        for _ in range(self.case.steps):
            self.peer.zero_grad()
            loss = functional.cross_entropy(self.theirs(self.inputs), self.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            loss.item()
            self.peer.step()
        return (time.perf_counter() - began) / self.case.steps


def compare(name: str, pairs: int) -> None:
    """Print one case."""
    sides = Sides(CASES[name])
    sides.exact(), sides.float32()
    timed = [(sides.exact(), sides.float32()) for _ in range(pairs)]
    exact, float32 = (statistics.median(column) for column in zip(*timed, strict=True))
    ratio = statistics.median(mine / peer for mine, peer in timed)
    print(f"{name} exact {exact:.3f} s float32 {float32:.3f} s ratio {ratio:.3f}", flush=True)


def profile(name: str) -> None:
    """Print where the time of three exact steps goes."""
    sides = Sides(CASES[name])
    sides.exact()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(3):
        sides.exact()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def memory(name: str) -> None:
    """Print the peak memory of three steps of each side, in processes of their own."""
    command = [sys.executable, "-m", "benchmarks.exact_vs_float32", "--only", name, "--peak"]
    peaks = [
        int(subprocess.check_output([*command, side])) for side in ("exact", "float32", "none")
    ]
    exact, float32 = (peak - peaks[2] for peak in peaks[:2])
    print(f"{name} memory exact {exact} MiB float32 {float32} MiB ratio {exact / float32:.2f}")


def limited(name: str, pairs: int) -> None:
    """Print the case once for each instruction set that this machine has."""
    present = llvmlite.binding.get_host_cpu_features()
    command = [sys.executable, "-m", "benchmarks.exact_vs_float32", "--only", name]
    for limit, variables in LIMITS.items():
        wanted = variables["NUMBA_CPU_FEATURES"].replace("+", "").split(",")
        lacking = [feature for feature in wanted if not present.get(feature)]
        if lacking:
            print(f"{limit} {name} not measured: this CPU lacks {', '.join(lacking)}", flush=True)
            continue
        environment = os.environ | variables | {"ONEDNN_MAX_CPU_ISA": limit}
        verbose = environment | {"ONEDNN_VERBOSE": "1"}
        told = subprocess.check_output([*command, "--emitted"], env=verbose, text=True)
        line = subprocess.check_output(
            [*command, "--pairs", str(pairs)], env=environment, text=True
        )
        print(f"{limit} {line.rstrip()} ({_emitted_of(told)})", flush=True)


def emitted() -> None:
    """Have oneDNN say what it is limited to, and print what kernels are compiled for."""
    functional.conv2d(torch.ones(8, 64, 32, 32), torch.ones(64, 64, 3, 3))
    print(f"kernels:{instruction_sets.current().name}")


def _emitted_of(told: str) -> str:
    """Both, of the lines of a process."""
    isa = re.search(r"cpu,isa:(.+)", told)
    kernels = re.search(r"kernels:(.+)", told)
    return f"oneDNN {isa[1] if isa else 'silent'}, kernels {kernels[1] if kernels else 'silent'}"


def peak(name: str, side: str) -> None:
    """Print the largest resident size in MiB after three steps of one side."""
    sides = Sides(CASES[name])
    for _ in range(3 if side != "none" else 0):
        getattr(sides, side)()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--emitted", action="store_true")
    parser.add_argument("--peak", choices=("exact", "float32", "none"))
    chosen = parser.parse_args()
    for name in [chosen.only] if chosen.only else CASES:
        if chosen.emitted:
            emitted()
        elif chosen.peak:
            peak(name, chosen.peak)
        elif chosen.profile:
            profile(name)
        elif chosen.limits:
            limited(name, chosen.pairs)
        elif chosen.memory:
            memory(name)
        else:
            compare(name, chosen.pairs)


if __name__ == "__main__":
    main()
