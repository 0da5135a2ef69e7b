# SPDX-License-Identifier: Apache-2.0
"""The first configuration as TOML, with the reasons of its choices as comments."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiny_agent_trainer import canonical
from tiny_agent_trainer.config.splits import SplitOptions

_EDGE_2D: Final = 64
_EDGE_3D: Final = 32
_BATCH_SIZES: Final = (32, 16, 8, 4)
_EPOCHS: Final = 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the configuration says.

    Attributes:
        data: Keys of `[data]`.
        labels: Keys of `[data.labels]`; empty where folders are classes.
        split: Keys of `[data.split]`; empty where the data come divided.
        shapes: Of the stored images, channels last.
        task: Kind of labels.
        is_ranked: Whether AUROC is defined on the validation split.
        num_training: Samples of the training split.
        reasons: What was chosen and why.
    """

    data: Mapping[str, Any]
    labels: Mapping[str, Any]
    split: Mapping[str, Any]
    shapes: Sequence[tuple[int, ...]]
    task: str
    is_ranked: bool
    num_training: int
    reasons: Sequence[str]


def encode(content: Content) -> bytes:
    """The TOML file; `config.trainer_config` reads it back."""
    lines = ["# Written by `tiny-agent-trainer init`. What was chosen, and why:"]
    lines += [f"# - {' '.join(reason.split())}" for reason in content.reasons]
    lines += ["", *_engine(content), "", *_table("data", content.data)]
    if content.labels:
        lines += ["", *_table("data.labels", content.labels)]
    if content.split:
        note = "# By patient: no patient stands in two splits. Another seed is another division."
        lines += ["", note, *_table("data.split", content.split)]
    lines += ["", *_tokenizer(content), *_model(content), *_selection(content)]
    return ("\n".join(lines) + "\n").encode()


def split_keys(options: SplitOptions) -> dict[str, Any]:
    """Keys of `[data.split]` for a division by fractions."""
    return {
        "seed": options.seed,
        "validation_fraction": options.validation_fraction,
        "test_fraction": options.test_fraction,
    }


def _engine(content: Content) -> Iterator[str]:
    batch_size = _batch_size(content.num_training)
    yield "[engine]"
    yield "base_seed = 0"
    yield f"epochs = {_EPOCHS}"
    yield f"batch_size = {batch_size}"
    yield "# The same bits on every machine; `native` is PyTorch's own arithmetic."
    yield 'arithmetic = "exact"'


def _batch_size(count: int) -> int:
    """At least eight steps in an epoch, and no last batch of one sample, which has no variance."""
    fitting = [size for size in _BATCH_SIZES if 8 * size <= count and count % size != 1]
    return fitting[0] if fitting else 3 if count % 2 else 2


def _tokenizer(content: Content) -> Iterator[str]:
    shapes = set(content.shapes)
    dims = len(content.shapes[0]) - 1
    edge = _EDGE_2D if dims == 2 else _EDGE_3D
    spatial = {shape[:-1] for shape in shapes}
    is_small = len(spatial) == 1 and max(next(iter(spatial))) <= edge
    wants_gray = len({shape[-1] for shape in shapes}) > 1
    if is_small and not wants_gray:
        return
    yield "[tokenizer]"
    if not is_small:
        yield "# Every edge is brought to this length; a larger one shows more and takes longer."
        yield f"resize = {edge}"
    if wants_gray:
        yield "# Gray and colour images stand side by side: all become gray."
        yield "channels = 1"
    yield ""


def _model(content: Content) -> Iterator[str]:
    dims = len(content.shapes[0]) - 1
    least = min(min(shape[:-1]) for shape in content.shapes)
    most_layers = max(1, min(least, _EDGE_2D if dims == 2 else _EDGE_3D).bit_length() - 2)
    yield "[model]"
    yield 'name = "cnn"'
    yield f"layers = {min(4 if dims == 2 else 3, most_layers)}"
    yield f"width = {16 if dims == 2 else 8}"
    yield ""


def _selection(content: Content) -> Iterator[str]:
    metric = "mae" if content.task == "regression" else "auroc" if content.is_ranked else "loss"
    loss = {"regression": "mean_squared_error", "multilabel": "binary_cross_entropy"}
    yield "[validator]"
    if metric == "loss":
        yield "# AUROC is undefined here: a finding is there in all validation images or in none."
    yield f'metric = "{metric}"'
    yield ""
    yield "[optimizer.loss]"
    yield f'name = "{loss.get(content.task, "cross_entropy")}"'


def _table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in values.items():
        yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:  # noqa: ANN401
    """JSON is TOML for strings, booleans, numbers and lists of them, but for one character."""
    return canonical.encode(value).decode().replace("\x7f", "\\u007f")
