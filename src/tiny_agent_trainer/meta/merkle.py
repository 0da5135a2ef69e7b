# SPDX-License-Identifier: Apache-2.0
"""The Merkle tree of RFC 6962: one root for all records, and short proofs that one belongs.

A leaf is SHA-256(0x00 || data), a node SHA-256(0x01 || left || right), so that neither can stand
for the other.

Source:
    RFC 6962, section 2.1; the check of a proof follows RFC 9162, section 2.1.3.2.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""


class Tree:
    """A tree that grows leaf by leaf and keeps only the roots of its full subtrees.

    Guarantees:
        Memory grows with the logarithm of the number of leaves; `append` costs two hashes on
        average; `root` is that of `root_of` over the same leaves (tested against its definition).
    """

    __slots__ = ("_roots", "num_leaves")

    def __init__(self) -> None:
        self._roots: list[bytes] = []  # of full subtrees, from the left, the largest first
        self.num_leaves = 0

    def append(self, data: bytes) -> None:
        """Add a leaf at the right."""
        node = leaf_hash(data)
        size = self.num_leaves
        while size & 1:
            node = _node_hash(self._roots.pop(), node)
            size >>= 1
        self._roots.append(node)
        self.num_leaves += 1

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._roots:
            return EMPTY_ROOT
        node = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            node = _node_hash(left, node)
        return node


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf."""
    return hashlib.sha256(b"\0" + data).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, by the definition MTH of RFC 6962."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _node_hash(root_of(leaves[:split]), root_of(leaves[split:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The hashes that lead from the leaf at `index` to the root, the lowest first.

    Args:
        leaves: All leaf hashes in order.
        index: Which leaf is to be proven.

    Raises:
        IndexError: There is no such leaf.
    """
    if not 0 <= index < len(leaves):
        message = f"leaf {index} of a tree with {len(leaves)}"
        raise IndexError(message)
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*inclusion_proof(leaves[:split], index), root_of(leaves[split:]))
    return (*inclusion_proof(leaves[split:], index - split), root_of(leaves[:split]))


def is_included(
    leaf: bytes, index: int, num_leaves: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Whether the proof shows that `leaf` (a leaf hash) stands at `index` under `root`."""
    if not 0 <= index < num_leaves:
        return False
    node, place, last = leaf, index, num_leaves - 1
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = _node_hash(sibling, node)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            node = _node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two below `size` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1
