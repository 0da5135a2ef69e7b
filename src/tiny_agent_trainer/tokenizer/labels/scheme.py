# SPDX-License-Identifier: Apache-2.0
"""What a label scheme is: how cells are read, rows of one image merged, and labels numbered."""

import abc
import importlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from tiny_agent_trainer.config.labels import LabelOptions
from tiny_agent_trainer.tokenizer.samples import Label, Task

Value = TypeVar("Value")
"""What a scheme reads out of one row, before classes have numbers."""


class AbstractScheme(abc.ABC, Generic[Value]):
    """A way to read labels out of a table."""

    task: ClassVar[Task]

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""

    @abc.abstractmethod
    def parse(self, cells: Sequence[str]) -> Value:
        """Read one row, given the cells of `columns`.

        Raises:
            ValueError: The cells are not as the scheme wants them; the message goes on from
                "line 7: ".
        """

    @abc.abstractmethod
    def merge(self, values: Sequence[Value]) -> Value:
        """One value of several rows of one image, at least one.

        Raises:
            ValueError: They contradict each other.
        """

    @abc.abstractmethod
    def name_classes(self, values: Iterable[Value]) -> tuple[str, ...]:
        """The classes in the order of the model's outputs, given the values of all images."""

    @abc.abstractmethod
    def encode(self, value: Value, classes: Sequence[str]) -> Label:
        """The label of an image."""


def build_scheme(options: LabelOptions) -> AbstractScheme[Any]:
    """The scheme that the configuration names."""
    module, _, name = options.builder.partition(":")
    built: AbstractScheme[Any] = getattr(importlib.import_module(module), name)(options)
    return built


def merge_equal(values: Sequence[Value]) -> Value:
    """The value that all rows of an image agree on.

    Raises:
        ValueError: They do not.
    """
    others = [value for value in values if value != values[0]]
    if others:
        message = f"rows of one image that say {values[0]!r} and {others[0]!r}"
        raise ValueError(message)
    return values[0]


def sort_by_bytes(names: Iterable[str]) -> tuple[str, ...]:
    """Names, each once, in the order of their bytes, which is the same on every machine."""
    return tuple(sorted(set(names), key=str.encode))


def require_known(names: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names that are not among the configured classes, where there are such.

    Raises:
        ValueError: Names one that is not.
    """
    for name in names:
        if known and name not in known:
            message = f"{name!r} is not among the classes {', '.join(known)}"
            raise ValueError(message)
