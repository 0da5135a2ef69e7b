# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer doctor [CONFIG]`: can exact arithmetic run here, and this network in it?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tiny_agent_trainer import errors
from tiny_agent_trainer.cli import faults, run

if TYPE_CHECKING:
    from tiny_agent_trainer.exact.rates import Rates
    from tiny_agent_trainer.exact.survey import Refusal
    from tiny_agent_trainer.experiments.examination import Machine

_WIDTH = 20
"""Of the left column."""


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="Also try every operation of this experiment."),
    ] = None,
    data: run.Data = None,
) -> None:
    """Check this machine for exact arithmetic, and measure it.

    Exit codes: 0 all is well, 22 a check or an engine failed, 23 an operation would be refused.
    """
    from tiny_agent_trainer.config import engine, trainer_config

    loaded = trainer_config.read_config(config) if config is not None else None
    section = engine.EngineSection() if loaded is None else loaded.config.engine

    from tiny_agent_trainer.experiments import examination, observer

    machine = examination.examine_machine(section.threads)
    lines = _describe_machine(machine)
    if not machine.is_sound:
        _end(lines, errors.PlatformError.exit_code)
    if loaded is not None:
        try:
            refusals = examination.survey_experiment(
                loaded.config, data, observer.SilentObserver().doing
            )
        except errors.TrainerError:
            with faults.unread_allowed():
                typer.echo("\n".join(lines))
            raise
        lines += ["", *_describe_refusals(refusals)]
        if refusals:
            _end(lines, errors.UnsupportedOperationError.exit_code)
    typer.echo("\n".join(lines))


def _end(lines: list[str], code: int) -> None:
    with faults.unread_allowed():
        typer.echo("\n".join(lines))
    raise typer.Exit(code)


def _describe_machine(machine: "Machine") -> list[str]:
    kept = "kept for later processes"
    lost = "compiled anew by every process: no other directory can be written to"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    rows = [
        ("cpu", machine.cpu),
        ("threads", str(machine.threads)),
        ("instruction set", machine.instruction_set),
        *((name, _verdict(fault)) for name, fault in machine.faults.items()),
        *(
            (f"engine {found.name}", f"{_describe_rates(found.rates)}  {_verdict(found.fault)}")
            for found in machine.engines
        ),
        ("PyTorch float32", f"{_describe_rates(machine.float32)}  for comparison"),
        ("compiled kernels", f"{machine.kernels}, {kept if machine.keeps_kernels else lost}"),
        ("versions", versions),
    ]
    return [f"{name:<{_WIDTH}}{value}" for name, value in rows]


def _verdict(fault: str | None) -> str:
    return "sound" if fault is None else f"FAILED: {fault}"


def _describe_rates(rates: "Rates") -> str:
    return f"product {rates.product:5.0f} GOPS  convolution {rates.convolution:5.0f} GOPS"


def _describe_refusals(refusals: "list[Refusal]") -> list[str]:
    if not refusals:
        return ["every operation of this network has an exact definition"]
    lines = ["this network uses operations that have no exact definition:"]
    for refusal in refusals:
        reason = f" ({refusal.reason})" if refusal.reason else ""
        lines.append(f"  {refusal.operation}{reason} in {refusal.place}")
    return [*lines, 'write these layers otherwise, or choose arithmetic = "native"']
