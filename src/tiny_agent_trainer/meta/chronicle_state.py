# SPDX-License-Identifier: Apache-2.0
"""What a ledger is after so many frames: the state that the writer and the reader share.

The writer asks it which SEAL comes next and writes that; the reader asks the same and compares.
So a SEAL has no freedom at all, and both sides cannot drift apart.
"""

import hashlib
from typing import Final

from tiny_agent_trainer.meta import frames, merkle, record_codec, records

MAX_SEGMENT_RECORDS: Final = 64
"""Records between two SEALs; more would make a range read decode more than it returns [C-14]."""

CHAIN_START: Final = hashlib.sha256(frames.HEADER).digest()
"""The chain's value before the first frame [C-12]."""


def next_chain(chain: bytes, kind: frames.FrameType, body: bytes) -> bytes:
    """The chain's value behind one more frame: SHA-256(0x02 || chain || type || body) [C-12]."""
    return hashlib.sha256(b"".join((b"\x02", chain, _KIND_BYTE[kind], body))).digest()


_KIND_BYTE = {kind: bytes((kind,)) for kind in frames.FrameType}


class LedgerState:
    """The running state of a ledger, from GENESIS on.

    Args:
        genesis: What GENESIS says.
    """

    def __init__(self, genesis: records.Genesis) -> None:
        self.genesis = genesis
        self.codec = record_codec.CycleCodec(genesis.metrics)
        self.tree = merkle.Tree()
        self.chain = next_chain(
            CHAIN_START, frames.FrameType.GENESIS, record_codec.encode_genesis(genesis)
        )
        self.seal_offset_bytes = 0
        self.num_pending = 0
        self.pending_epoch = 0
        self._first_step = 0
        self._last_step = 0

    @property
    def num_records(self) -> int:
        """How many cycle and state records there were."""
        return self.tree.num_leaves

    @property
    def is_sealed(self) -> bool:
        """Whether the last frame was a SEAL; then no other SEAL may follow [C-14]."""
        return self.num_pending == 0 and self.seal_offset_bytes > 0

    def must_seal_before(self, epoch: int) -> bool:
        """Whether a SEAL has to stand before a record of this epoch [C-14]."""
        return self.num_pending > 0 and (
            epoch != self.pending_epoch or self.num_pending >= MAX_SEGMENT_RECORDS
        )

    def require_fit(self, record: records.Record) -> None:
        """Require what `encode` requires, without going on; raises what `encode` raises."""
        if isinstance(record, records.CycleRecord):
            self.codec.require_fit(record)
        else:
            record_codec.encode_state(record)

    def encode(self, record: records.Record) -> tuple[frames.FrameType, bytes]:
        """The frame type and body of a record that comes next."""
        if isinstance(record, records.CycleRecord):
            return frames.FrameType.CYCLE, self.codec.encode(record)
        return frames.FrameType.STATE, record_codec.encode_state(record)

    def absorb_record(self, kind: frames.FrameType, body: bytes, position: tuple[int, int]) -> None:
        """Go on by one record at `position` (step, epoch)."""
        step, self.pending_epoch = position
        if self.num_pending == 0:
            self._first_step = self._last_step = step
        elif step < self._first_step:
            self._first_step = step
        elif step > self._last_step:
            self._last_step = step
        self.num_pending += 1
        self.tree.append(_KIND_BYTE[kind] + body)
        self.chain = next_chain(self.chain, kind, body)

    def next_seal(self) -> record_codec.Seal:
        """The SEAL that has to stand here, if one stands here."""
        return record_codec.Seal(
            num_records=self.num_records,
            previous_offset_bytes=self.seal_offset_bytes,
            first_step=self._first_step,
            last_step=self._last_step,
            chain=self.chain,
            root=self.tree.root(),
        )

    def absorb_seal(self, offset_bytes: int) -> records.SealMark:
        """Go on by the SEAL of `next_seal`, whose frame begins at `offset_bytes`."""
        body = self.next_seal().encode()
        self.chain = next_chain(self.chain, frames.FrameType.SEAL, body)
        self.seal_offset_bytes = offset_bytes
        self.num_pending = self._first_step = self._last_step = 0
        self.codec.restart()
        return records.SealMark(
            offset_bytes=offset_bytes + frames.OVERHEAD_BYTES + len(body),
            num_records=self.num_records,
            chain=self.chain.hex(),
        )

    def next_end(self, status: str) -> record_codec.End:
        """The END that has to stand here, if the run ended with this status."""
        return record_codec.End(status, self.seal_offset_bytes, self.tree.root())
