# SPDX-License-Identifier: Apache-2.0
"""`[data.images]`: how files become images."""

from tiny_agent_trainer.config import section


class ImagesOptions(section.Section):
    """How files become images."""
