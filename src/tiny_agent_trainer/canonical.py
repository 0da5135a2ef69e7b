# SPDX-License-Identifier: Apache-2.0
"""The one encoder from values to bytes: JSON by RFC 8785.

Two encoders give two digests, so every digest of a value in this package is taken over the bytes
that `encode` returns. Integers stay within +-(2^53 - 1), floats are finite and never negative zero.
"""

import json
from collections.abc import Mapping, Sequence

import rfc8785

type_name = "canonical-json-v1"

JsonValue = bool | int | float | str | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]

INTEGER_LIMIT = 2**53 - 1
"""Largest integer that JSON readers agree on; a larger one is refused by `encode`."""


def encode(value: JsonValue) -> bytes:
    """Encode a value as canonical JSON.

    Raises:
        ValueError: An integer beyond +-(2^53 - 1), NaN or an infinity.

    Guarantees:
        Equal values give equal bytes on every platform; `decode(encode(v)) == v` up to 1.0 == 1.

    Source:
        RFC 8785 (JSON Canonicalization Scheme), through the library `rfc8785`.
    """
    return rfc8785.dumps(value)


def encode_line(value: JsonValue) -> bytes:
    """Encode a value as one line of canonical JSON, newline included, for files people open."""
    return encode(value) + b"\n"


def decode(data: bytes) -> JsonValue:
    """Decode JSON bytes; the caller decides whether they have to be canonical.

    An integer beyond +-(2^53 - 1) is read as the float that it is for every JSON reader, because
    `encode` writes whole floats up to 10^21 without an exponent.

    Raises:
        ValueError: Not JSON, not UTF-8, or a name that stands twice in one object.
    """
    return json.loads(  # type: ignore[no-any-return]
        data.decode("utf-8"),
        object_pairs_hook=_unique,
        parse_int=_whole_number,
        parse_constant=_refuse_constant,
    )


def decode_canonical(data: bytes) -> JsonValue:
    """Decode one canonical line and refuse any other spelling of the same value.

    Raises:
        ValueError: The bytes are not exactly `encode_line` of what they say.
    """
    value = decode(data)
    if encode_line(value) != data:
        raise ValueError("the bytes are JSON, but not in canonical form")
    return value


def _whole_number(text: str) -> int | float:
    value = int(text)
    return value if abs(value) <= INTEGER_LIMIT else float(text)


def _refuse_constant(name: str) -> float:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice in one JSON object")
    return dict(pairs)
