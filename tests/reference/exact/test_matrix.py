# SPDX-License-Identifier: Apache-2.0
"""One experiment under settings that change plain PyTorch's bits: exact arithmetic has one digest.

Every cell proves that its setting acted, that weights moved and that the loss fell. The same cells
in native arithmetic are the negative control: they must give several models, or the sweep proves
nothing.

Not tested here: other processors than this one; CI and `verifier` do that.
"""

import concurrent.futures
import itertools

import matrix
import pytest

CONFIG = """
[engine]
arithmetic = "{arithmetic}"
contractions = "{engine}"
threads = {threads}
epochs = 3
batch_size = 16
shard_size = 6
[data]
patients = 40
image_size = 16
[model]
name = "cnn"
width = 8
[optimizer]
name = "adamw"
lr = 0.003
"""
SHORT = [
    matrix.Cell(),
    matrix.Cell(threads=1, aten="default", onednn="AVX2", mkl="AVX2", numba="generic"),
    matrix.Cell(threads=3, aten="avx2", onednn="AVX512_CORE", numba="haswell", stop_after=3),
    matrix.Cell(threads=7, onednn="AVX512_CORE_VNNI", engine="float64"),
    matrix.Cell(threads=2, aten="avx2", glibc=matrix.OLD_GLIBC, numba="generic", engine="float64"),
    matrix.Cell(threads=1, mkl="AVX2", stop_after=7),
    matrix.Cell(threads=7, aten="default", numba="haswell", glibc=matrix.OLD_GLIBC),
    matrix.Cell(threads=3, engine="float64", numba="haswell", aten="default", stop_after=5),
]
"""Eight cells in which every value of every setting occurs."""


def every_combination():
    """At least 60 cells: threads, code generation and engines in full, the others in turn."""
    atens, onednns = (
        itertools.cycle(["", "avx2", "default"]),
        itertools.cycle(["AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_AMX", ""]),
    )
    mkls, glibcs = (
        itertools.cycle(["AVX2", "AVX512", "", "SSE4_2"]),
        itertools.cycle(["", matrix.OLD_GLIBC]),
    )
    stops = itertools.cycle([0, 0, 2, 0, 7, 0, 0])
    for threads, numba, engine, _ in itertools.product(
        (1, 2, 3, 7), matrix.NUMBA, ("int16", "float64"), range(3)
    ):
        yield matrix.Cell(
            threads=threads, numba=numba, engine=engine, aten=next(atens), onednn=next(onednns),
            mkl=next(mkls), glibc=next(glibcs), stop_after=next(stops),
        )  # fmt: skip


def train(cell, arithmetic, folder):
    """What a cell says of itself."""
    folder.mkdir()
    config = folder / "matrix.toml"
    engine = cell.engine if arithmetic == "exact" else "auto"
    config.write_text(CONFIG.format(arithmetic=arithmetic, engine=engine, threads=cell.threads))
    options = ["--stop-after", str(cell.stop_after)]
    return matrix.run(cell, "matrix_cell.py", str(config), str(folder / "results"), *options)


def train_all(cells, arithmetic, folder):
    folder.mkdir()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(
            pool.map(
                lambda numbered: train(numbered[1], arithmetic, folder / str(numbered[0])),
                enumerate(cells),
            )
        )


def require_that_settings_acted(cell, said):
    """The proof of each setting, from inside the process."""
    capability = {"": None, "avx2": "AVX2", "default": "DEFAULT"}[cell.aten]
    assert capability in (None, said["aten"]), cell.name
    expected = {"host": None, "haswell": "avx2", "generic": "sse2"}[cell.numba]
    assert expected in (None, said["instructions"]), cell.name
    registers = {"host": None, "haswell": "ymm", "generic": "xmm"}[cell.numba]
    assert registers in (None, said["registers"]), cell.name
    assert said["threads"] == cell.threads, cell.name
    assert said["torch_threads_inside"] == 1, cell.name  # those of the team compute
    assert said["engine"] == {"auto": "int16"}.get(cell.engine, cell.engine), cell.name
    assert said["calls"] > 0, cell.name
    assert (said["tunables"] or "") == cell.glibc, cell.name


def require_one_digest(cells, tmp_path):
    """One digest for all cells; print the table and return what the control gave."""
    exact = train_all(cells, "exact", tmp_path / "exact")
    native = train_all(cells, "native", tmp_path / "native")
    for cell, said, control in zip(cells, exact, native, strict=True):
        print(
            f"exact {said['weights'][:12]} native {control['weights'][:12]}  "
            f"{said['instructions']}/{said['engine']}/{said['aten']}  {cell.name}"
        )
        require_that_settings_acted(cell, said)
        losses = said["losses"]
        assert sum(losses[-4:]) < 0.9 * sum(losses[:4]), losses
    assert len({said["run_digest"] for said in exact}) == 1
    assert len({said["weights"] for said in exact}) == 1
    return {control["weights"] for control in native}


def test_eight_cells_give_one_digest_and_plain_pytorch_several(tmp_path):
    assert len(require_one_digest(SHORT, tmp_path)) > 1


@pytest.mark.long
def test_every_combination_gives_one_digest_and_plain_pytorch_several(tmp_path):
    cells = list(every_combination())
    assert len(cells) >= 60
    assert len(require_one_digest(cells, tmp_path)) > 1
