# SPDX-License-Identifier: Apache-2.0
"""A process that sees only what it is allowed to: Landlock and seccomp, no privileges needed.

The re-run of a verification must not be able to read what it has to reproduce. This module is
started as a program: it takes its own rights away and then becomes the command it was given, so
code that is not trusted never runs with more.

Source:
    Linux `Documentation/userspace-api/landlock.rst`; numbers from `linux/landlock.h`.
"""

import ctypes
import json
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_SET_NO_NEW_PRIVILEGES = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_FILE_ONLY: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
_BITS_OF_VERSION: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many kinds of access each version of Landlock knows; the last holds for later ones."""
_NETWORK_VERSION: Final = 4
_TCP: Final = 0b11
_SCOPE_VERSION: Final = 6
_SCOPES: Final = 0b11

_SYSTEM_PATHS: Final = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/opt")
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

_SET_SECCOMP, _SECCOMP_FILTER = 22, 2
_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Audit number of the architecture, and its number of the system call `socket`."""
_IO_URING_SETUP: Final = 425
_UNIX_SOCKETS: Final = 1
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32_BIT: Final = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a process may touch.

    Attributes:
        readable: Directories and files it may read and execute from.
        writable: Directories it may do anything in.
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]

    def reaches(self, path: Path) -> bool:
        """Whether a path lies in what may be read."""
        target = path.resolve()
        allowed = (allowed.resolve() for allowed in (*self.readable, *self.writable))
        return any(target.is_relative_to(place) for place in allowed)


def python_paths() -> tuple[Path, ...]:
    """What Python and its installed packages need to be read."""
    prefixes = [sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve())]
    return tuple(Path(path) for path in (*_SYSTEM_PATHS, *prefixes) if Path(path).exists())


def landlock_version() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    version = _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_RULESET_VERSION))
    return max(version, 0)


def command(confinement: Confinement, arguments: Sequence[str]) -> list[str]:
    """The command line that runs `arguments` in confinement."""
    about = {
        "readable": [str(path) for path in confinement.readable],
        "writable": [str(path) for path in confinement.writable],
    }
    # The launcher imports nothing of the package: it is run as a file of its own.
    return [sys.executable, "-I", str(Path(__file__)), json.dumps(about), *arguments]  # noqa: TID251


def restrict(confinement: Confinement) -> None:
    """Take all other rights away from this process and its children, for good.

    Raises:
        OSError: The kernel has no Landlock, or refuses.
    """
    version = landlock_version()
    if not can_confine():
        raise OSError("this machine has no Landlock, or is of an unknown architecture")
    handled = (1 << _BITS_OF_VERSION[min(version, 5)]) - 1
    attributes = (ctypes.c_uint64 * 3)(
        handled,
        _TCP if version >= _NETWORK_VERSION else 0,
        _SCOPES if version >= _SCOPE_VERSION else 0,
    )
    size = 8 * (3 if version >= _SCOPE_VERSION else 2 if version >= _NETWORK_VERSION else 1)
    ruleset = _checked(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    _allow(ruleset, confinement.readable, _READ & handled)
    devices = [Path(device) for device in _DEVICES if Path(device).exists()]
    _allow(ruleset, devices, (_READ_FILE | _WRITE_FILE | 1 << 14) & handled)
    _allow(ruleset, confinement.writable, handled)
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _checked(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)
    _close_network()


def can_confine() -> bool:
    """Whether this machine has what `restrict` needs."""
    return landlock_version() > 0 and platform.machine() in _ARCHITECTURES


def _close_network() -> None:
    """Refuse sockets of every kind but those between local processes, and ways around that.

    Source:
        Linux `Documentation/userspace-api/seccomp_filter.rst`; classic BPF over `seccomp_data`:
        number at offset 0, architecture at 4, first argument at 16.
    """
    architecture, socket = _ARCHITECTURES[platform.machine()]
    program = (
        (_LOAD, 0, 0, 4),
        (_IF_EQUAL, 0, 7, architecture),
        (_LOAD, 0, 0, 0),
        (_IF_AT_LEAST, 5, 0, _X32_BIT),
        (_IF_EQUAL, 4, 0, _IO_URING_SETUP),
        (_IF_EQUAL, 0, 2, socket),
        (_LOAD, 0, 0, 16),
        (_IF_EQUAL, 0, 1, _UNIX_SOCKETS),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    )
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))  # type: ignore[mutable-override]

    filled = Program(len(program), ctypes.addressof(buffer))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_SET_SECCOMP, _SECCOMP_FILTER, ctypes.byref(filled), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def _allow(ruleset: int, paths: Iterable[Path], access: int) -> None:
    class PathBeneath(ctypes.Structure):
        _pack_ = 1
        _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))  # type: ignore[mutable-override]

    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = access if path.is_dir() else access & _FILE_ONLY
            rule = PathBeneath(rights, descriptor)
            _checked(
                _ADD_RULE,
                ctypes.c_int(ruleset),
                ctypes.c_int(_RULE_PATH_BENEATH),
                ctypes.byref(rule),
                ctypes.c_uint32(0),
            )
        finally:
            os.close(descriptor)


def _checked(number: int, *arguments: object) -> int:
    result = _syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock system call {number}")
    return result


def _syscall(number: int, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    return int(library.syscall(ctypes.c_long(number), *arguments))


def main() -> None:
    """Restrict this process as the first argument says and become the rest of the command line."""
    about = json.loads(sys.argv[1])
    restrict(
        Confinement(
            readable=tuple(Path(path) for path in about["readable"]),
            writable=tuple(Path(path) for path in about["writable"]),
        )
    )
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
