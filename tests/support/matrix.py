# SPDX-License-Identifier: Apache-2.0
"""Cells of the matrix: settings of a process that change plain PyTorch's bits."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

HASWELL = "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+popcnt"
NUMBA = {
    "host": {},
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL},
    "generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}
OLD_GLIBC = "glibc.cpu.hwcaps=-FMA,-AVX2,-AVX2_Usable,-FMA_Usable,-AVX512F"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of settings."""

    threads: int = 2
    aten: str = ""
    onednn: str = ""
    mkl: str = ""
    numba: str = "host"
    glibc: str = ""
    engine: str = "auto"
    stop_after: int = 0

    @property
    def name(self):
        parts = [f"{key}={value}" for key, value in dataclasses.asdict(self).items() if value]
        return " ".join(parts)

    def environment(self):
        chosen = {
            "ATEN_CPU_CAPABILITY": self.aten,
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            "GLIBC_TUNABLES": self.glibc,
        }
        kept = {key: value for key, value in os.environ.items() if key not in chosen}
        return kept | {key: value for key, value in chosen.items() if value} | NUMBA[self.numba]


def run(cell, script, *arguments):
    """Start a script of this folder in a cell; the JSON of its last line."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    done = subprocess.run(
        command, env=cell.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{cell.name}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])
