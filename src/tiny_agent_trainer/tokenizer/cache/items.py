# SPDX-License-Identifier: Apache-2.0
"""The images of a folder, decoded and prepared once, then found again by their files' digests."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, overload, runtime_checkable

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import pixels, samples
from tiny_agent_trainer.tokenizer.cache import entry, keys, notes
from tiny_agent_trainer.tokenizer.cache.store import Store
from tiny_agent_trainer.tokenizer.images import sources
from tiny_agent_trainer.tokenizer.images.image import Image, Item
from tiny_agent_trainer.tokenizer.preparation import plan, prepare

PLANE_RATIO: Final = "plane_ratio"
"""The fact that every prepared image has, whatever a reader notes: `plan.Plan.plane_ratio`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Noter:
    """What a reader wants to remember of a decoded image.

    Attributes:
        name: Name and version; another one makes other keys.
        note: From the image to JSON values without paths, names or identifiers.
    """

    name: str
    note: Callable[[Image], entry.Facts]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An image that was looked at.

    Attributes:
        item: Where it comes from.
        key: What it is kept under.
        files: What it is read from.
        pixels: SHA-256 of its decoded pixels.
        facts: What was noted, and `PLANE_RATIO`.
    """

    item: Item
    key: str
    files: tuple[samples.SourceFile, ...]
    pixels: str
    facts: entry.Facts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Looker:
    """Looks at images, from the store where it can.

    Attributes:
        store: Where prepared images are kept; None to keep none.
        root: The folder.
        decoding: How its files are decoded.
        preparation: How its images are prepared.
        noter: What is remembered of them.
    """

    store: Store | None
    root: Path
    decoding: ImagesOptions
    preparation: TokenizerSection
    noter: Noter

    @property
    def making(self) -> str:
        """How all of these images are made: `keys.of_making`."""
        return keys.of_making(self.decoding, self.preparation, self.noter.name)

    def identify(self, item: Item, making: str) -> tuple[tuple[samples.SourceFile, ...], str]:
        """An image's files, digested unless they were when they were listed, and its key.

        Raises:
            DatasetError: A file cannot be read.
        """
        files = item.files or tuple(sources.digest(self.root, key)[1] for key in item.paths)
        return files, keys.of_image(files, making)

    def look_at(self, item: Item, files: tuple[samples.SourceFile, ...], key: str) -> Seen:
        """Decode and prepare an image that was identified, unless that was done before.

        Raises:
            DatasetError: It cannot be decoded or prepared, with the reason.
        """
        path = self.store.find(key, "entry") if self.store else None
        noted = entry.read_noted(path, key) if path else None
        if noted is None:
            made = self._make(item, key, files)
            noted = entry.Noted(pixels=made.pixels, facts=made.facts)
        return Seen(item=item, key=key, files=files, pixels=noted.pixels, facts=noted.facts)

    def fetch(self, seen: Seen) -> entry.Prepared:
        """A prepared image, decoded again if it is not kept or damaged.

        Raises:
            DatasetError: Its files are not any more what they were.
        """
        data = self.store.read(seen.key, "entry") if self.store else None
        kept = entry.decode(data, seen.key) if data else None
        if kept is not None and kept.pixels == seen.pixels:
            return kept
        return self._make(seen.item, seen.key, seen.files)

    def _make(self, item: Item, key: str, files: tuple[samples.SourceFile, ...]) -> entry.Prepared:
        image = item.read()
        _require_same(image.files, files, item.key)
        steps = plan.build_plan(image, self.preparation, item.key)
        made = entry.Prepared(
            pixels=pixels.digest_pixels(image.values),
            facts={**self.noter.note(image), PLANE_RATIO: steps.plane_ratio(image)},
            values=prepare.prepare(image, self.preparation, item.key),
        )
        if self.store:
            self.store.keep(key, "entry", entry.encode(key, made))
        return made


class Looks:
    """Looks at many images; one file holds what was noted of all of them.

    Args:
        looker: Knows how.
    """

    def __init__(self, looker: Looker) -> None:
        self._looker, self._making = looker, looker.making
        self._notes: notes.Notes | None = None

    def look(self, item: Item) -> Seen:
        """Digest an image's files; decode and prepare it unless it is noted or kept.

        Raises:
            DatasetError: It cannot be read, decoded or prepared, with the reason.
        """
        files, key = self._looker.identify(item, self._making)
        if self._notes is None:
            self._notes = notes.Notes(self._looker.store, keys.of_looks(key))
        noted: Any = self._notes.find(key)
        if noted is not None:
            pixels_of, facts = noted["pixels"], noted["facts"]
            return Seen(item=item, key=key, files=files, pixels=pixels_of, facts=facts)
        seen = self._looker.look_at(item, files, key)
        self._notes.note(key, {"pixels": seen.pixels, "facts": dict(seen.facts)})
        return seen

    def close(self) -> None:
        """Keep what is new."""
        if self._notes is not None:
            self._notes.close()


class PreparedImages(Sequence[entry.Prepared]):
    """Images that are fetched when they are asked for, and not held.

    Args:
        looker: Knows how.
        seen: Which images.
    """

    def __init__(self, looker: Looker, seen: Sequence[Seen]) -> None:
        self._looker, self._seen = looker, seen

    @property
    def keys(self) -> tuple[str, ...]:
        """What each of them is kept under."""
        return tuple(seen.key for seen in self._seen)

    def require_prepared_by(self, options: TokenizerSection) -> None:
        """Refuse to be taken for images that other options prepared.

        Raises:
            ValueError: Their reader was not told these options (`PreparingReader`).
        """
        if keys.of_preparation(self._looker.preparation) != keys.of_preparation(options):
            raise ValueError("the reader prepared its images by other options")

    def __len__(self) -> int:
        return len(self._seen)

    @overload
    def __getitem__(self, index: int) -> entry.Prepared: ...
    @overload
    def __getitem__(self, index: slice) -> "PreparedImages": ...
    def __getitem__(self, index: int | slice) -> "entry.Prepared | PreparedImages":
        if isinstance(index, slice):
            return PreparedImages(self._looker, self._seen[index])
        return self._looker.fetch(self._seen[index])


@runtime_checkable
class PreparingReader(samples.Reader, Protocol):
    """A reader that prepares images when it looks at them, so that it decodes each only once."""

    def preparing(self, preparation: TokenizerSection, store: Store | None) -> samples.Reader:
        """The same reader, whose images are prepared by these options and kept in this store."""


def _require_same(
    found: Sequence[samples.SourceFile], expected: Sequence[samples.SourceFile], key: str
) -> None:
    if {file.sha256 for file in found} != {file.sha256 for file in expected}:
        raise errors.DatasetError(
            where=key,
            expected="the bytes that were digested before",
            found="other ones",
            remedy="leave the files alone while they are read, then run again",
        )
