# SPDX-License-Identifier: Apache-2.0
"""Who, where, which code: the source as executed, versions of libraries, the platform.

Nothing here imports a number library; versions come from the metadata of installed packages.
"""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from tiny_agent_trainer import canonical, digests

PACKAGE: Final = "tiny_agent_trainer"

NUMERIC_LIBRARIES: Final = (
    "torch", "monai", "numpy", "numba", "llvmlite", "pillow", "safetensors",
)  # fmt: skip
"""Libraries whose version can change a result; their public versions are in the identity."""

DECODERS: Final = (
    "pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "nibabel",
)  # fmt: skip
"""Libraries that decode the files of a folder; in the identity of runs that read one. What was
decoded by an extra, such as gdcm, is named in `data/manifest.json`."""

_NUMERIC_CPU_FLAGS: Final = frozenset(
    {
        "sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq",
        "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile",
        "amx_int8", "amx_bf16", "amx_fp16",
    }
)  # fmt: skip
NUMERIC_ENVIRONMENT: Final = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "ONEDNN_DEFAULT_FPMATH_MODE",
)  # fmt: skip
"""Variables that choose other kernels; part of the platform when they are set."""


def read_source() -> dict[str, bytes]:
    """Every file of this package as it is on disk now: path relative to the package -> bytes."""
    return dict(_walk(resources.files(PACKAGE), ""))


def package_parent() -> Path:
    """The directory that holds this package."""
    return Path(str(resources.files(PACKAGE))).parent


def digest_source(files: Mapping[str, bytes]) -> str:
    """Digest of a package's files, whatever their order."""
    entries = [(path, digests.sha256_hex(data)) for path, data in files.items()]
    return digests.of_entries("source-v1", entries)


def library_versions(*, decodes: bool = False) -> dict[str, str]:
    """Public versions (without a build's `+cpu`) of Python and of every library that calculates.

    Args:
        decodes: Whether those that decode DICOM and NIfTI belong to them.
    """
    names = (*NUMERIC_LIBRARIES, *(DECODERS if decodes else ()))
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in names}
    return versions | {"python": ".".join(map(str, sys.version_info[:2]))}


def describe_platform() -> dict[str, canonical.JsonValue]:
    """What of this machine can change the bits of native arithmetic."""
    about = _read_cpuinfo()
    flags = _NUMERIC_CPU_FLAGS & set(about.get("flags", about.get("Features", "")).split())
    return {
        "machine": platform.machine(),
        "vendor": about.get("vendor_id", about.get("CPU implementer", "unknown")),
        "cpu_flags": sorted(flags),
        "environment": {k: os.environ[k] for k in NUMERIC_ENVIRONMENT if os.environ.get(k)},
    }


def describe_environment() -> dict[str, canonical.JsonValue]:
    """What an auditor wants to know of this machine; observed, never part of a result."""
    packages = {
        str(distribution.metadata["Name"]): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return {
        "schema": "environment-v1",
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "host": platform.node(),
        "cpu": _read_cpuinfo().get("model name", "unknown"),
        "cpu_count": os.cpu_count() or 0,
        "platform": describe_platform(),
        "packages": dict(sorted(packages.items())),
    }


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name.encode()):
        path = prefix + entry.name
        if entry.is_dir():
            if entry.name != "__pycache__":
                found += _walk(entry, path + "/")
        elif not entry.name.endswith((".pyc", ".pyo")):
            found.append((path, entry.read_bytes()))
    return found


def _read_cpuinfo() -> dict[str, str]:
    """The first processor's entry of the kernel's list; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return {}
    lines = text.split("\n\n", 1)[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}
