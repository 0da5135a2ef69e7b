# SPDX-License-Identifier: Apache-2.0
"""`verifier ARCHIVE|RUN`: exit codes 0 identical, 1 different, 2 usage, 3 could not be checked."""

import typer

from tiny_agent_trainer import errors
from tiny_agent_trainer.cli import faults, verify

_NOT_CHECKED = 3

app = typer.Typer(name="verifier", add_completion=False, pretty_exceptions_enable=False)
app.command()(verify.verify)


def main() -> None:
    """Entry point; every fault but usage and Ctrl-C means that nothing could be checked."""
    code = faults.call(app, internal_code=_NOT_CHECKED)
    answers = {0, 1, errors.UsageError.exit_code, _NOT_CHECKED, errors.INTERRUPTED_EXIT_CODE}
    raise SystemExit(code if code in answers else _NOT_CHECKED)
