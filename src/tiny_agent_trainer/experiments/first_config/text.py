# SPDX-License-Identifier: Apache-2.0
"""The first configuration as TOML, with the reasons of its choices as comments."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiny_agent_trainer import canonical
from tiny_agent_trainer.config.splits import LinkedSplitOptions

_EDGE_2D: Final = 64
_EDGE_3D: Final = 32
_BATCH_SIZES: Final = (32, 16, 8, 4)
_EPOCHS: Final = 20
_LOSSES: Final = {
    "regression": "mean_squared_error", "multilabel": "binary_cross_entropy", "ordinal": "ordinal",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the configuration says.

    Attributes:
        data: Keys of `[data]`.
        images: Keys of `[data.images]`.
        labels: Keys of `[data.labels]`; empty where folders are classes.
        split: Keys of `[data.split]`; empty where the data come divided.
        shapes: Of the stored images, channels last.
        tokenizer: Keys of `[tokenizer]` that the images ask for, whatever their size.
        patches: Keys of `[tokenizer.patches]`; empty for whole images.
        task: Kind of labels.
        is_ranked: Whether AUROC is defined on the validation split.
        num_training: Samples of the training split.
        reasons: What was chosen and why.
    """

    data: Mapping[str, Any]
    images: Mapping[str, Any]
    labels: Mapping[str, Any]
    split: Mapping[str, Any]
    shapes: Sequence[tuple[int, ...]]
    tokenizer: Mapping[str, Any]
    patches: Mapping[str, Any]
    task: str
    is_ranked: bool
    num_training: int
    reasons: Sequence[str]


def encode(content: Content) -> bytes:
    """The TOML file; `config.trainer_config` reads it back."""
    lines = ["# Written by `tiny-agent-trainer init`. What was chosen, and why:"]
    lines += [f"# - {_printable(reason)}" for reason in content.reasons]
    lines += ["", *_engine(content), "", *_table("data", content.data)]
    if content.images:
        lines += ["", *_table("data.images", content.images)]
    if content.labels:
        lines += ["", *_table("data.labels", content.labels)]
    if content.split:
        note = "# By patient: no patient stands in two splits. Another seed is another division."
        lines += ["", note, *_table("data.split", content.split)]
    lines += ["", *_tokenizer(content), *_model(content), *_selection(content)]
    return ("\n".join(lines) + "\n").encode()


def _printable(reason: str) -> str:
    """One line; TOML forbids control characters even in comments."""
    words = " ".join(reason.split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def split_keys(options: LinkedSplitOptions) -> dict[str, Any]:
    """Keys of `[data.split]` for a division by fractions."""
    return {
        "seed": options.seed,
        "validation_fraction": options.validation_fraction,
        "test_fraction": options.test_fraction,
        **({"keep_linked": True} if options.keep_linked else {}),
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
    return fitting[0] if fitting else next(s for s in range(2, count + 2) if count % s != 1)


def _resize(content: Content) -> int:
    """The edge that images are brought to; 0 where all are of one small size."""
    if content.patches:
        return 0
    edge = _EDGE_2D if _is_flat(content) else _EDGE_3D
    spatial = {shape[:-1] for shape in content.shapes}
    return 0 if len(spatial) == 1 and max(next(iter(spatial))) <= edge else edge


def _is_flat(content: Content) -> bool:
    return len(content.shapes[0]) == 3


def _tokenizer(content: Content) -> Iterator[str]:
    resize = _resize(content)
    wants_gray = len({shape[-1] for shape in content.shapes}) > 1
    if not resize and not wants_gray and not content.tokenizer:
        return
    yield from _table("tokenizer", content.tokenizer)
    if resize:
        yield "# Every edge is brought to this length; a larger one shows more and takes longer."
        yield f"resize = {resize}"
    if wants_gray:
        yield "# Gray and colour images stand side by side: all become gray."
        yield "channels = 1"
    if content.patches:
        yield ""
        yield "# Half of the training patches hold a marked voxel; evaluation covers the image."
        yield from _table("tokenizer.patches", content.patches)
    yield ""


def _model(content: Content) -> Iterator[str]:
    """As deep as the smallest edge allows: every block after the first halves it."""
    shortest = content.patches.get("size") or [min(shape[:-1]) for shape in content.shapes]
    least = _resize(content) or min(shortest)
    most_layers, width = (4, 16) if _is_flat(content) else (3, 8)
    yield "[model]"
    yield 'name = "cnn"'
    yield f"layers = {max(1, min(most_layers, least.bit_length() - 2))}"
    yield f"width = {width}"
    yield ""


def _selection(content: Content) -> Iterator[str]:
    ranked = "auroc" if content.is_ranked else "loss"
    metric = {"regression": "mae", "ordinal": "quadratic_weighted_kappa"}.get(content.task, ranked)
    yield "[validator]"
    if metric == "loss":
        yield "# AUROC is undefined here: a finding is there in all validation images or in none."
    yield f'metric = "{metric}"'
    yield ""
    yield "[optimizer.loss]"
    yield f'name = "{_LOSSES.get(content.task, "cross_entropy")}"'


def _table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in values.items():
        yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:  # noqa: ANN401
    """JSON is TOML for strings, booleans, numbers and lists of them, but for one character."""
    return canonical.encode(value).decode().replace("\x7f", "\\u007f")
