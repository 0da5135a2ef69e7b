# SPDX-License-Identifier: Apache-2.0
"""`[experiment]`: what the run is called and where it goes. Nothing here can change a result."""

import pydantic

from tiny_agent_trainer.config import section


class ExperimentSection(section.Section):
    """Names, notes and output directories."""

    name: str = pydantic.Field("", json_schema_extra=section.NOT_SEMANTIC)
    """What people call the experiment; shown beside the run, never inside a result."""

    notes: str = pydantic.Field("", json_schema_extra=section.NOT_SEMANTIC)
    """Anything worth remembering."""

    results_dir: str = pydantic.Field(
        "experiments/results", min_length=1, json_schema_extra=section.NOT_SEMANTIC
    )
    """Where run directories are made, relative to the working directory."""

    archive_dir: str = pydantic.Field(
        "experiments/archive", min_length=1, json_schema_extra=section.NOT_SEMANTIC
    )
    """Where `archive` puts archives, relative to the working directory."""
