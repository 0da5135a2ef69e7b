# SPDX-License-Identifier: Apache-2.0
"""MONAI's networks train two steps in exact arithmetic with one digest in every cell.

Not tested here: whole experiments (test_matrix.py).
"""

import matrix
import pytest

CELLS = [
    matrix.Cell(),
    matrix.Cell(threads=1, aten="default", onednn="AVX2", mkl="AVX2", numba="generic"),
    matrix.Cell(threads=3, aten="avx2", onednn="AVX512_CORE", numba="haswell"),
    matrix.Cell(threads=7, onednn="AVX512_CORE_VNNI", engine="float64"),
    matrix.Cell(threads=2, aten="avx2", glibc=matrix.OLD_GLIBC, numba="generic", engine="float64"),
    matrix.Cell(threads=1, mkl="SSE4_2", aten="default", numba="haswell", glibc=matrix.OLD_GLIBC),
]


def require_one_digest(cells, *names):
    """Every network has one digest in all cells, and learned something in its first step."""
    answers = [matrix.run(c, "monai_cell.py", str(c.threads), c.engine, *names) for c in cells]
    for name, said in answers[0].items():
        print(f"{name:16} {said['digest'][:12]} {said['losses']}")
        assert said["losses"][0] != said["losses"][1], name
        assert {answer[name]["digest"] for answer in answers} == {said["digest"]}, name
    assert len(answers[0]) == len(names) or not names


def test_three_networks_in_two_cells():
    require_one_digest([CELLS[0], CELLS[3]], "UNet", "ViT", "ResNet 2-D")


@pytest.mark.long
def test_all_networks_in_six_cells():
    require_one_digest(CELLS)
