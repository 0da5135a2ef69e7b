# SPDX-License-Identifier: Apache-2.0
"""The engine in use. Which one it is cannot change a bit, so it is no part of an experiment."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact.contractions.engine import AbstractEngine
from tiny_agent_trainer.exact.contractions.float64_engine import Float64Engine
from tiny_agent_trainer.exact.contractions.int16_engine import Int16Engine
from tiny_agent_trainer.exact.contractions.underflow import CountingEngine

ENGINES: Final[dict[str, AbstractEngine]] = {
    engine.name: engine for engine in (Int16Engine(), Float64Engine())
}
"""By name, fastest first."""

_switched_off: dict[str, str] = {}
_current = next(iter(ENGINES.values()))


def engine() -> AbstractEngine:
    """The engine that contractions run on."""
    return _current


def set_engine(name: str) -> None:
    """Use another engine from now on; `auto` is the fastest.

    Raises:
        KeyError: There is none of this name.
        PlatformError: It is switched off; for `auto`, all are.
    """
    global _current  # noqa: PLW0603  # one engine per process, like the team of threads
    if name not in (*ENGINES, "auto"):
        raise KeyError(name)
    usable = {known: made for known, made in ENGINES.items() if known not in _switched_off}
    chosen = next(iter(usable), "") if name == "auto" else name
    if chosen not in usable:
        raise _unusable(name)
    _current = usable[chosen]


@contextlib.contextmanager
def counting_underflow() -> Iterator[Mapping[str, tuple[int, int]]]:
    """Of each kind of operand met meanwhile: values that became zero on their grids, and values."""
    global _current  # noqa: PLW0603  # the one engine of the process
    inside, counting = _current, CountingEngine(_current)
    _current = counting
    try:
        yield counting.counts
    finally:
        _current = inside


def switch_off(name: str, reason: str) -> None:
    """Never use an engine again in this process."""
    _switched_off[name] = reason


def _unusable(name: str) -> errors.PlatformError:
    remedies = {
        False: 'write contractions = "auto" under [engine], and report what `doctor` prints',
        True: "report what `tiny-agent-trainer doctor` prints; until then use another machine",
    }
    reasons = [f"{off}: {why}" for off, why in _switched_off.items() if name in (off, "auto")]
    return errors.PlatformError(
        where=f'[engine] contractions = "{name}"',
        expected="an engine that multiplies integers exactly",
        found=f"a wrong result in the self-test of {'; of '.join(reasons)}",
        remedy=remedies[len(_switched_off) == len(ENGINES)],
    )
