# SPDX-License-Identifier: Apache-2.0
"""Bits of an element depend on its operands and on nothing else.

Not on its place in a tensor, the layout, the threads, the machine code, or Numba itself.
Not tested here: whether they are right (tests/reference/exact).
"""

import hashlib
import math
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact import mode, threads
from tiny_agent_trainer.exact.kernels import choices, compiler, formulas, functions, maps

aten = torch.ops.aten

SPECIAL = [0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-127, -(2.0**-126), 1.0, -1.0, 3.0, -3.0, 0.5]
SPECIAL += [6.0, 3.4e38, -3.4e38, 1e-30, -1e-30, 20.0, 88.7, -87.4, -103.9, math.nan, 1e20]


def operand(name, count=1037, spread=5.0):
    """Numbers of many magnitudes between special ones."""
    drawn = randomness.stream(9, "operand", name).uniform64(2 * count)
    values = (drawn[:count] - 0.5) * spread * np.exp2(np.floor(drawn[count:] * 24) - 12)
    values[3 : 3 + 2 * len(SPECIAL) : 2] = SPECIAL
    return torch.from_numpy(values.astype(np.float32))


NAMES = ["abs", "ceil", "cos", "erf", "erfc", "exp", "exp2", "expm1", "floor", "gelu"]
NAMES += ["hardsigmoid", "hardswish", "isnan", "log", "log10", "log1p", "log2", "mish", "neg"]
NAMES += ["reciprocal", "relu", "round", "rsqrt", "sgn", "sigmoid", "silu", "sin", "sqrt", "tanh"]
UNARY = {name: getattr(aten, name).default for name in [*NAMES, "trunc"]}
UNARY |= {
    "celu": lambda x: aten.celu.default(x, 0.7),
    "clamp": lambda x: aten.clamp.default(x, -0.0, 1.5),
    "clamp_max": lambda x: aten.clamp_max.default(x, 0.0),
    "clamp_min": lambda x: aten.clamp_min.default(x, -0.0),
    "cube": lambda x: aten.pow.Tensor_Scalar(x, 3),
    "elu": lambda x: aten.elu.default(x, 0.7, 1.1, 0.9),
    "gelu_tanh": lambda x: aten.gelu.default(x, approximate="tanh"),
    "hardshrink": lambda x: aten.hardshrink.default(x, 0.3),
    "leaky_relu": lambda x: aten.leaky_relu.default(x, 0.1),
    "log_sigmoid": lambda x: aten.log_sigmoid_forward.default(x)[0],
    "number_plus": lambda x: aten.add.Tensor(x, 0.1),
    "number_times": lambda x: aten.mul.Tensor(x, 0.1),
    "over_number": lambda x: aten.div.Tensor(x, 0.7),
    "power": lambda x: aten.pow.Tensor_Scalar(x, 1.7),
    "power_of": lambda x: aten.pow.Scalar(1.7, x),
    "softplus": lambda x: aten.softplus.default(x, 0.7, 5.0),
    "softshrink": lambda x: aten.softshrink.default(x, 0.3),
    "threshold": lambda x: aten.threshold.default(x, 0.1, -0.7),
}

BINARY = {
    "add": aten.add.Tensor,
    "div": aten.div.Tensor,
    "gelu_backward": aten.gelu_backward.default,
    "hardsigmoid_backward": aten.hardsigmoid_backward.default,
    "hardswish_backward": aten.hardswish_backward.default,
    "maximum": aten.maximum.default,
    "minimum": aten.minimum.default,
    "mish_backward": aten.mish_backward.default,
    "mul": aten.mul.Tensor,
    "pow": aten.pow.Tensor_Tensor,
    "sigmoid_backward": aten.sigmoid_backward.default,
    "silu_backward": aten.silu_backward.default,
    "sub": aten.sub.Tensor,
    "tanh_backward": aten.tanh_backward.default,
    "xlogy": aten.xlogy.Tensor,
}
BINARY |= {
    "addcdiv": lambda x, y: aten.addcdiv.default(x, y, x, value=0.3),
    "addcmul": lambda x, y: aten.addcmul.default(x, y, x, value=0.3),
    "alpha": lambda x, y: aten.add.Tensor(x, y, alpha=0.3),
    "bce": lambda x, y: aten.binary_cross_entropy.default(x, y, None, 0),
    "elu_backward": lambda x, y: aten.elu_backward.default(x, 0.7, 1.1, 0.9, False, y),
    "elu_backward_result": lambda x, y: aten.elu_backward.default(x, 0.7, 1.1, 0.9, True, y),
    "gelu_tanh_backward": lambda x, y: aten.gelu_backward.default(x, y, approximate="tanh"),
    "hardtanh_backward": lambda x, y: aten.hardtanh_backward.default(x, y, -1.0, 0.5),
    "huber": lambda x, y: aten.huber_loss.default(x, y, 0, 0.7),
    "huber_backward": lambda x, y: aten.huber_loss_backward.default(x, y, x, 1, 0.7),
    "leaky_relu_backward": lambda x, y: aten.leaky_relu_backward.default(x, y, 0.1, False),
    "lerp": lambda x, y: aten.lerp.Scalar(x, y, 0.7),
    "log_sigmoid_backward": lambda x, y: aten.log_sigmoid_backward.default(x, y, x),
    "logits": lambda x, y: aten.binary_cross_entropy_with_logits.default(x, y, None, None, 0),
    "mse": lambda x, y: aten.mse_loss.default(x, y, 0),
    "mse_backward": lambda x, y: aten.mse_loss_backward.default(x, y, x, 0),
    "smooth_l1": lambda x, y: aten.smooth_l1_loss.default(x, y, 0, 0.7),
    "smooth_l1_backward": lambda x, y: aten.smooth_l1_loss_backward.default(x, y, x, 0, 0.7),
    "soft_margin": lambda x, y: aten.soft_margin_loss.default(x, y, 0),
    "soft_margin_backward": lambda x, y: aten.soft_margin_loss_backward.default(x, y, x, 0),
    "softplus_backward": lambda x, y: aten.softplus_backward.default(x, y, 0.7, 5.0),
    "threshold_backward": lambda x, y: aten.threshold_backward.default(x, y, 0.1),
}
OPERATIONS = {**UNARY, **BINARY}
WITH_A_COUNT = {"huber_backward"}
"""Divided by the number of elements, which is an operand."""


def operands(name, count=1037):
    found = [operand(f"{name} {place}", count) for place in range(1 if name in UNARY else 2)]
    return [x.clamp(-(2.0**40), 2.0**40) for x in found] if name in {"sin", "cos"} else found


def apply(name, *tensors):
    with mode.arithmetic():
        return OPERATIONS[name](*tensors)


def bits(x):
    """The bits of every element; all NaN are one."""
    array = np.ascontiguousarray(x.numpy())
    if array.dtype == np.float32:
        array = np.where(np.isnan(array), np.float32(np.nan), array)
    return array.tobytes()


@pytest.fixture(autouse=True)
def one_thread():
    yield
    threads.set_threads(1)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - WITH_A_COUNT))
def test_the_place_of_an_element_does_not_matter(name):
    given = operands(name)
    result = apply(name, *given)
    for start in (*range(1, 19), 500):
        assert bits(apply(name, *(x[start:] for x in given))) == bits(result[start:])
    for place in range(0, len(result), 29):
        alone = apply(name, *(x[place : place + 1] for x in given))
        assert bits(alone) == bits(result[place : place + 1])
        assert bits(apply(name, *(x[place] for x in given))) == bits(result[place])


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_layout_does_not_matter(name):
    given = [x[:1024].reshape(4, 8, 4, 8) for x in operands(name)]
    result = apply(name, *given)
    last = apply(name, *(x.to(memory_format=torch.channels_last) for x in given))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert bits(last) == bits(result)
    sliced = [torch.stack([x, x + 1], -1)[..., 0] for x in given]
    assert not sliced[0].is_contiguous()
    assert bits(apply(name, *sliced)) == bits(result)
    turned = [x.transpose(1, 3) for x in given]
    assert bits(apply(name, *turned).transpose(1, 3)) == bits(result)
    channels_last = [x.to(memory_format=torch.channels_last) for x in given]
    assert bits(apply(name, given[0], *channels_last[1:])) == bits(result)
    assert bits(apply(name, channels_last[0], *given[1:])) == bits(result)


@pytest.mark.parametrize("name", sorted(set(BINARY) - WITH_A_COUNT))
def test_broadcasting_does_not_matter(name):
    x, y = (x[:60] for x in operands(name))
    if name in {"elu_backward", "hardtanh_backward"}:
        y = y.contiguous()
    row, column = x[:5].reshape(1, 5), y[:7].reshape(7, 1)
    if "backward" in name or name in {"bce", "lerp", "addcdiv", "addcmul"}:
        row = row.expand(7, 5)  # ATen gives derivatives operands of one shape
        column = column.expand(7, 5)
    full = apply(name, row.expand(7, 5).contiguous(), column.expand(7, 5).contiguous())
    assert bits(apply(name, row, column)) == bits(full)


@pytest.mark.parametrize("name", OPERATIONS)
def test_threads_do_not_matter(name):
    given = operands(name, 40_009)
    result = bits(apply(name, *given))
    for number in (2, 7):
        threads.set_threads(number)
        assert bits(apply(name, *given)) == result


IN_PLACE = ["celu_", "clamp_", "clamp_max_", "clamp_min_", "elu_", "erf_", "exp_", "hardswish_"]
IN_PLACE += ["relu_", "sigmoid_", "silu_", "sqrt_", "tanh_", "gelu_", "mish_", "leaky_relu_"]


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_gives_the_same_bits(name):
    arguments = {"clamp_": (-0.0, 1.5), "clamp_max_": (0.0,), "clamp_min_": (-0.0,)}
    arguments |= {"celu_": (0.7,), "elu_": (0.7, 1.1, 0.9), "leaky_relu_": (0.1,)}
    x = operand(name, 30_011)
    for threads_used in (1, 2):
        threads.set_threads(threads_used)
        with mode.arithmetic():
            changed = getattr(aten, name).default(x.clone(), *arguments.get(name, ()))
        assert bits(changed) == bits(apply(name.removesuffix("_"), x))


HELPERS = {"polynomial", "with_sign", "rounded", "erfc_of_magnitude"}
FUNCTIONS = [
    (module, name)
    for module in (functions, formulas)
    for name, value in vars(module).items()
    if hasattr(value, "py_func") and value.__module__ == module.__name__
    if name[0] != "_" and name not in HELPERS
]


class TestPython:
    """The same source, run by Python's interpreter on float64, gives the bits of the compiled."""

    @staticmethod
    def bits_of_float64(x):
        return struct.unpack("<q", struct.pack("<d", x))[0]

    @staticmethod
    def float64_of_bits(value):
        return np.float64(struct.unpack("<d", struct.pack("<Q", int(value) % 2**64))[0])

    def interpret(self, monkeypatch):
        for module in (functions, formulas):
            for name, value in list(vars(module).items()):
                if hasattr(value, "py_func"):
                    monkeypatch.setattr(module, name, value.py_func)
        monkeypatch.setattr(functions, "bits_of_float64", self.bits_of_float64)
        monkeypatch.setattr(functions, "float64_of_bits", self.float64_of_bits)

    @pytest.mark.parametrize(("module", "name"), FUNCTIONS, ids=[name for _, name in FUNCTIONS])
    def test_equals_the_compiled_function(self, module, name, monkeypatch):
        compiled = getattr(module, name)
        count = compiled.py_func.__code__.co_argcount
        columns = [operand(f"{name} {place}", 300).numpy() for place in range(min(count, 3))]
        parameters = tuple(float(np.float32(x)) for x in (0.7, 1.1, 0.9, 1.3))[
            : count - len(columns)
        ]
        kernel = maps.kernel_of(compiled, len(columns), is_wide=True)
        out, interpreted = np.empty(300, np.float32), np.empty(300, np.float32)
        kernel(0, 300, *columns, out, parameters)
        self.interpret(monkeypatch)
        with np.errstate(all="ignore"):
            for place, row in enumerate(zip(*columns, strict=True)):
                interpreted[place] = getattr(module, name)(*map(np.float64, row), *parameters)
        assert bits(torch.from_numpy(out)) == bits(torch.from_numpy(interpreted))

    @pytest.mark.parametrize("name", ["relu", "clamp", "maximum", "root", "softshrink"])
    def test_equals_the_loop(self, name):
        function = getattr(choices, name)
        count = function.py_func.__code__.co_argcount
        arity = 2 if name == "maximum" else 1
        columns = [operand(f"{name} {place}", 50).numpy() for place in range(arity)]
        parameters = tuple(map(np.float32, (0.3, 0.9)))[: count - arity]
        kernel = maps.kernel_of(function, arity, is_wide=False)
        out, interpreted = np.empty(50, np.float32), np.empty(50, np.float32)
        kernel(0, 50, *columns, out, parameters)
        kernel.py_func(0, 50, *columns, interpreted, parameters)
        assert bits(torch.from_numpy(out)) == bits(torch.from_numpy(interpreted))


class TestKernels:
    """Copies of a loop are told apart, kept on disk, and made of vector instructions."""

    def test_every_function_has_a_kernel_of_its_own(self):
        made = {
            maps.kernel_of(function, arity, is_wide=is_wide).py_func.__qualname__
            for function in (functions.exp, functions.log, formulas.silu)
            for arity in (0, 1)
            for is_wide in (False, True)
        }
        assert len(made) == 12

    SCRIPT = """
import numpy as np, sys
from tiny_agent_trainer.exact.kernels import choices, functions, formulas, maps
x, out, hits = np.linspace(-3, 3, 99).astype(np.float32), np.empty(99, np.float32), 0
for function in (functions.exp, functions.tanh, formulas.gelu):
    kernel = maps.kernel_of(function, 1, is_wide=True)
    kernel(0, 99, x, out, ())
    hits += sum(kernel.stats.cache_hits.values())
    print(out.tobytes().hex())
print(hits, file=sys.stderr)
"""

    def test_machine_code_is_kept_and_not_confused(self, tmp_path):
        environment = os.environ | {compiler.CACHE_VARIABLE: str(tmp_path)}
        runs = [
            subprocess.run(
                [sys.executable, "-c", self.SCRIPT],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            for _ in range(2)
        ]
        assert [run.returncode for run in runs] == [0, 0]
        assert runs[0].stdout == runs[1].stdout
        assert len(set(runs[0].stdout.split())) == 3
        assert [run.stderr.strip() for run in runs] == ["0", "3"]


TARGETS = {
    "generic": ("generic", "", "xmm"),
    "haswell": ("haswell", "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+popcnt,+movbe", "ymm"),
}
"""CPU, features, and the widest registers in its code. FMA is there, and must not be used."""

SAMPLE = ["exp", "log", "tanh", "gelu", "erfc", "sin", "silu", "softplus", "sqrt", "relu", "power"]
SAMPLE += ["gelu_backward", "mish_backward", "elu_backward", "maximum", "logits", "alpha", "lerp"]


def digest(names):
    """SHA-256 over the bits of operations and of softmax."""
    found = hashlib.sha256()
    for name in names:
        found.update(bits(apply(name, *operands(name))))
    x = operand("softmax", 1024).nan_to_num(0.5).clamp(-50, 50).reshape(16, 64)
    with mode.arithmetic():
        for dim in (0, 1):
            y = aten._softmax.default(x, dim, False)
            found.update(bits(y))
            found.update(bits(aten._log_softmax.default(x, dim, False)))
            found.update(bits(aten._softmax_backward_data.default(x, y, dim, torch.float32)))
    return found.hexdigest()


def registers(function):
    """The widest vector registers and the fused instructions in a kernel's machine code."""
    kernel = maps.kernel_of(function, 1, is_wide=True)
    out = np.empty(64, np.float32)
    kernel(0, 64, np.ones(64, np.float32), out, ())
    (assembly,) = kernel.inspect_asm().values()
    widest = next((name for name in ("zmm", "ymm", "xmm") if f"%{name}" in assembly), None)
    return widest, any(word in assembly for word in ("fmadd", "fmsub", "fnmadd", "fnmsub"))


def start(names, directory, target=None):
    """This file as a program, compiling for a target."""
    environment = os.environ | {compiler.CACHE_VARIABLE: str(directory)}
    if target:
        environment |= {"NUMBA_CPU_NAME": target[0], "NUMBA_CPU_FEATURES": target[1]}
    command = [sys.executable, __file__, *names]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def check_targets(names, directory):
    made = {name: start(names, directory, target) for name, target in TARGETS.items()}
    made["host"] = start(names, directory)
    found = {name: process.communicate()[0].split() for name, process in made.items()}
    assert {name: process.returncode for name, process in made.items()} == dict.fromkeys(made, 0)
    assert {name: answer[1] for name, answer in found.items() if name in TARGETS} == {
        name: widest for name, (_, _, widest) in TARGETS.items()
    }
    assert {answer[2] for answer in found.values()} == {"False"}, "FMA instructions were emitted"
    assert len({answer[0] for answer in found.values()}) == 1


def test_machine_code_for_any_cpu_gives_the_same_bits(tmp_path):
    check_targets(SAMPLE, tmp_path)


@pytest.mark.long
def test_machine_code_of_every_operation_gives_the_same_bits(tmp_path):
    check_targets(sorted(OPERATIONS), tmp_path)


def test_negative_control_torch_depends_on_the_place():
    """Plain torch gives an element other bits in a vector register than alone."""
    x = torch.linspace(-4, 4, 4099)
    alone = torch.cat([torch.nn.functional.gelu(x[place : place + 1]) for place in range(4099)])
    if torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        assert not torch.equal(torch.nn.functional.gelu(x), alone)


if __name__ == "__main__":
    print(digest(sys.argv[1:]), *registers(functions.exp))
