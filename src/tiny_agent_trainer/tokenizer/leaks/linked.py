# SPDX-License-Identifier: Apache-2.0
"""Patients who share equal or nearly equal images, to be kept in one split.

What `find.find_leaks` would call a leak between splits joins patients here, whatever their splits
will be; so a division of the joined has no such leak. Joining is transitive: one link more may join
two large groups.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from tiny_agent_trainer.tokenizer.leaks import near
from tiny_agent_trainer.tokenizer.samples import Fingerprint


@dataclasses.dataclass(frozen=True, slots=True)
class Links:
    """Which patients belong together.

    Attributes:
        units: The first name, by bytes, among those that a patient is joined with; of every
            patient. One without a link is a unit of its own.
    """

    units: Mapping[str, str]

    @property
    def joined(self) -> frozenset[str]:
        """Patients who are joined with another one."""
        sizes = collections.Counter(self.units.values())
        return frozenset(name for name, unit in self.units.items() if sizes[unit] > 1)

    def remarks(self) -> tuple[str, ...]:
        """What a report must say, as sentences without names."""
        joined = self.joined
        if not joined:
            return ()
        count = len({self.units[name] for name in joined})
        return (
            f"{len(joined)} patients share equal or nearly equal images with others; each of their "
            f"{count} groups was kept in one split (keep_linked).",
        )


def link(patients: Sequence[str], marks: Sequence[Fingerprint]) -> Links:
    """Join patients by their images.

    Args:
        patients: One per image.
        marks: What tells the images apart, in the same order.

    Guarantees:
        The order of images has no influence.
    """
    parents = {name: name for name in patients}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    by_pixels: dict[str, list[int]] = collections.defaultdict(list)
    for index, mark in enumerate(marks):
        by_pixels[mark.pixels].append(index)
    for members in (*by_pixels.values(), *near.find_all_groups([mark.looks for mark in marks])):
        for member in members[1:]:
            one, other = root(patients[members[0]]), root(patients[member])
            low, high = sorted((one, other), key=str.encode)
            parents[high] = low
    return Links({name: root(name) for name in parents})


def unlinked(patients: Sequence[str]) -> Links:
    """Every patient alone."""
    return Links({name: name for name in patients})
