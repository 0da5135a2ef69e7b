# SPDX-License-Identifier: Apache-2.0
"""Build a part from its options class, by the import string that the class carries."""

import importlib
from typing import Any

from tiny_agent_trainer.config.section import Part


def find_part(options: Part) -> Any:  # noqa: ANN401 (the caller knows the kind)
    """What `options.builder` names."""
    module, _, name = options.builder.partition(":")
    return getattr(importlib.import_module(module), name)


def build_part(options: Part, *arguments: object) -> Any:  # noqa: ANN401 (the caller knows the kind)
    """Call what `options.builder` names with the options and the arguments."""
    return find_part(options)(options, *arguments)
