# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer schema`: the JSON schema of the configuration, for editors."""

import typer

from tiny_agent_trainer import canonical


def schema() -> None:
    """Print the JSON schema of the TOML file."""
    from tiny_agent_trainer.config import trainer_config

    typer.echo(canonical.encode(trainer_config.schema()).decode())
