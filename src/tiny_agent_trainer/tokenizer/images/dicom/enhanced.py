# SPDX-License-Identifier: Apache-2.0
"""Where a frame's attributes stand: in its functional groups, in the shared ones, or at the top.

Source: PS3.3 C.7.6.16, multi-frame functional groups. A macro of the frame goes before a shared
one; a classic single-frame file has its attributes at the top.
"""

import dataclasses
from typing import Final

import pydicom

from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.dicom import tags

FRAME_LIMIT: Final = 1 << 16
"""Frames of one file; whole-heart and whole-brain acquisitions have some thousands."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """The datasets that describe one frame, the most special first."""

    dataset: pydicom.Dataset
    groups: tuple[pydicom.Dataset, ...]
    key: str

    def macro(self, sequence: str) -> pydicom.Dataset:
        """The item of a macro, such as "PixelMeasuresSequence"; the file itself without one."""
        for group in self.groups:
            found = tags.items(group, sequence, self.key)
            if found:
                return found[0]
        return self.dataset


def count_frames(dataset: pydicom.Dataset, key: str) -> int:
    """How many frames a file says it has; 1 when it does not say.

    Raises:
        DatasetError: None, or more than `FRAME_LIMIT`.
    """
    count = tags.integer(dataset, "NumberOfFrames", key, default=1)
    if not 1 <= count <= FRAME_LIMIT:
        where = f"{key}, {tags.named('NumberOfFrames')}"
        raise refusing.refusal(where, f"between 1 and {FRAME_LIMIT} frames", f"{count}")
    return count


def frames_of(dataset: pydicom.Dataset, key: str) -> tuple[Frame, ...]:
    """Every frame of a file, in stored order.

    Raises:
        DatasetError: The number of per-frame groups is not the number of frames.
    """
    count = count_frames(dataset, key)
    shared = tags.items(dataset, "SharedFunctionalGroupsSequence", key)[:1]
    special = tags.items(dataset, "PerFrameFunctionalGroupsSequence", key)
    if special and len(special) != count:
        found = f"{len(special)} per-frame functional groups"
        raise refusing.refusal(key, f"{count} frames, each with its group", found)
    if not special:
        return tuple(Frame(dataset, shared, key) for _ in range(count))
    return tuple(Frame(dataset, (group, *shared), key) for group in special)
