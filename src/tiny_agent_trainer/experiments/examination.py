# SPDX-License-Identifier: Apache-2.0
"""What exact arithmetic finds on this machine, and what of a network it would refuse."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import torch
from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.trainer_config import TrainerConfig
from tiny_agent_trainer.exact import checks, draws, rates, self_test, survey, threads
from tiny_agent_trainer.exact.contractions import current
from tiny_agent_trainer.exact.kernels import compiler, instruction_sets
from tiny_agent_trainer.experiments import prepare
from tiny_agent_trainer.meta import session
from tiny_agent_trainer.tokenizer import batches, samples
from tiny_agent_trainer.training import arithmetic, flat, parts
from tiny_agent_trainer.training.losses.loss import AbstractLoss
from tiny_agent_trainer.training.optimizers.optimizer import AbstractOptimizer

_SAMPLES: Final = 2
"""As few as batch norm accepts: which operations are called does not depend on how many."""

_LIBRARIES: Final = ("torch", "numba", "llvmlite", "numpy")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """What became of an engine of contractions.

    Attributes:
        name: As in `[engine] contractions`.
        fault: What its self-test found; None if it is right.
        rates: Measured here.
    """

    name: str
    fault: str | None
    rates: rates.Rates


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What exact arithmetic runs on.

    Attributes:
        cpu: In the words of its maker.
        threads: That compute.
        instruction_set: That contractions are compiled for.
        faults: Of every check by its name; None where all is well.
        engines: Fastest first.
        float32: PyTorch's own rates, for comparison.
        kernels: Where compiled kernels are.
        keeps_kernels: Whether the next process finds them there.
        versions: Of libraries that compute or compile.
    """

    cpu: str
    threads: int
    instruction_set: str
    faults: dict[str, str | None]
    engines: tuple[EngineState, ...]
    float32: rates.Rates
    kernels: Path
    keeps_kernels: bool
    versions: dict[str, str]

    @property
    def is_sound(self) -> bool:
        """Whether every check and every engine passed."""
        faults = [*self.faults.values(), *(engine.fault for engine in self.engines)]
        return all(fault is None for fault in faults)


def examine_machine(number: int) -> Machine:
    """Carry out every check, test and measure every engine, on so many threads."""
    threads.set_threads(number)
    versions = session.library_versions()
    with arithmetic.torch_threads(number):
        return Machine(
            cpu=str(session.describe_environment()["cpu"]),
            threads=number,
            instruction_set=instruction_sets.current().name,
            faults={name: _fault_of(check) for name, check in checks.CHECKS.items()},
            engines=tuple(
                EngineState(
                    name=name,
                    fault=self_test.find_fault(engine, is_thorough=True),
                    rates=rates.measure_engine(engine),
                )
                for name, engine in current.ENGINES.items()
            ),
            float32=rates.measure_float32(),
            kernels=compiler.cache_directory(),
            keeps_kernels=compiler.keeps_kernels(),
            versions={name: versions[name] for name in _LIBRARIES},
        )


def survey_experiment(
    config: TrainerConfig, data_dir: Path | None, progress: samples.Progress
) -> list[survey.Refusal]:
    """Everything in one small step and one prediction that exact arithmetic would refuse.

    Args:
        config: The configuration, whichever arithmetic it names.
        data_dir: Where the data are, instead of `[data] root`.
        progress: Told how far reading is.

    Raises:
        PlatformError: This machine cannot carry exact arithmetic out.
        TrainerError: The data cannot be read, or the network cannot be built.
    """
    data = prepare.read_data(config, data_dir, progress)
    outputs = data.cohort.num_outputs
    network = prepare.build_network(config, data.feed.tokenizer, outputs, _SAMPLES).network
    loss = prepare.build_loss(config, data)
    values = flat.FlatParameters(network)
    optimizer: AbstractOptimizer = parts.build_part(config.optimizer, values.length)
    batch = data.feed.plain_batch(data.cohort.splits["train"][:_SAMPLES])
    threads.set_threads(config.engine.threads)
    with arithmetic.torch_threads(config.engine.threads), _drawing(config.engine.base_seed):
        checks.require_environment()
        checks.switch_off_faulty_engines()
        current.set_engine(config.engine.contractions)
        with survey.recording() as refusals:
            _step(network, loss, batch)
            optimizer.step(values.values, values.gradients, config.optimizer.lr, 1)
            _predict(network, loss, batch)
    return refusals


@contextlib.contextmanager
def _drawing(base_seed: int) -> Iterator[None]:
    draws.begin(base_seed, 0, 0)
    try:
        yield
    finally:
        draws.end()


def _step(network: nn.Module, loss: AbstractLoss, batch: batches.Batch) -> None:
    logits = network.train()(torch.from_numpy(batch.inputs))
    losses = loss.per_sample(logits, torch.from_numpy(batch.labels))
    mean = losses.sum() / loss.total_weight(batch.labels)
    mean.backward()  # type: ignore[no-untyped-call]


def _predict(network: nn.Module, loss: AbstractLoss, batch: batches.Batch) -> None:
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(batch.inputs))
        loss.probabilities(logits)
        loss.per_sample(logits, torch.from_numpy(batch.labels))


def _fault_of(check: Callable[[], None]) -> str | None:
    try:
        check()
    except errors.PlatformError as error:
        return str(error)
    return None
