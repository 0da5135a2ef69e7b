# SPDX-License-Identifier: Apache-2.0
"""Faults of a configuration in words: file and line, the key, what is wrong, what was meant."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pydantic
from pydantic_core import ErrorDetails

from tiny_agent_trainer.config import section, toml_lines

_TAGGED_BY = ("name", "reader", "scheme", "method")

_OTHER_NAMES = {
    "auc": "auroc",
    "roc_auc": "auroc",
    "roc_auc_score": "auroc",
    "acc": "accuracy",
    "balanced_accuracy_score": "balanced_accuracy",
    "f1": "macro_f1",
    "f1_macro": "macro_f1",
    "f1_score": "macro_f1",
    "ap": "average_precision",
    "auprc": "average_precision",
    "pr_auc": "average_precision",
    "qwk": "quadratic_weighted_kappa",
    "cohen_kappa": "quadratic_weighted_kappa",
    "mean_absolute_error": "mae",
    "r2_score": "r2",
    "pearson": "pearson_r",
}
"""What other libraries and papers call a choice, too far from its name here to be guessed."""


def describe_all(
    error: pydantic.ValidationError,
    values: Mapping[str, Any],
    text: str,
    path: str,
    root: type[pydantic.BaseModel],
) -> list[str]:
    """One sentence per fault, in the order of lines.

    Args:
        error: What pydantic found.
        values: The parsed TOML.
        text: The TOML as it stands in the file.
        path: The file, for messages.
        root: The model that was validated.
    """
    lines = toml_lines.locate(text)
    found: dict[str, int] = {}
    for detail in error.errors(include_url=False):
        if _belongs_to_other_member(detail) or _is_echo(detail):
            continue
        keys, model = _follow(detail["loc"], values, root)
        keys += _tag_key(detail)
        line = toml_lines.line_of(lines, keys) or 0
        place = f"{path}:{line}" if line else path
        sentence = f"{place}: {'.'.join(keys) or 'the file'}: {_explain(detail, model)}"
        found.setdefault(sentence, line)
    return sorted(found, key=lambda sentence: found[sentence])


def _follow(
    location: Sequence[str | int], values: object, model: type[pydantic.BaseModel] | None
) -> tuple[tuple[str, ...], type[pydantic.BaseModel] | None]:
    """Turn pydantic's location, tags of unions included, into TOML keys and the section's model."""
    keys: list[str] = []
    owner = model
    annotation: object = model
    for part in location:
        if not isinstance(part, str):
            continue
        chosen = _member_by_tag(annotation, part)
        if chosen is not None:
            owner = annotation = chosen
            continue
        fields = owner.model_fields if owner else {}
        stands_in_file = isinstance(values, Mapping) and part in values
        if part not in fields and not stands_in_file:
            continue  # a member of a plain union, such as a type's name
        keys.append(part)
        values = values.get(part) if isinstance(values, Mapping) else None
        annotation = fields[part].annotation if part in fields else None
        inner = _sections_in(annotation)
        owner = inner[0] if len(inner) == 1 else owner
    return tuple(keys), owner


def _tag_key(detail: ErrorDetails) -> tuple[str, ...]:
    """The key that should have chosen the member of a union, if it is there and did not."""
    given = detail["input"]
    if detail["type"] != "union_tag_invalid" or not isinstance(given, Mapping):
        return ()
    return tuple(key for key in _TAGGED_BY if key in given)[:1]


def _member_by_tag(annotation: object, tag: str) -> type[pydantic.BaseModel] | None:
    for member in _sections_in(annotation):
        for key in _TAGGED_BY:
            field = member.model_fields.get(key)
            if field is not None and tag in get_args(field.annotation):
                return member
        if tag == "monai" and member.__name__ == "MonaiOptions":
            return member
    return None


def _sections_in(annotation: object) -> list[type[section.Section]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, section.Section) else []
    return [found for member in get_args(annotation) for found in _sections_in(member)]


def _belongs_to_other_member(detail: ErrorDetails) -> bool:
    """Whether a plain union (a word, or a list) was given its other kind of value."""
    is_list = isinstance(detail["input"], list)
    return (detail["type"] == "literal_error" and is_list) or (
        detail["type"] == "tuple_type" and not is_list and len(detail["loc"]) > 2
    )


def _is_echo(detail: ErrorDetails) -> bool:
    """Whether a list is called too short only because its items have faults of their own."""
    least = detail.get("ctx", {}).get("min_length", 0)
    return detail["type"] == "too_short" and len(detail["input"]) >= least


def _explain(detail: ErrorDetails, model: type[pydantic.BaseModel] | None) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(detail["loc"][-1]), model)
    if kind == "literal_error":
        return _not_a_choice(detail["input"], str(context["expected"]))
    if kind == "union_tag_invalid":
        return _not_a_kind(detail["input"], str(context["tag"]), str(context["expected_tags"]))
    if kind == "missing":
        return "this key is missing"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{message}; found {_show(detail['input'])}"


def _not_a_kind(given: object, tag: str, listed: str) -> str:
    if isinstance(given, Mapping):
        return _not_a_choice(tag, listed)
    return f"a table with `name` among its keys is expected; found {_show(given)}"


def _unknown_key(key: str, model: type[pydantic.BaseModel] | None) -> str:
    valid = sorted(model.model_fields) if model else []
    return f"unknown key{_did_you_mean(key, valid)} Valid keys: {', '.join(valid)}"


def _not_a_choice(chosen: object, listed: str) -> str:
    valid = [choice.strip().strip("'") for choice in listed.replace(" or ", ", ").split(",")]
    valid = ["monai:<Network>" if choice == "monai" else choice for choice in valid]
    guess = _did_you_mean(str(chosen), valid)
    return f"{_show(chosen)} is not a choice{guess} Valid choices: {', '.join(valid)}"


def _did_you_mean(word: str, valid: list[str]) -> str:
    known = _OTHER_NAMES.get(word.lower(), word.lower())
    close = difflib.get_close_matches(known, valid, n=1)
    return f"; did you mean {close[0]}?" if close else "."


def _show(value: object) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."
