# SPDX-License-Identifier: Apache-2.0
"""The nouns of the ledger: what a run is, what happened in one cycle, where a ledger is sealed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tiny_agent_trainer import canonical, errors

PHASES: Final = ("train", "epoch", "validation", "test")
"""What a cycle was; its place in this tuple is written into the file [C-7] and never changes."""

DTYPES: Final = ("f32", "f64", "i64")
"""How a metric's bits are kept: IEEE binary32, IEEE binary64, two's complement of 64 bits."""

STATUSES: Final = ("completed", "stopped_early")
"""How a run came to its end; its place in this tuple is written into the file [C-11]."""

MAX_METRICS: Final = 4096
"""Metrics in one table; a table beyond it is refused, so that a record stays below a frame."""

MAX_NAME_BYTES: Final = 255
"""Length of a metric's, unit's or state's name in UTF-8; the file counts it in one byte."""

MAX_DIGEST_BYTES: Final = 1024
"""Length of the experiment digest's text; a longer one is not a digest."""

NUMBER_LIMIT: Final = 2**63
"""Steps and epochs stay below it, so that every reader can hold them in a signed 64-bit number."""

_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One line of the metric table: a name, how its bits are kept, and its unit ("1" if none)."""

    name: str
    dtype: str
    unit: str

    def __post_init__(self) -> None:
        require_name(self.name)
        require_name(self.unit)
        if self.dtype not in DTYPES:
            message = f"metric {self.name!r} has dtype {self.dtype!r}, not one of {DTYPES}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Which experiment a ledger belongs to, and which metrics its records may carry."""

    experiment_digest: str
    metrics: tuple[Metric, ...]

    def __post_init__(self) -> None:
        _require_text(self.experiment_digest, MAX_DIGEST_BYTES)
        if len(self.metrics) > MAX_METRICS:
            message = f"{len(self.metrics)} metrics, more than {MAX_METRICS}"
            raise ValueError(message)
        names = [metric.name for metric in self.metrics]
        if len(set(names)) != len(names):
            raise ValueError("a metric stands twice in the table")


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleRecord:
    """One cycle: a training step, an epoch's end, a validation or a test.

    The encoder checks the fields, not the constructor: millions of these are made.
    """

    step: int
    epoch: int
    phase: str
    metrics: Mapping[str, float | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRecord:
    """The digests of what the next cycle depends on: name -> 64 hexadecimal digits."""

    step: int
    epoch: int
    digests: Mapping[str, str]


Record = CycleRecord | StateRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class EndMark:
    """How a ledger was closed: the status, and the Merkle root of all records as 64 hex digits."""

    status: str
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealMark:
    """A place where a ledger can be cut and continued.

    Args:
        offset_bytes: The end of the SEAL frame.
        num_records: How many cycle and state records stand before it.
        chain: The chain's value with the SEAL frame included, as 64 hexadecimal digits.
    """

    offset_bytes: int
    num_records: int
    chain: str

    def to_json(self) -> dict[str, canonical.JsonValue]:
        """The mark as JSON values, for a checkpoint."""
        return {
            "offset_bytes": self.offset_bytes,
            "num_records": self.num_records,
            "chain": self.chain,
        }

    @classmethod
    def from_json(cls, value: canonical.JsonValue) -> "SealMark":
        """The mark from JSON values.

        Raises:
            LedgerError: The value is not what `to_json` gives.
        """
        if not isinstance(value, Mapping) or set(value) != {"offset_bytes", "num_records", "chain"}:
            message = f"{type(value).__name__} with other names"
            raise _not_a_mark(message)
        offset, count, chain = value["offset_bytes"], value["num_records"], value["chain"]
        if not isinstance(chain, str) or not is_hex_digest(chain):
            raise _not_a_mark("a chain value that is not 64 lower-case hexadecimal digits")
        if not _is_count(offset) or not _is_count(count):
            raise _not_a_mark("an offset or a number of records that is not a count")
        return cls(offset_bytes=int(offset), num_records=int(count), chain=chain)  # type: ignore[arg-type]


def is_hex_digest(text: str) -> bool:
    """Whether the text is a SHA-256 value as 64 lower-case hexadecimal digits."""
    return _HEX_DIGEST.fullmatch(text) is not None


def require_name(name: str) -> None:
    """Require a name that can be printed and fits the file.

    Raises:
        ValueError: Empty, longer than 255 bytes, blank at an end, or with unprintable characters.
    """
    _require_text(name, MAX_NAME_BYTES)
    if name.strip() != name:
        message = f"the name {name!r} begins or ends with a blank"
        raise ValueError(message)


def _require_text(text: str, limit_bytes: int) -> None:
    if not text or not text.isprintable() or len(text.encode()) > limit_bytes:
        message = f"{text[:40]!r} is not 1 to {limit_bytes} bytes of printable text"
        raise ValueError(message)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < NUMBER_LIMIT


def _not_a_mark(found: str) -> errors.LedgerError:
    return errors.LedgerError(
        where="the ledger mark of a checkpoint",
        expected="offset_bytes, num_records and chain",
        found=found,
        remedy="continue from another checkpoint",
    )
