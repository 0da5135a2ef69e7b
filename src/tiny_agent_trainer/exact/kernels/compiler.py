# SPDX-License-Identifier: Apache-2.0
"""How a Python loop becomes machine code whose bits are the same on every machine.

Numba compiles without `fastmath`: LLVM may then neither reorder floating-point operations nor
contract a multiplication and an addition into one rounding, so every instruction set computes the
single IEEE-754 operations that stand in the source.

Compiled code is kept on disk next to the environment, in a directory named after the digest of
these sources: an edit of one file can never leave another with machine code of an older version.
Numba's index is replaced atomically, so processes may compile at the same time.
"""

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import caching
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

CACHE_VARIABLE: Final = "TINY_AGENT_TRAINER_KERNELS"
"""Environment variable that names another directory for compiled kernels."""

_TEMPORARY: Final = "tiny-agent-trainer-kernels-"
"""Where no directory can be written to, every process compiles into one of its own."""


class _Locator(caching._CacheLocator):  # the documented base of locators is private
    """Where Numba keeps the machine code of a kernel."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        self._py_file = py_file
        self._line = py_func.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        """One directory for each version of the sources."""
        return str(cache_directory())

    def get_source_stamp(self) -> str:
        """What must be equal for cached code to be used."""
        return source_digest()

    def get_disambiguator(self) -> str:
        """Tells functions of one name apart."""
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_Locator | None":
        """The locator of kernels of this package; none for other code."""
        return cls(py_func, py_file) if Path(py_file).parent == _sources() else None


@functools.cache
def source_digest() -> str:
    """SHA-256 over names and bytes of every file of this room."""
    digest = hashlib.sha256()
    for path in sorted(_sources().glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@functools.cache
def cache_directory() -> Path:
    """Where compiled kernels are, or can be kept: next to the environment if possible.

    One that exists is read even where it cannot be written, as in a confined re-run.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    roots = [Path(chosen)] if chosen else [Path(sys.prefix) / "var" / "cache", home]
    for root in roots:
        directory = root / "tiny-agent-trainer" / f"kernels-{source_digest()[:16]}"
        if _is_readable(directory) or _is_writable(directory):
            return directory
    return Path(tempfile.mkdtemp(prefix=_TEMPORARY))


def keeps_kernels() -> bool:
    """Whether the next process finds them again."""
    return not cache_directory().name.startswith(_TEMPORARY)


def kernel(function: F, *, before_load: Callable[[tuple[Any, ...]], object] | None = None) -> F:
    """Compile a function at its first call; it holds no lock of Python while it runs.

    Args:
        function: Any.
        before_load: Called with the types of the arguments, `*arguments` as one, before kept code
            is loaded.
    """
    compiled = numba.njit(nogil=True, error_model="numpy")(function)
    compiled._cache = _new_cache(function, before_load)  # Numba cannot be passed a locator
    return cast("F", compiled)


def inlined(function: F) -> F:
    """Compile a function that only kernels call; LLVM inlines it."""
    return cast("F", numba.njit(nogil=True, error_model="numpy")(function))


@intrinsic
def bits_of_float64(_context: Any, x: Any) -> Any:
    """The 64 bits of a float64 as int64."""
    return types.int64(x), lambda _c, builder, _s, args: builder.bitcast(args[0], ir.IntType(64))


@intrinsic
def float64_of_bits(_context: Any, bits: Any) -> Any:
    """The float64 whose bits these 64 are."""
    return types.float64(bits), lambda _c, builder, _s, args: builder.bitcast(
        args[0], ir.DoubleType()
    )


@intrinsic
def bits_of_float32(_context: Any, x: Any) -> Any:
    """The 32 bits of a float32 as int32."""
    return types.int32(x), lambda _c, builder, _s, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def float32_of_bits(_context: Any, bits: Any) -> Any:
    """The float32 whose bits these 32 are."""
    return types.float32(bits), lambda _c, builder, _s, args: builder.bitcast(
        args[0], ir.FloatType()
    )


def _new_cache(
    function: Callable[..., Any], before_load: Callable[[tuple[Any, ...]], object] | None
) -> caching.FunctionCache:
    class Implementation(caching.CompileResultCacheImpl):
        _locator_classes = (_Locator,)

    class Cache(caching.FunctionCache):
        _impl_class = Implementation

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            """What was kept; where that is damaged, nothing, so that it is compiled again."""
            if before_load is not None:
                before_load(sig)
            try:
                return super().load_overload(sig, target_context)
            except Exception:  # noqa: BLE001  # damaged in whatever way
                self.flush()
                return None

        def save_overload(self, sig: Any, data: Any) -> None:
            """Keep it if that is possible; a kernel that is not kept is compiled again."""
            with contextlib.suppress(OSError):
                super().save_overload(sig, data)

    return Cache(function)


def _sources() -> Path:
    return Path(__file__).parent


def _is_readable(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except OSError:
        return False


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True
