# SPDX-License-Identifier: Apache-2.0
"""The arithmetics there are, by the name that the configuration gives them."""

import importlib

from tiny_agent_trainer.config.engine import EngineSection
from tiny_agent_trainer.training.arithmetic import AbstractArithmetic
from tiny_agent_trainer.training.group import AbstractGroup
from tiny_agent_trainer.training.native_arithmetic import NativeArithmetic


def build_arithmetic(engine: EngineSection, group: AbstractGroup) -> AbstractArithmetic:
    """The arithmetic that the configuration asks for; native arithmetic has one worker.

    Raises:
        PlatformError: This machine cannot carry it out.
    """
    if engine.is_native:
        return NativeArithmetic(engine.threads)
    # The compiler of kernels takes half a second to import: only who needs it waits for it.
    exact = importlib.import_module("tiny_agent_trainer.training.exact_arithmetic")
    built: AbstractArithmetic = exact.ExactArithmetic(engine.threads, engine.contractions, group)
    return built
