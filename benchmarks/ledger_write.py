# SPDX-License-Identifier: Apache-2.0
"""Microseconds per record of the ledger, next to JSON lines in the same run.

The peer writes one line per record with one `write` each, as a plain metrics.jsonl does, and reads
it back by parsing; it has no checksums, no chain and no tree. Each pair runs in alternation, and
medians are printed.

    python benchmarks/ledger_write.py [RECORDS] [PAIRS]
"""

import json
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tiny_agent_trainer.meta import chronicle, chronicle_reader, records

_TABLE = tuple(
    records.Metric(name=name, dtype=dtype, unit="1")
    for name, dtype in (
        ("loss", "f32"),
        ("learning_rate", "f64"),
        ("gradient_norm", "f32"),
        ("num_samples", "i64"),
    )
)


def main() -> None:
    """Print the medians and their ratios."""
    num_records = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    num_pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    made = _make_records(num_records)
    with tempfile.TemporaryDirectory() as directory:
        ledger, lines = Path(directory, "chronicle.cmeta"), Path(directory, "metrics.jsonl")
        write = _alternate(num_pairs, lambda: _write(ledger, made), lambda: _dump(lines, made))
        check = _alternate(num_pairs, lambda: _verify(ledger), lambda: _parse(lines))
        sizes = ledger.stat().st_size, lines.stat().st_size
    print(f"{num_records} records of {len(_TABLE)} metrics, medians of {num_pairs} pairs")
    scale = 1e6 / num_records
    _print_row("write", "us/record", write[0] * scale, write[1] * scale)
    _print_row("verify", "us/record", check[0] * scale, check[1] * scale)
    _print_row("size", "B/record", sizes[0] / num_records, sizes[1] / num_records)


def _print_row(name: str, unit: str, ours: float, peer: float) -> None:
    ratio = ours / peer
    print(
        f"{name:7} cmeta {ours:6.2f} {unit:9}   json lines {peer:6.2f} {unit:9}   ratio {ratio:.2f}"
    )


def _make_records(num_records: int) -> list[records.CycleRecord]:
    return [
        records.CycleRecord(
            step=step,
            epoch=step // 500,
            phase="train",
            metrics={
                "loss": _round_f32(2.0 / (1 + step / 500) + 0.1 * _noise(step)),
                "learning_rate": 1e-3 * (1 - step / num_records),
                "gradient_norm": _round_f32(1 + _noise(step + 1)),
                "num_samples": 32 * step,
            },
        )
        for step in range(num_records)
    ]


def _noise(step: int) -> float:
    """A number in [0, 1) whose bits look random (Knuth's multiplicative hash)."""
    return (step * 2_654_435_761 % 2**32) / 2**32


def _round_f32(value: float) -> float:
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _write(path: Path, made: list[records.CycleRecord]) -> None:
    genesis = records.Genesis(experiment_digest="sha256:benchmark:0", metrics=_TABLE)
    with chronicle.ChronicleWriter.create(path, genesis) as writer:
        for record in made:
            writer.append(record)
        writer.end("completed")


def _dump(path: Path, made: list[records.CycleRecord]) -> None:
    with path.open("wb", buffering=0) as file:
        for record in made:
            line = {"step": record.step, "epoch": record.epoch, "phase": record.phase}
            file.write(json.dumps(line | dict(record.metrics)).encode() + b"\n")
        os.fsync(file.fileno())


def _verify(path: Path) -> None:
    if not chronicle_reader.verify(path).is_sound:
        raise SystemExit("the ledger that was just written is not sound")


def _parse(path: Path) -> None:
    with path.open("rb") as file:
        for line in file:
            json.loads(line)


def _alternate(
    num_pairs: int, ours: Callable[[], None], peer: Callable[[], None]
) -> tuple[float, float]:
    pairs = [(_seconds(ours), _seconds(peer)) for _ in range(num_pairs)]
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
