# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer verify PATH`, the same as `verifier PATH`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tiny_agent_trainer import errors
from tiny_agent_trainer.cli import faults

if TYPE_CHECKING:
    from tiny_agent_trainer.meta.audit import AuditReport

NOT_CHECKED: Final = 3
ANSWERS: Final = frozenset(
    {0, 1, errors.UsageError.exit_code, NOT_CHECKED, errors.INTERRUPTED_EXIT_CODE}
)
"""Every fault but usage and Ctrl-C means that nothing could be checked."""


def verify(
    path: Annotated[
        Path, typer.Argument(metavar="ARCHIVE|RUN", help="An archive, or a finished run.")
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where the data are, instead of root."),
    ] = None,
    trust_source: Annotated[
        bool,
        typer.Option("--trust-source", help="Let the archived source run if it is another."),
    ] = False,
    audit_dir: Annotated[
        Path | None,
        typer.Option("--audit-dir", metavar="DIR", help="Where the audit goes (default: beside)."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the verdict only.")] = False,
) -> None:
    """Run an experiment again and compare every result.

    Exit codes: 0 identical, 1 different, 2 usage, 3 could not be checked.
    """
    code = faults.call(
        lambda: _verify(path, data, audit_dir, trust_source=trust_source, quiet=quiet),
        internal_code=NOT_CHECKED,
    )
    raise typer.Exit(answer(code))


def answer(code: int) -> int:
    """What the verifier ends with for an exit code of another command."""
    return code if code in ANSWERS else NOT_CHECKED


def _verify(
    path: Path, data: Path | None, audit_dir: Path | None, *, trust_source: bool, quiet: bool
) -> None:
    from tiny_agent_trainer.experiments import verify as verifying

    def tell(text: str) -> None:
        if not quiet:
            with faults.unread_allowed():
                typer.echo(f"{text} ...", err=True)

    report = verifying.verify_experiment(
        path, data_dir=data, trust_source=trust_source, audit_dir=audit_dir, tell=tell
    )
    with faults.unread_allowed():
        typer.echo(report.verdict)
        if not quiet:
            _print_details(report, audit_dir or verifying.audit_directory(path))
    raise SystemExit(report.exit_code)


def _print_details(report: "AuditReport", audit_dir: Path) -> None:
    from tiny_agent_trainer.meta import audit

    for reason in report.reasons:
        typer.echo(f"  {reason}")
    for difference in report.environment:
        typer.echo(f"  environment: {difference}")
    if report.first_mismatch_cycle is not None:
        typer.echo(f"  {audit.describe_cycle(report.first_mismatch_cycle)}")
    if report.first_tensor is not None:
        typer.echo(f"  {audit.describe_tensor(report.first_tensor)}")
    typer.echo(f"  audit: {audit_dir}")
