# SPDX-License-Identifier: Apache-2.0
"""A folder of PNG and JPEG files: classes by folder (`[split/]class/file`), or by a CSV."""

import collections
import csv
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tiny_agent_trainer import digests, errors
from tiny_agent_trainer.config.data import ImageFolderOptions
from tiny_agent_trainer.config.splits import SplitOptions
from tiny_agent_trainer.tokenizer import places, samples
from tiny_agent_trainer.tokenizer.images import raster
from tiny_agent_trainer.tokenizer.leaks import fingerprints, linked
from tiny_agent_trainer.tokenizer.splits import fractions

_ENDINGS = {".png", ".jpg", ".jpeg"}
_LIKE_SPLITS = {"training", "testing", "validation", "valid", "dev", "holdout"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One image to be read, as the folders or the CSV describe it."""

    path: str
    label: str
    patient: str
    split: str


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFolderReader:
    """Reader of a folder of images."""

    options: ImageFolderOptions
    progress: samples.Progress = samples.silent

    def read(self) -> samples.Dataset:
        """List, check and decode every image.

        Raises:
            DatasetMissingError: The folder or the CSV is not here.
            DatasetError: No image, an unreadable image, a path that leaves the folder, a row
                without its file, an unknown split; all rows that are wrong are listed.
        """
        root = places.require_root(self.options.root)
        rows = list(
            self._rows_of_table(root, self._read_labels(root))
            if self.options.labels
            else _rows_of_folders(root)
        )
        _require_rows(rows, root)
        classes = tuple(sorted({row.label for row in rows}, key=str.encode))
        images, files = [], self._label_files(root)
        for done, row in enumerate(rows, start=1):
            image, file = _read_image(root, row.path)
            images.append(image)
            files.append(file)
            self.progress("reading images", done, len(rows))
        links = self._links(rows, images)
        splits = self._splits(rows, links)
        return samples.Dataset(
            name="image_folder",
            task="multiclass",
            classes=classes,
            dims=2,
            samples=[
                samples.Sample(
                    key=row.path,
                    patient=row.patient,
                    label=(classes.index(row.label),),
                    split=splits[row.path],
                )
                for row in rows
            ],
            images=images,
            files=tuple(files),
            remarks=links.remarks(),
            names_are_private=True,
        )

    def _label_files(self, root: Path) -> list[samples.SourceFile]:
        """The CSV with the labels, which is an input like any image."""
        if not self.options.labels:
            return []
        data = (root / self.options.labels).read_bytes()
        sha256 = digests.sha256_hex(data)
        return [samples.SourceFile(path=self.options.labels, size_bytes=len(data), sha256=sha256)]

    def _read_labels(self, root: Path) -> list[dict[str, str]]:
        path = _inside(root, self.options.labels)
        if not path.is_file():
            raise errors.DatasetMissingError(
                where="[data] labels",
                expected=f"a CSV file {self.options.labels} in {root}",
                found="no such file",
                remedy="correct `labels`, or leave it out to take classes from folders",
            )
        try:
            reader = csv.DictReader(io.StringIO(path.read_text("utf-8-sig")), strict=True)
            rows = list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise _damaged(path, "a CSV file in UTF-8", str(error)) from error
        named = [self.options.file_column, self.options.label_column]
        named += [c for c in (self.options.patient_column, self.options.split_column) if c]
        missing = [column for column in named if column not in (reader.fieldnames or ())]
        if missing:
            found = f"no {', '.join(missing)} among {', '.join(reader.fieldnames or ())}"
            raise _damaged(path, f"columns {', '.join(named)}", found)
        return rows

    def _rows_of_table(self, root: Path, table: list[dict[str, str]]) -> Iterator[_Row]:
        faults = []
        for number, line in enumerate(table, start=2):
            path = line[self.options.file_column] or ""
            row = _Row(
                path=PurePosixPath(path).as_posix(),
                label=line[self.options.label_column] or "",
                patient=_cell(line, self.options.patient_column) or path,
                split=_cell(line, self.options.split_column),
            )
            fault = self._fault(root, row, path, line)
            if fault:
                faults.append(f"line {number}: {fault}")
            else:
                yield row
        if faults:
            listed = "; ".join(faults[:20]) + (" ..." if len(faults) > 20 else "")
            raise _damaged(
                root / self.options.labels, "whole lines with files inside the root", listed
            )

    def _fault(self, root: Path, row: _Row, path: str, line: Mapping[str, str]) -> str:
        """What is wrong with a line of the table; "" if nothing is."""
        if not path or not _is_file(root, path):
            return f"no file {path!r}"
        if ".." in path.split("/"):
            return f"{path!r} goes up again; write the plain path"
        if not row.label:
            return "no label"
        if self.options.patient_column and not _cell(line, self.options.patient_column):
            return "no patient; give every line one, or leave patient_column out"
        return ""

    def _links(self, rows: list[_Row], images: Sequence[samples.StoredArray]) -> linked.Links:
        patients = [row.patient for row in rows]
        if not self.options.split.keep_linked or any(row.split for row in rows):
            return linked.unlinked(patients)
        return linked.link(patients, list(fingerprints.take_all(images)))

    def _splits(self, rows: list[_Row], links: linked.Links) -> Mapping[str, samples.Split]:
        if any(row.split for row in rows):
            return {row.path: _split_named(row) for row in rows}
        units = [links.units[row.patient] for row in rows]
        chosen = divide(units, [row.label for row in rows], self.options.split)
        return {row.path: chosen[unit] for row, unit in zip(rows, units, strict=True)}


def divide(
    patients: Sequence[str], labels: Sequence[str], options: SplitOptions
) -> Mapping[str, samples.Split]:
    """The split of every patient; patients are alike whose last class, by bytes, is the same.

    Raises:
        DatasetError: A split would hold no patient.
    """
    stratum: dict[str, str] = {}
    for patient, label in zip(patients, labels, strict=True):
        stratum[patient] = max(stratum.get(patient, label), label)
    names = sorted(set(stratum.values()), key=str.encode)
    strata = [names.index(name) for name in stratum.values()]
    return fractions.split_patients(list(stratum), strata, options)


def _cell(line: Mapping[str, str], column: str) -> str:
    """What stands in a column; "" when the configuration names none."""
    return (line.get(column) or "") if column else ""


def _rows_of_folders(root: Path) -> Iterator[_Row]:
    _require_known_splits(root)
    paths = (path.relative_to(root) for path in root.rglob("*"))
    wanted = [path for path in paths if path.suffix.lower() in _ENDINGS and not _is_hidden(path)]
    for path in sorted(wanted, key=lambda path: os.fsencode(path.as_posix())):
        parts = path.parts
        has_split = len(parts) >= 3 and parts[0] in samples.SPLITS
        if len(parts) < 2:
            message = f"{parts[0]} directly in the folder"
            raise _damaged(root, "images in one folder per class", message)
        _inside(root, "/".join(parts))
        yield _Row(
            path="/".join(parts),
            label=parts[1] if has_split else parts[0],
            patient="/".join(parts),
            split=parts[0] if has_split else "",
        )


def _is_hidden(path: Path) -> bool:
    """Whether a file or one of its folders is hidden, such as thumbnails and notebooks' copies."""
    return any(part.startswith(".") for part in path.parts)


def _require_known_splits(root: Path) -> None:
    """Refuse folders that look like splits but are not called as splits are called here."""
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    alike = sorted(name for name in folders if name.lower() in _LIKE_SPLITS)
    if alike:
        raise _damaged(
            root,
            "split folders called train, val and test",
            f"{', '.join(alike)}, which would be taken for classes",
        )


def _is_file(root: Path, relative: str) -> bool:
    """Whether there is such a file inside the root; a path that no file can have is none."""
    try:
        return _inside(root, relative).is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _split_named(row: _Row) -> samples.Split:
    for split in samples.SPLITS:
        if row.split == split:
            return split
    raise errors.DatasetError(
        where=row.path,
        expected="train, val or test",
        found=f"split {row.split!r}",
        remedy="correct the split column, or leave it out to divide by [data.split]",
    )


def _require_rows(rows: list[_Row], root: Path) -> None:
    if not rows:
        raise _damaged(root, "PNG or JPEG images", "none")
    counts = collections.Counter(row.path for row in rows)
    twice = sorted(path for path, count in counts.items() if count > 1)
    if twice:
        raise _damaged(root, "every image once", f"more than once: {', '.join(twice[:20])}")


def _inside(root: Path, relative: str) -> Path:
    """The path, unless it leads out of the root, by `..`, an absolute path or a link."""
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise _damaged(root, "paths inside the data root", f"{relative!r}, which leads out of it")
    return path


def _read_image(root: Path, relative: str) -> tuple[samples.StoredArray, samples.SourceFile]:
    path = root / relative
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(path, "a whole PNG or JPEG image", str(error)) from error
    pixels = raster.decode(data, str(path), ("PNG", "JPEG"))
    sha256 = digests.sha256_hex(data)
    return pixels, samples.SourceFile(path=relative, size_bytes=len(data), sha256=sha256)


def _damaged(path: Path, expected: str, found: str) -> errors.DatasetError:
    return errors.DatasetError(
        where=str(path),
        expected=expected,
        found=found,
        remedy="mend or remove what is named here, then run again",
    )
