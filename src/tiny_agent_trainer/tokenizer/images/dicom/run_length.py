# SPDX-License-Identifier: Apache-2.0
"""The runs of a run-length coded frame, counted before its decoder sees them.

The decoder panics, and writes so to the standard error, at runs that lead out of a frame.

Source: PS3.5 Annex G: a header of 16 integers, then segments of PackBits, one for each byte of a
pixel's samples.
"""

import itertools
import struct
from typing import Final

from tiny_agent_trainer.tokenizer.images import refusing

_HEADER_BYTES: Final = 64
_MOST_SEGMENTS: Final = 15


def require_runs(frame: bytes, pixels: int, key: str) -> None:
    """Refuse a frame with a segment whose runs are not those of so many pixels.

    What a header says wrongly is left to the decoder, which refuses it in words.

    Raises:
        DatasetError: Runs end early, lead over the end, or go on behind it with more than zeros.
    """
    bounds = _bounds(frame)
    for number, (start, stop) in enumerate(itertools.pairwise(bounds), start=1):
        found = _count(frame, start, stop, pixels)
        if found != pixels:
            where = f"{key}, segment {number} of a run-length coded frame"
            raise refusing.refusal(where, f"{pixels} values", f"runs of {found} or more")


def _bounds(frame: bytes) -> tuple[int, ...]:
    """Where segments begin and the last one ends; () where the header cannot be right."""
    if len(frame) < _HEADER_BYTES:
        return ()
    count, *offsets = struct.unpack_from("<16I", frame)
    bounds = (*offsets[:count], len(frame))
    is_ascending = all(one < other for one, other in itertools.pairwise(bounds))
    is_sound = 1 <= count <= _MOST_SEGMENTS and is_ascending and bounds[0] == _HEADER_BYTES
    return bounds if is_sound else ()


def _count(frame: bytes, place: int, stop: int, pixels: int) -> int:
    """Values of the runs of a segment; counting ends soon after too many."""
    values = 0
    while place < stop and values < pixels:
        length = frame[place]
        if length < 128:
            values += length + 1
            place += length + 2
        elif length > 128:
            values += 257 - length
            place += 2
        else:
            place += 1
    is_cut = place > stop
    has_more = any(frame[place:stop])
    return values - is_cut + has_more
