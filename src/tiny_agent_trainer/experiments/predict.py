# SPDX-License-Identifier: Apache-2.0
"""What the network of a finished run says of images that it has not seen."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import FolderOptions
from tiny_agent_trainer.experiments import load, sameness
from tiny_agent_trainer.experiments import prepare as parts_of
from tiny_agent_trainer.reports import predictions_csv
from tiny_agent_trainer.tokenizer import cropping, samples
from tiny_agent_trainer.tokenizer.images import folder as images_folder
from tiny_agent_trainer.tokenizer.images.image import Image
from tiny_agent_trainer.tokenizer.preparation import prepare
from tiny_agent_trainer.training import arithmetics
from tiny_agent_trainer.validator import views
from tiny_agent_trainer.validator.predictions import Predictions

Images: TypeAlias = npt.NDArray[np.integer]

Named: TypeAlias = tuple[str, Callable[[], Image]]
"""An image by the path that the user gave, and how to decode it."""

_ENDINGS: Final = {
    "image_folder": (".png", ".jpg", ".jpeg"),
    "phantom": (".npy", ".png"),
    "medmnist": (".npy", ".png"),
}
"""What a run without DICOM takes."""


def predict(
    run: Path, inputs: Sequence[Path], progress: samples.Progress = samples.silent
) -> bytes:
    """Predict files and folders.

    Args:
        run: A finished run.
        inputs: Images, folders of images, and folders of series, as the run's reader takes them.
        progress: Told how far it is.

    Returns:
        CSV (`reports.predictions_csv.encode_answers`), one line per image, named by its path as
        it was given. No other name of a file's content is read out.

    Raises:
        IntegrityError, CheckpointError: The run was changed, or has no best checkpoint.
        PlatformError: What is installed would make another input or answer; says what differs.
        DatasetMissingError, DatasetError: An input is absent, unreadable or of another form.

    Guarantees:
        An image's line does not depend on what else is predicted: in native arithmetic every image
        is computed alone; exact arithmetic has no such dependence.
    """
    loaded = load.load(run)
    sameness.require_same(run, loaded)
    named = _list(inputs, loaded, progress)
    size = 1 if loaded.config.engine.is_native else loaded.config.validator.batch_size
    loss = parts_of.build_loss_of(
        loaded.config, loaded.task, loaded.training_labels, len(loaded.classes)
    )
    arithmetic = arithmetics.build_arithmetic(loaded.config.engine, parts_of.ALONE)
    answers = []
    for start in range(0, len(named), size):
        for part in _of_equal_views(
            [_prepared(one, loaded) for one in named[start : start + size]]
        ):
            tokens = torch.from_numpy(loaded.tokenizer.encode(np.concatenate(part)))
            with arithmetic.context(), torch.no_grad():
                logits = views.average(loaded.network(tokens), len(part[0]))
                answers.append(loss.probabilities(logits).numpy())
        progress("predicting", min(start + size, len(named)), len(named))
    return _encode([name for name, _ in named], np.concatenate(answers), loaded)


def _list(
    inputs: Sequence[Path], loaded: load.LoadedRun, progress: samples.Progress
) -> list[Named]:
    found = dict(named for path in inputs for named in _images_of(path, loaded, progress))
    if not found:
        raise errors.DatasetError(
            where=", ".join(map(str, inputs)) or "predict",
            expected="images",
            found="none",
            remedy="name files or folders with images",
        )
    return list(found.items())


def _images_of(path: Path, loaded: load.LoadedRun, progress: samples.Progress) -> Iterator[Named]:
    options = loaded.config.data
    images = parts_of.images_options(loaded.config)
    if not path.is_dir():
        _require_ending(path, options.reader)
        yield str(path), lambda: images_folder.read_path(path, images)
        return
    listing = images_folder.list_folder(path, images, progress)
    is_strict = not isinstance(options, FolderOptions) or options.on_refused == "refuse"
    if listing.refusals and is_strict:
        shown = "; ".join(f"{one.key}: {one.reason}" for one in listing.refusals[:20])
        raise errors.DatasetError(
            where=str(path),
            expected="files that can all be used",
            found=f"{len(listing.refusals)} that cannot: {shown}",
            remedy="mend or remove them, or name the others one by one",
        )
    for item in listing.items:
        _require_ending(Path(item.key), options.reader)
        yield str(path / item.key), item.read


def _require_ending(path: Path, reader: str) -> None:
    endings = _ENDINGS.get(reader)
    if endings and not path.name.lower().endswith(endings):
        raise errors.DatasetError(
            where=str(path),
            expected=f"an image for a run of the reader {reader}: {', '.join(endings)}",
            found=path.suffix or "no ending",
            remedy="name images of that kind",
        )


def _of_equal_views(images: Sequence[Images]) -> Iterator[list[Images]]:
    """Neighbours that are looked at by equally many patches."""
    for _, group in itertools.groupby(images, key=len):
        yield list(group)


def _prepared(named: Named, loaded: load.LoadedRun) -> Images:
    """An image as the run's tokenizer takes it, (views, channels, *spatial).

    Raises:
        DatasetError: Its shape or type is another than that of the training images.
    """
    name, read = named
    image = read()
    sameness.require_decoder(name, image.decoder, loaded)
    prepared = prepare.prepare(image, loaded.config.tokenizer, name)
    tokenizer, patches = loaded.tokenizer, loaded.config.tokenizer.patches
    if patches.size:
        is_grid = cropping.count_views(prepared.shape, patches) > 1
        cut = cropping.grid_crops if is_grid else cropping.centre_crops
        images = cut(prepared[np.newaxis], np.zeros(1, np.int64), patches)
    else:
        images = prepared[np.newaxis]
    if images.shape[1:] != tokenizer.shape or images.dtype != tokenizer.dtype:
        raise errors.DatasetError(
            where=name,
            expected=f"an image that is prepared to shape {tokenizer.shape} and type "
            f"{tokenizer.dtype}, as those of the training",
            found=f"shape {images.shape[1:]} and type {images.dtype}",
            remedy="name images of the kind that the run was trained on",
        )
    return images


def _encode(
    names: Sequence[str], probabilities: npt.NDArray[np.float32], loaded: load.LoadedRun
) -> bytes:
    count, width = probabilities.shape
    is_wide = loaded.task == "multilabel"
    said = Predictions(
        samples=np.arange(count),
        patients=np.arange(count),
        labels=np.zeros(
            (count, width) if is_wide else count,
            np.float32 if loaded.task == "regression" else np.int64,
        ),
        probabilities=probabilities,
        losses=np.zeros(count, np.float32),
        classes=loaded.classes,
        task=loaded.task,
    )
    if loaded.task == "regression":
        called, shown = probabilities[:, 0].tolist(), np.zeros((count, 0)).tolist()
    else:
        called = said.called.astype(np.int64).tolist() if is_wide else said.called_class.tolist()
        shown = probabilities.tolist()
    return predictions_csv.encode_answers(
        files=names, called=called, probabilities=shown, classes=loaded.classes, task=loaded.task
    )
