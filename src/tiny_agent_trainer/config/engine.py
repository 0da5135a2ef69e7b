# SPDX-License-Identifier: Apache-2.0
"""`[engine]`: the seed, the length of training, and how it is carried out."""

import dataclasses
from typing import Annotated, Literal

import pydantic

from tiny_agent_trainer.config import section


@dataclasses.dataclass(frozen=True, slots=True)
class Cadence:
    """How often: every `count` steps or epochs."""

    count: int
    unit: Literal["steps", "epochs"]


class EngineSection(section.Section):
    """How the training is carried out."""

    base_seed: section.Seed = 0
    """Governs every random choice of the run: weights, shuffling, augmentation, dropout."""

    epochs: section.PositiveInt = 10
    """How many times the training split is worked through."""

    batch_size: section.PositiveInt = 64
    """Samples in one step of the optimiser."""

    shard_size: section.NaturalInt = 0
    """Samples in one logical shard of a batch (0: the whole batch); batch norm sees one shard."""

    patience: section.NaturalInt = 0
    """Stop after so many validations without a better value (0: never)."""

    arithmetic: Literal["exact", "native"] = "exact"
    """Whose sums: `exact` gives the same bits on every machine (docs/promise.md), `native` is
    PyTorch's own float32 with its deterministic algorithms."""

    contractions: Annotated[
        Literal["auto", "int16", "float64"], pydantic.Field(json_schema_extra=section.NOT_SEMANTIC)
    ] = "auto"
    """Which engine multiplies matrices in exact arithmetic; all give the same bits."""

    device: Annotated[
        Literal["cpu"], pydantic.Field(json_schema_extra=section.SEMANTIC_IF_NATIVE)
    ] = "cpu"
    """Where tensors live."""

    threads: Annotated[
        int, pydantic.Field(ge=1, le=256, json_schema_extra=section.SEMANTIC_IF_NATIVE)
    ] = 2
    """Threads: part of the experiment in native arithmetic only, whose sums depend on them."""

    workers: Annotated[
        int, pydantic.Field(ge=1, le=64, json_schema_extra=section.SEMANTIC_IF_NATIVE)
    ] = 1
    """Processes that divide the shards of a step among them (exact arithmetic only)."""

    loader_workers: Annotated[
        int, pydantic.Field(ge=0, le=64, json_schema_extra=section.NOT_SEMANTIC)
    ] = 0
    """Threads that prepare the next batches while a step is under way (0: none); no bit depends on
    it."""

    checkpoint_every: Annotated[
        str, pydantic.Field(pattern=r"^[1-9][0-9]{0,8} (steps|epochs)$")
    ] = "200 steps"
    """When the state is written, `"N steps"` or `"N epochs"`; a killed run continues from there."""

    keep: Annotated[
        tuple[Literal["best", "last", "all"], ...], pydantic.Field(strict=False, min_length=1)
    ] = ("best", "last")
    """Which checkpoints a finished run holds; `all` keeps one per `checkpoint_every`."""

    @pydantic.field_validator("device", mode="before")
    @classmethod
    def _refuse_cuda(cls, value: object) -> object:
        if isinstance(value, str) and value.startswith("cuda"):
            message = (
                'device "cuda" is refused until its bits are proven equal to the CPU\'s; '
                'write device = "cpu"'
            )
            raise ValueError(message)
        return value

    @pydantic.model_validator(mode="after")
    def _check_shards(self) -> "EngineSection":
        if self.shard_size > self.batch_size:
            message = f"shard_size {self.shard_size} is larger than batch_size {self.batch_size}"
            raise ValueError(message)
        return self

    @pydantic.model_validator(mode="after")
    def _check_workers(self) -> "EngineSection":
        if self.workers > 1 and self.is_native:
            message = 'workers need arithmetic = "exact": sums of native arithmetic have an order'
            raise ValueError(message)
        return self

    @property
    def is_native(self) -> bool:
        """Whether bits depend on the platform."""
        return self.arithmetic == "native"

    @property
    def checkpoint_cadence(self) -> Cadence:
        """`checkpoint_every` in parts."""
        count, unit = self.checkpoint_every.split(" ")
        return Cadence(int(count), "steps" if unit == "steps" else "epochs")

    @property
    def samples_per_shard(self) -> int:
        """`shard_size` with its default filled in."""
        return self.shard_size or self.batch_size
