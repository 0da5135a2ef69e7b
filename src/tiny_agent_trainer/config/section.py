# SPDX-License-Identifier: Apache-2.0
"""What every section of the configuration is: strict, closed, frozen."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import pydantic
from pydantic.types import JsonValue

from tiny_agent_trainer import canonical

NOT_SEMANTIC: Final[dict[str, JsonValue]] = {"semantic": False}
"""Mark of a key that cannot change a result, such as a path; it is left out of digests."""

SEMANTIC_IF_NATIVE: Final[dict[str, JsonValue]] = {"semantic": "native"}
"""Mark of a key of `[engine]` that can change a result of native arithmetic, but none of exact."""

Seed = Annotated[int, pydantic.Field(ge=0, le=canonical.INTEGER_LIMIT)]
PositiveInt = Annotated[int, pydantic.Field(gt=0, le=canonical.INTEGER_LIMIT)]
NaturalInt = Annotated[int, pydantic.Field(ge=0, le=canonical.INTEGER_LIMIT)]
PositiveFloat = Annotated[float, pydantic.Field(gt=0)]
NaturalFloat = Annotated[float, pydantic.Field(ge=0)]
Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]


class Section(pydantic.BaseModel):
    """A table of the TOML file: unknown keys and wrong types are faults, values never change."""

    model_config = pydantic.ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Part(Section):
    """A section that chooses a part by `name` and says what builds it.

    `builder` is the import string `module:function`. It is a string, so that reading a
    configuration imports neither torch nor numpy.
    """

    builder: ClassVar[str]


def chosen_by(key: str, default: str) -> pydantic.Discriminator:
    """Choose the member of a union whose tag is the value of `key`, `default` when it is absent."""

    def tag(value: object) -> str:
        chosen = value.get(key, default) if isinstance(value, Mapping) else getattr(value, key, "")
        return str(chosen)

    return pydantic.Discriminator(tag)


def semantic_values(section: pydantic.BaseModel) -> dict[str, Any]:
    """The values of a section, and of sections inside it, that can change a result."""
    values: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        if not _is_semantic(field.json_schema_extra, section):
            continue
        value = getattr(section, name)
        is_section = isinstance(value, pydantic.BaseModel)
        values[name] = semantic_values(value) if is_section else _plain(value)
    return values


def _is_semantic(extra: object, section: pydantic.BaseModel) -> bool:
    mark = extra.get("semantic", True) if isinstance(extra, Mapping) else True
    if mark == "native":
        return bool(getattr(section, "arithmetic", None) == "native")
    return bool(mark)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
