# SPDX-License-Identifier: Apache-2.0
"""`verifier ARCHIVE|RUN`: exit codes 0 identical, 1 different, 2 usage, 3 could not be checked."""

import typer

from tiny_agent_trainer.cli import faults, verify

app = typer.Typer(name="verifier", add_completion=False, pretty_exceptions_enable=False)
app.command()(verify.verify)


def main() -> None:
    """Entry point."""
    raise SystemExit(verify.answer(faults.call(app, internal_code=verify.NOT_CHECKED)))
