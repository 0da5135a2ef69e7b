# SPDX-License-Identifier: Apache-2.0
"""Archiving and restoring a run of 200 MB, next to `tar | gzip -1` and `gzip -d | tar x`.

We verify the run, write, sync, read the archive back and verify it; and on the way back verify the
container, every file and the run again. The peer does none of that and does not sync. Each pair
runs in alternation, and medians are printed; a ratio above 1.0 fails.

    python -m benchmarks.archive_vs_tar [MEGABYTES] [PAIRS]
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tiny_agent_trainer import canonical, clock
from tiny_agent_trainer.experiments.archives import archive, restore
from tiny_agent_trainer.experiments.run_directory import journal, manifest, status
from tiny_agent_trainer.meta import chronicle, records, ustar

_NAME = "exp_000_20260102T030405Z"
_NUM_CHECKPOINTS = 4


def main() -> None:
    """Print the medians and their ratios."""
    num_mb = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    num_pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as directory:
        run = _make_run(Path(directory), num_mb)
        pairs = [_measure(run, Path(directory)) for _ in range(num_pairs)]
    print(f"a run of {num_mb} MB, {num_pairs} pairs, medians")
    ratios = []
    for index, name in enumerate(("archive", "restore")):
        ours = statistics.median(pair[index][0] for pair in pairs)
        peer = statistics.median(pair[index][1] for pair in pairs)
        ratios.append(ours / peer)
        print(f"{name}: ours {ours:.2f} s, tar and gzip {peer:.2f} s, ratio {ours / peer:.2f}")
    sizes = pairs[-1][2]
    print(f"size: ours {sizes[0]:,} bytes, tar | gzip -1 {sizes[1]:,} bytes")
    sys.exit(0 if max(ratios) <= 1.0 else 1)


_Pair = tuple[float, float]


def _measure(run: Path, directory: Path) -> tuple[_Pair, _Pair, tuple[int, int]]:
    ours, peer = directory / "archive", directory / "peer.tar.gz"
    there, peer_there = directory / "there", directory / "peer_there"
    peer_there.mkdir()
    packed = archive.archive_experiment(run, archive_dir=ours, keep=True)
    shutil.rmtree(ours)
    archiving = (
        _seconds(lambda: archive.archive_experiment(run, archive_dir=ours, keep=True)),
        _seconds(lambda: _shell(f"tar -C {run.parent} -cf - {run.name} | gzip -1 > {peer}")),
    )
    restoring = (
        _seconds(lambda: restore.restore_archive(packed.path, there)),
        _seconds(lambda: _shell(f"gzip -dc {peer} | tar -C {peer_there} -xf -")),
    )
    sizes = packed.path.stat().st_size, peer.stat().st_size
    for path in (ours, there, peer_there):
        shutil.rmtree(path)
    peer.unlink()
    return archiving, restoring, sizes


def _seconds(action: Callable[[], object]) -> float:
    os.sync()  # what was written before is not on this one's bill
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _shell(command: str) -> None:
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True)


def _make_run(directory: Path, num_mb: int) -> Path:
    """A sealed run: float32 weights as training leaves them, and text."""
    run = directory / "results" / _NAME
    for folder in ("data", "checkpoints", "observed"):
        (run / folder).mkdir(parents=True)
    rows: list[canonical.JsonValue] = [
        {"label": i % 9, "patient": i, "pixels_sha256": f"{i:064x}"} for i in range(20_000)
    ]
    data = canonical.encode_line({"samples": rows})
    lines = "".join(f"{i},{i},{i % 9},0.{i:05d}\n" for i in range(20_000)).encode()
    (run / "config.toml").write_bytes(b'[data]\nname = "phantom"\n')
    (run / "config.resolved.json").write_bytes(canonical.encode_line({"experiment": {}}))
    (run / "data/manifest.json").write_bytes(data)
    (run / "source.tar").write_bytes(ustar.encode_tar({"a.py": Path(__file__).read_bytes()}))
    (run / "predictions_val.csv").write_bytes(lines)
    for number in range(_NUM_CHECKPOINTS):
        size = num_mb * 1_000_000 // _NUM_CHECKPOINTS
        path = run / "checkpoints" / f"step_{number:08d}.safetensors"
        path.write_bytes(_weights(size // 4))
    identity = {"schema": "identity-v1"}
    _write_ledger(run, manifest.experiment_digest_of(identity))
    journal.Journal(run / journal.FILE_NAME, clock.SystemClock()).append("completed")
    manifest.write_manifest(run, manifest.build_manifest(run, identity))
    status.refresh_status(run)
    return run


def _weights(count: int) -> bytes:
    """Normally distributed float32 values, as weights are, drawn from the operating system."""
    bits = np.frombuffer(os.urandom(4 * count), dtype=np.uint32)
    uniform = bits.astype(np.float64) / 2**32
    spread = np.sqrt(-2 * np.log1p(-uniform)) * np.cos(2 * np.pi * uniform[::-1])
    return bytes((0.02 * spread).astype("<f4").data)


def _write_ledger(run: Path, experiment_digest: str) -> None:
    metrics = (records.Metric(name="loss", dtype="f64", unit="1"),)
    genesis = records.Genesis(experiment_digest=experiment_digest, metrics=metrics)
    with chronicle.ChronicleWriter.create(run / chronicle.FILE_NAME, genesis) as writer:
        for step in range(1_000):
            found = {"loss": 1 / (1 + step)}
            writer.append(records.CycleRecord(step=step, epoch=0, phase="train", metrics=found))
        writer.end("completed")


if __name__ == "__main__":
    main()
