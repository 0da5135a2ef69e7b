# SPDX-License-Identifier: Apache-2.0
"""Pairs of near hashes among many, without comparing all pairs.

Small hashes are cut into more bands than bits may differ, so that two near ones agree in a whole
band (pigeonhole): only hashes that share a band are compared.

Source:
    Manku, Jain and Das Sarma, Detecting near-duplicates for web crawling, WWW 2007, section 3.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.tokenizer.leaks import fingerprints

SMALL_LIMIT: Final = 7
"""Bits of 128 in which two small hashes may differ; one less than there are bands."""
LARGE_LIMIT: Final = 48
"""Bits of 512 in which two large hashes may differ; measured in docs/decisions/0013."""

_EVERYWHERE: Final = np.uint64(3)
"""The mask of what stands in more than one split, so that every pair counts."""

_BANDS: Final = SMALL_LIMIT + 1

_Indices = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]


def find_groups(looks: Sequence[bytes], splits: Sequence[int]) -> list[list[int]]:
    """Samples of different splits that look alike, as groups joined by near pairs.

    Args:
        looks: `Fingerprint.looks` of every sample; those without are left out.
        splits: The number of every sample's split, below 64.

    Returns:
        Indices, ascending in each group; groups by their first index.
    """
    groups = _group(looks, splits)
    return [group for group in groups if len({splits[index] for index in group}) > 1]


def find_all_groups(looks: Sequence[bytes]) -> list[list[int]]:
    """Samples that look alike, wherever they stand; as `find_groups`, with samples that are alone.

    Args:
        looks: `Fingerprint.looks` of every sample; those without are left out.
    """
    return _group(looks, None)


def _group(looks: Sequence[bytes], splits: Sequence[int] | None) -> list[list[int]]:
    """Groups joined by near pairs: by those of different splits, or by all where there are none."""
    with_looks = [index for index, hashed in enumerate(looks) if hashed]
    if not with_looks:
        return []
    rows = np.frombuffer(b"".join(looks[index] for index in with_looks), np.uint8)
    distinct, place = np.unique(rows.reshape(len(with_looks), -1), axis=0, return_inverse=True)
    place = place.reshape(-1)
    masks = np.full(len(distinct), _EVERYWHERE)
    if splits is not None:
        bits = np.uint64(1) << np.array([splits[index] for index in with_looks], np.uint64)
        masks = np.zeros(len(distinct), np.uint64)
        np.bitwise_or.at(masks, place, bits)
    joined = _join(len(distinct), _near_pairs(distinct, masks))
    groups: dict[int, list[int]] = {}
    for index, at in zip(with_looks, place.tolist(), strict=True):
        groups.setdefault(joined[at], []).append(index)
    return list(groups.values())


def _near_pairs(
    distinct: npt.NDArray[np.uint8], masks: _Words
) -> Iterator[tuple[_Indices, _Indices]]:
    """Pairs of rows that are near and do not stand in one and the same split."""
    small = np.ascontiguousarray(distinct[:, : fingerprints.SMALL_BYTES])
    large = np.ascontiguousarray(distinct[:, fingerprints.SMALL_BYTES :])
    for key in _bands(small):
        for one, other in _sharing(key):
            both = masks[one] | masks[other]
            pairs = np.stack([one, other])[:, (both & (both - np.uint64(1))) != 0]
            pairs = pairs[:, _distance(small, pairs) <= SMALL_LIMIT]
            pairs = pairs[:, _distance(large, pairs) <= LARGE_LIMIT]
            yield pairs[0], pairs[1]


def _bands(small: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint16]]:
    """One key of 16 bits per band; a band takes every eighth bit, far-apart cells of the image."""
    bits = np.unpackbits(small, axis=1)
    for band in range(_BANDS):
        yield np.packbits(bits[:, band::_BANDS], axis=1).view(np.uint16)[:, 0]


def _sharing(key: npt.NDArray[np.uint16]) -> Iterator[tuple[_Indices, _Indices]]:
    """Every pair of rows with equal keys: neighbours in the order of keys, next but one, ..."""
    order = np.argsort(key, kind="stable")
    falling = key[order]
    starts = np.arange(len(order))
    step = 1
    while True:
        starts = starts[starts + step < len(order)]
        starts = starts[falling[starts] == falling[starts + step]]
        if not len(starts):
            return
        yield order[starts], order[starts + step]
        step += 1


def _distance(hashes: npt.NDArray[np.uint8], pairs: _Indices) -> _Indices:
    words = hashes.view(np.uint64)
    counts: _Indices = np.bitwise_count(words[pairs[0]] ^ words[pairs[1]]).sum(
        axis=1, dtype=np.int64
    )
    return counts


def _join(count: int, pairs: Iterator[tuple[_Indices, _Indices]]) -> list[int]:
    """The smallest row that each row is joined with, directly or through others."""
    parents = list(range(count))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    for firsts, seconds in pairs:
        for first, second in zip(firsts.tolist(), seconds.tolist(), strict=True):
            low, high = sorted((root(first), root(second)))
            parents[high] = low
    return [root(row) for row in range(count)]
