# SPDX-License-Identifier: Apache-2.0
"""What exact arithmetic checks before it computes: planted faults are found, and named.

Not tested here: the engines in full (tests/reference/exact/test_contractions.py); other processors.
"""

import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from rational import exact_dot, same_bits

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import checks, self_test, threads
from tiny_agent_trainer.exact.contractions import current
from tiny_agent_trainer.exact.contractions.engine import AbstractEngine
from tiny_agent_trainer.exact.contractions.float64_engine import Float64Engine
from tiny_agent_trainer.exact.contractions.oracle import OracleEngine
from tiny_agent_trainer.exact.kernels import compiler

REAL = Float64Engine()


def on_grids(x, dim, to_integers):
    """Operands on the grids that they share along a dim."""
    unit = 2.0 ** (torch.frexp(x.abs().amax(dim, keepdim=True)).exponent - 13.0)
    return to_integers(x / unit) * unit


def halves_up(x):
    return torch.floor(x + 0.5)


class Faulty(AbstractEngine):
    """Right, but for what a test plants."""

    name = "faulty"

    def multiply(self, left, right):
        return REAL.multiply(left, right)

    def convolve(self, x, weight, shape):
        return REAL.convolve(x, weight, shape)

    def input_gradient(self, gradient, weight, shape):
        return REAL.input_gradient(gradient, weight, shape)

    def weight_gradient(self, x, gradient, shape):
        return REAL.weight_gradient(x, gradient, shape)


class ForgetsTheLastOfAPair(Faulty):
    def multiply(self, left, right):
        even = left.shape[2] // 2 * 2
        return REAL.multiply(left[:, :, :even], right[:, :even])


class Saturates(Faulty):
    """Accumulators of 32 bits: 32 products of 2^26 fill them, and each of these stands for 1."""

    def multiply(self, left, right):
        return REAL.multiply(left, right).clamp(-32, 32)


class Wraps(Faulty):
    def multiply(self, left, right):
        return (REAL.multiply(left, right) + 32) % 64 - 32


class RoundsHalvesUp(Faulty):
    def multiply(self, left, right):
        return REAL.multiply(*(on_grids(x, dim, halves_up) for x, dim in ((left, 2), (right, 1))))


class AddsInFloat32(Faulty):
    """Operands are right, and so are short sums."""

    def multiply(self, left, right):
        left, right = on_grids(left, 2, torch.round), on_grids(right, 1, torch.round)
        total = torch.zeros(1, left.shape[1], right.shape[2])
        for k in range(left.shape[2]):
            total += left[:, :, k, None] * right[:, None, k]
        return total


class SkipsTheLastSample(Faulty):
    def weight_gradient(self, x, gradient, shape):
        x = x.clone()
        x[-1] = 0
        return REAL.weight_gradient(x, gradient, shape)


class MixesGroups(Faulty):
    def convolve(self, x, weight, shape):
        return REAL.convolve(x.flip(-1) if shape.groups > 1 else x, weight, shape)


class TurnsTheKernel(Faulty):
    def input_gradient(self, gradient, weight, shape):
        return REAL.input_gradient(gradient, weight.flip(-1), shape)


class LosesASign(Faulty):
    def multiply(self, left, right):
        result = REAL.multiply(left, right)
        return torch.where(result == 0, -0.0, result)


class Raises(Faulty):
    def convolve(self, x, weight, shape):
        message = "illegal instruction"
        raise RuntimeError(message)


class OfAnotherShape(Faulty):
    def multiply(self, left, right):
        return REAL.multiply(left, right)[0]


class TestSelfTest:
    """An engine proves itself against Python's integers, at the bound that it claims."""

    @pytest.mark.parametrize("engine", current.ENGINES.values(), ids=lambda engine: engine.name)
    def test_accepts_what_is_right(self, engine):
        assert self_test.find_fault(engine, is_thorough=True) is None

    @pytest.mark.parametrize(
        ("engine", "case"),
        [
            (ForgetsTheLastOfAPair(), "length 29"),
            (Saturates(), r"length 33, .* is 32\.0 instead of 33\.0"),
            (Wraps(), "length 32"),
            (RoundsHalvesUp(), "tiny and huge"),
            (AddsInFloat32(), "tiny and huge"),
            (LosesASign(), r"is -0\.0 instead of 0\.0"),
            (MixesGroups(), "a convolution with two groups"),
            (TurnsTheKernel(), "the input gradient with stride 2"),
            (SkipsTheLastSample(), "the weight gradient with stride 2"),
            (Raises(), "a convolution with stride 2: RuntimeError: illegal instruction"),
            (OfAnotherShape(), r"shape \(2, 3\) instead of \(1, 2, 3\)"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Faulty) else "",
    )
    def test_finds_a_planted_fault_and_names_the_case(self, engine, case):
        fault = self_test.find_fault(engine)
        assert fault is not None
        assert re.search(case, fault), fault

    def test_finds_accumulators_that_are_spilled_too_late(self, tmp_path):
        """The real engine with 16 pairs between spills instead of 15: equation (5)."""
        program = (
            "from tiny_agent_trainer.exact.kernels import dot_block\n"
            "dot_block.PAIRS_BEFORE_SPILL = 16\n"
            "from tiny_agent_trainer.exact import self_test\n"
            "from tiny_agent_trainer.exact.contractions import int16_engine\n"
            "print(self_test.find_fault(int16_engine.Int16Engine()))\n"
        )
        elsewhere = os.environ | {compiler.CACHE_VARIABLE: str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=elsewhere,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "length 32" in done.stdout

    @settings(max_examples=40)
    @given(
        numpy_strategies.arrays(
            np.float32,
            (2, 2, 3),
            elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
        )
    )
    def test_its_oracle_equals_rational_arithmetic(self, operands):
        left, right = operands[0], operands[1].T.copy()
        with np.errstate(over="ignore"):
            expected = [[exact_dot(row, column) for column in right.T] for row in left]
            found = OracleEngine().multiply(
                torch.from_numpy(left)[None], torch.from_numpy(right)[None]
            )
        assert same_bits(found[0].numpy(), np.array(expected, np.float32))


class TestSwitchedOff:
    """An engine that failed is not used: `auto` takes another, its own name is refused."""

    @pytest.fixture(autouse=True)
    def engines(self, monkeypatch):
        """Two, of which the first is faulty."""
        made = {"faulty": Saturates(), "float64": REAL}
        monkeypatch.setattr(current, "ENGINES", made)
        monkeypatch.setattr(current, "_switched_off", {})
        monkeypatch.setattr(current, "_current", made["faulty"])
        checks.switch_off_faulty_engines.cache_clear()
        yield made
        checks.switch_off_faulty_engines.cache_clear()

    def test_auto_takes_the_next_and_the_user_is_told(self):
        (note,) = checks.switch_off_faulty_engines()
        assert "engine faulty failed its self-test and is not used" in note
        assert "length 33" in note
        current.set_engine("auto")
        assert current.engine() is REAL

    def test_its_name_is_refused_with_case_and_remedy(self):
        checks.switch_off_faulty_engines()
        with pytest.raises(errors.PlatformError) as caught:
            current.set_engine("faulty")
        message = str(caught.value)
        assert 'contractions = "faulty"' in message
        assert "length 33" in message
        assert 'write contractions = "auto"' in message
        current.set_engine("float64")

    def test_where_none_is_left_auto_is_refused_too(self, engines):
        engines["float64"] = Raises()
        assert len(checks.switch_off_faulty_engines()) == 2
        with pytest.raises(errors.PlatformError, match="another machine") as caught:
            current.set_engine("auto")
        assert "faulty: " in str(caught.value)
        assert "float64: " in str(caught.value)

    def test_engines_that_are_right_stay(self, engines):
        engines["faulty"] = Faulty()
        assert checks.switch_off_faulty_engines() == ()
        current.set_engine("auto")
        assert current.engine() is engines["faulty"]

    def test_unknown_names_are_no_engines(self):
        with pytest.raises(KeyError):
            current.set_engine("int8")


MODES = {
    "x86_64": {"upward": 0x800, "downward": 0x400, "toward zero": 0xC00},
    "aarch64": {"upward": 0x400000, "downward": 0x800000, "toward zero": 0xC00000},
}.get(platform.machine(), {})

PREPARED = (
    "import ctypes, torch\n"
    "from tiny_agent_trainer import errors\n"
    "from tiny_agent_trainer.exact import checks, threads\n"
    "libm = ctypes.CDLL('libm.so.6')\n"
    "torch.set_num_threads(2); threads.set_threads(2)\n"
    "checks.require_environment()\n"
)
"""A process in which all is well, so that what follows is the reason of what is found."""

ASK = (
    "\ntry: checks.require_environment()\n"
    "except errors.PlatformError as error: print(error)\n"
    "else: print('sound')\n"
)


def ask(change):
    """What the checks say in a process of its own after a change."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARED + change + ASK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestEnvironment:
    """Rounding and subnormals, in this thread, in torch's and in those of the team."""

    def test_accepts_this_process(self):
        checks.require_environment()

    @pytest.mark.parametrize("team", [1, 3, 7])
    def test_accepts_every_team(self, team):
        threads.set_threads(team)
        checks.require_environment()
        threads.set_threads(1)

    def test_accepts_a_process_in_which_nothing_was_changed(self):
        assert ask("") == "sound"

    @pytest.mark.parametrize("mode", MODES)
    def test_finds_another_rounding_mode(self, mode):
        said = ask(f"libm.fesetround({MODES[mode]})")
        assert said.startswith("the rounding mode: expected to nearest, ties to even"), said
        assert "by numpy" in said
        assert "fesetround" in said

    def test_finds_that_subnormals_are_flushed(self):
        said = ask("assert torch.set_flush_denormal(True)")
        assert said.startswith("subnormal numbers: expected kept, not flushed to zero"), said
        assert "2^-126 * 2^-1 = 0x00400000; found 0x00000000 by numpy" in said
        assert "torch.set_flush_denormal(True)" in said
        assert "-ffast-math" in said

    def test_finds_it_in_a_thread_of_the_team_alone(self):
        change = "threads.visit(lambda number: number or torch.set_flush_denormal(True))"
        said = ask(change)
        assert said.startswith("subnormal numbers"), said
        assert "by compiled kernels" in said

    @pytest.mark.skipif("upward" not in MODES, reason="no rounding modes known")
    def test_finds_a_rounding_mode_of_a_thread_of_the_team_alone(self):
        said = ask(
            f"threads.visit(lambda number: number or libm.fesetround({MODES.get('upward')}))"
        )
        assert said.startswith("the rounding mode"), said
        assert "by compiled kernels" in said

    def test_accepts_what_was_changed_back(self):
        said = ask("torch.set_flush_denormal(True); torch.set_flush_denormal(False)")
        assert said == "sound"

    def test_finds_kernels_that_round_otherwise(self, monkeypatch):
        monkeypatch.setattr(checks.pack, "pack_rows", lambda *arguments: None)
        with pytest.raises(errors.PlatformError, match="rounding to grids"):
            checks.require_rounding_to_grids()
