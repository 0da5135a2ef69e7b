# SPDX-License-Identifier: Apache-2.0
"""The Merkle tree against the published vectors of Certificate Transparency.

Not tested here: growth against the definition for random leaves (tests/property).
"""

import hashlib

import pytest

from tiny_agent_trainer.meta import merkle

# Leaves and roots of the reference implementation of RFC 6962 (certificate-transparency,
# merkle_tree_test.cc), root number n over the first n leaves.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def test_the_published_roots():
    tree = merkle.Tree()
    assert tree.root() == merkle.root_of([]) == hashlib.sha256(b"").digest()
    for size, (leaf, root) in enumerate(zip(LEAVES, ROOTS, strict=True), 1):
        tree.append(leaf)
        assert tree.num_leaves == size
        assert tree.root().hex() == root
        assert merkle.root_of([merkle.leaf_hash(it) for it in LEAVES[:size]]).hex() == root


def test_a_published_path():
    """PATH(0, D[8]) of the same vectors."""
    proof = merkle.inclusion_proof([merkle.leaf_hash(leaf) for leaf in LEAVES], 0)
    assert [node.hex() for node in proof] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


def test_memory_grows_with_the_logarithm():
    tree = merkle.Tree()
    for number in range(1023):
        tree.append(number.to_bytes(4, "big"))
    assert len(tree._roots) == 10


def test_a_proof_shows_only_its_own_leaf():
    leaves = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    proof, root = merkle.inclusion_proof(leaves, 5), merkle.root_of(leaves)
    assert merkle.is_included(leaves[5], 5, 8, proof, root)
    assert not merkle.is_included(leaves[4], 5, 8, proof, root)
    assert not merkle.is_included(leaves[5], 5, 8, (*proof[:2], bytes(32)), root)
    assert not merkle.is_included(leaves[5], 8, 8, proof, root)
    assert not merkle.is_included(leaves[5], 0, 0, (), root)


@pytest.mark.parametrize("index", [-1, 8])
def test_there_is_no_proof_without_a_leaf(index):
    with pytest.raises(IndexError):
        merkle.inclusion_proof([bytes(32)] * 8, index)
