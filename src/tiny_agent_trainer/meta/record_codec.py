# SPDX-License-Identifier: Apache-2.0
"""The bodies of the frames: nouns to bytes and back, one spelling each.

Encoders raise `ValueError` or `TypeError` for what the format cannot hold; decoders raise
`ValueError` for bytes that no encoder writes. Neither touches a file.

Source:
    Clauses [C-5] to [C-11] of docs/formats/cmeta-v1.md.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from tiny_agent_trainer import canonical
from tiny_agent_trainer.meta import numbers, records

MAX_DIGESTS: Final = 255
"""Digests in one STATE record; the file counts them in one byte."""

_SEAL = struct.Struct("<QQQQ32s32s")
_END = struct.Struct("<BQ32s")


class Seal(NamedTuple):
    """The body of a SEAL frame; every field follows from the frames before it [C-10]."""

    num_records: int
    previous_offset_bytes: int
    first_step: int
    last_step: int
    chain: bytes
    root: bytes

    def encode(self) -> bytes:
        """The 96 bytes of the body."""
        return _SEAL.pack(*self)

    @classmethod
    def decode(cls, body: bytes) -> "Seal":
        """The fields; their truth is checked elsewhere."""
        _require_size(body, _SEAL.size)
        return cls._make(_SEAL.unpack(body))


class End(NamedTuple):
    """The body of an END frame [C-11]."""

    status: str
    seal_offset_bytes: int
    root: bytes

    def encode(self) -> bytes:
        """The 41 bytes of the body."""
        if self.status not in records.STATUSES:
            message = f"status {self.status!r} is not one of {records.STATUSES}"
            raise ValueError(message)
        return _END.pack(records.STATUSES.index(self.status), self.seal_offset_bytes, self.root)

    @classmethod
    def decode(cls, body: bytes) -> "End":
        """The fields; their truth is checked elsewhere."""
        _require_size(body, _END.size)
        status, offset, root = _END.unpack(body)
        if status >= len(records.STATUSES):
            message = f"status {status}, not below {len(records.STATUSES)}"
            raise ValueError(message)
        return cls(records.STATUSES[status], offset, root)


END_BODY_BYTES: Final = _END.size
"""Size of an END body, so that a reader finds it from the end of a file."""


def encode_genesis(genesis: records.Genesis) -> bytes:
    """Encode the body of GENESIS as canonical JSON."""
    metrics = [
        {"name": metric.name, "dtype": metric.dtype, "unit": metric.unit}
        for metric in genesis.metrics
    ]
    return canonical.encode({"experiment_digest": genesis.experiment_digest, "metrics": metrics})


def decode_genesis(body: bytes) -> records.Genesis:
    """Decode the body of GENESIS and refuse any other spelling of it."""
    try:
        value = canonical.decode(body)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    fields = _fields(value, ("experiment_digest", "metrics"))
    table = fields["metrics"]
    if not isinstance(table, list):
        raise ValueError("metrics is not a list")  # noqa: TRY004 - bytes are wrong, not a type
    genesis = records.Genesis(
        experiment_digest=_text(fields["experiment_digest"]),
        metrics=tuple(_decode_metric(line) for line in table),
    )
    if encode_genesis(genesis) != body:
        raise ValueError("JSON that is not in canonical form")
    return genesis


def encode_state(record: records.StateRecord) -> bytes:
    """Encode the body of STATE; names stand in the order of their UTF-8 bytes."""
    if len(record.digests) > MAX_DIGESTS:
        message = f"{len(record.digests)} digests, more than {MAX_DIGESTS}"
        raise ValueError(message)
    parts = [_encode_position(record.step, record.epoch), bytes((len(record.digests),))]
    for name in sorted(record.digests, key=str.encode):
        records.require_name(name)
        digest = record.digests[name]
        if not records.is_hex_digest(digest):
            message = f"the digest of {name!r} is {digest!r}, not 64 hexadecimal digits"
            raise ValueError(message)
        encoded = name.encode()
        parts += (bytes((len(encoded),)), encoded, bytes.fromhex(digest))
    return b"".join(parts)


def decode_state(body: bytes) -> records.StateRecord:
    """Decode the body of STATE."""
    cursor = numbers.Cursor(body)
    step, epoch = _decode_position(cursor)
    digests: dict[str, str] = {}
    last = b""
    for _ in range(cursor.take(1)[0]):
        name = cursor.text()
        records.require_name(name)
        if name.encode() <= last:
            message = f"the name {name!r} is out of order or stands twice"
            raise ValueError(message)
        last = name.encode()
        digests[name] = cursor.take(32).hex()
    cursor.require_end()
    return records.StateRecord(step=step, epoch=epoch, digests=digests)


class CycleCodec:
    """Encodes and decodes CYCLE bodies, each metric as a difference against its last value.

    Args:
        metrics: The table of GENESIS.

    Guarantees:
        `decode` of the same sequence, with `restart` at the same places, gives back every bit:
        NaN payloads, -0.0 and infinities (tests/property). After `restart`, the next value of each
        metric is written in full (a keyframe), so that reading can begin there.
    """

    def __init__(self, metrics: tuple[records.Metric, ...]) -> None:
        self._places = {metric.name: place for place, metric in enumerate(metrics)}
        self._names = [metric.name for metric in metrics]
        self._images = [numbers.IMAGES[metric.dtype] for metric in metrics]
        self._values = [numbers.VALUES[metric.dtype] for metric in metrics]
        self._limits = [1 << numbers.BITS[metric.dtype] - 1 for metric in metrics]
        self._last = [0] * len(metrics)
        self._bitmap_bytes = (len(metrics) + 7) >> 3

    def restart(self) -> None:
        """Forget the last values: the next ones are keyframes."""
        self._last = [0] * len(self._last)

    def require_fit(self, record: records.CycleRecord) -> None:
        """Require what `encode` requires."""
        _encode_start(record)
        self._measure(record.metrics)

    def encode(self, record: records.CycleRecord) -> bytes:
        """Encode one body; a refused record leaves the codec as it was."""
        body = bytearray(_encode_start(record))
        places, images = self._measure(record.metrics)
        bitmap = 0
        for place in places:
            bitmap |= 1 << place
        body += bitmap.to_bytes(self._bitmap_bytes, "little")
        last = self._last
        for place, image in zip(places, images, strict=True):
            difference = image - last[place]
            last[place] = image
            body += numbers.encode_counted(
                difference << 1 if difference >= 0 else ~(difference << 1)
            )
        return bytes(body)

    def decode(self, body: bytes) -> records.CycleRecord:
        """Decode one body."""
        cursor = numbers.Cursor(body)
        step, epoch = _decode_position(cursor)
        phase = cursor.take(1)[0]
        if phase >= len(records.PHASES):
            message = f"phase {phase}, not below {len(records.PHASES)}"
            raise ValueError(message)
        bitmap = int.from_bytes(cursor.take(self._bitmap_bytes), "little")
        if bitmap >> len(self._names):
            raise ValueError("a metric beyond the table")
        metrics = self._decode_values(cursor.rest(), bitmap)
        return records.CycleRecord(
            step=step, epoch=epoch, phase=records.PHASES[phase], metrics=metrics
        )

    def _measure(self, metrics: Mapping[str, float | int]) -> tuple[list[int], list[int]]:
        unknown = metrics.keys() - self._places.keys()
        if unknown:
            message = f"{sorted(unknown)} do not stand in the ledger's metric table"
            raise ValueError(message)
        places = sorted(map(self._places.__getitem__, metrics))
        try:
            images = [self._images[place](metrics[self._names[place]]) for place in places]
        except (TypeError, ValueError) as error:
            message = f"a metric of {sorted(metrics)}: {error}"
            raise type(error)(message) from None
        return places, images

    def _decode_values(self, body: bytes, bitmap: int) -> dict[str, float | int]:
        """The values of the metrics in `bitmap`; by hand, because nothing else runs as often."""
        metrics: dict[str, float | int] = {}
        start = 0
        for place in _places_in(bitmap):
            if start >= len(body):
                raise ValueError("the body ends before a metric")
            stop = start + 1 + body[start]
            image = self._last[place] + numbers.decode_zigzag(body[start + 1 : stop], body[start])
            limit = self._limits[place]
            if not -limit <= image < limit:
                message = f"{self._names[place]} leaves the range of its dtype"
                raise ValueError(message)
            self._last[place] = image
            metrics[self._names[place]] = self._values[place](image)
            start = stop
        if start != len(body):
            raise ValueError("bytes behind the last metric")
        return metrics


def _places_in(bitmap: int) -> Iterator[int]:
    """The places of the bits that are set, from the lowest."""
    while bitmap:
        yield (bitmap & -bitmap).bit_length() - 1
        bitmap &= bitmap - 1


def _encode_start(record: records.CycleRecord) -> bytes:
    if record.phase not in records.PHASES:
        message = f"phase {record.phase!r} is not one of {records.PHASES}"
        raise ValueError(message)
    phase = records.PHASES.index(record.phase)
    return _encode_position(record.step, record.epoch) + phase.to_bytes(1, "little")


def _encode_position(step: object, epoch: object) -> bytes:
    return _encode_whole("step", step) + _encode_whole("epoch", epoch)


def _encode_whole(name: str, number: object) -> bytes:
    if not isinstance(number, int) or not 0 <= number < records.NUMBER_LIMIT:
        message = f"{name} {number!r} is not a whole number from 0 to 2^63 - 1"
        raise ValueError(message)
    return numbers.encode_counted(number)


def _decode_position(cursor: numbers.Cursor) -> tuple[int, int]:
    step, epoch = cursor.counted(), cursor.counted()
    if step >= records.NUMBER_LIMIT or epoch >= records.NUMBER_LIMIT:
        raise ValueError("a step or an epoch of 2^63 or more")
    return step, epoch


def _decode_metric(line: canonical.JsonValue) -> records.Metric:
    fields = _fields(line, ("dtype", "name", "unit"))
    return records.Metric(
        name=_text(fields["name"]), dtype=_text(fields["dtype"]), unit=_text(fields["unit"])
    )


def _fields(value: canonical.JsonValue, names: tuple[str, ...]) -> dict[str, canonical.JsonValue]:
    if not isinstance(value, dict) or tuple(sorted(value)) != names:
        message = f"not an object with exactly the names {', '.join(names)}"
        raise ValueError(message)
    return value


def _text(value: canonical.JsonValue) -> str:
    if not isinstance(value, str):
        message = f"{type(value).__name__} where a text belongs"
        raise ValueError(message)  # noqa: TRY004 - see above
    return value


def _require_size(body: bytes, size: int) -> None:
    if len(body) != size:
        message = f"a body of {len(body)} bytes, not {size}"
        raise ValueError(message)
