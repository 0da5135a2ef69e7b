# SPDX-License-Identifier: Apache-2.0
"""On which line of a TOML file a key stands.

`tomllib` tells no positions. This scanner follows headers and keys only; it is used on text that
`tomllib` has already accepted, and where it loses a key (inside an inline table) the line of the
nearest enclosing key is right enough for a message.
"""

import re
from collections.abc import Iterator

Path = tuple[str, ...]

_HEADER = re.compile(r"^\s*\[\[?\s*(?P<name>[^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*(?P<name>(?:[A-Za-z0-9_\-.\s]|\"[^\"]*\"|'[^']*')+?)\s*=(?P<value>.*)$")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_\-]+)")
_STRING = re.compile(r"\"\"\"|'''|\"(?:[^\"\\]|\\.)*\"|'[^']*'|#")


def locate(text: str) -> dict[Path, int]:
    """Line numbers, from 1, of every table header and key, by full path."""
    lines: dict[Path, int] = {}
    table: Path = ()
    for number, line in _logical_lines(text):
        if header := _HEADER.match(line):
            table = _parts(header["name"])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            path = table + _parts(key["name"])
            for length in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], number)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of a path, or of the nearest part of it that stands in the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that begin outside of multi-line strings and arrays."""
    closing, depth = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not closing and depth == 0:
            yield number, line.rstrip("\r")
        closing, depth = _scan(line, closing, depth)


def _scan(line: str, closing: str, depth: int) -> tuple[str, int]:
    rest = line
    if not closing and depth == 0:
        key = _KEY.match(line)
        if key is None:
            return "", 0
        rest = key["value"]
    while rest:
        if closing:
            _, found, rest = rest.partition(closing)
            closing = "" if found else closing
            continue
        token = _STRING.search(rest)
        before = rest[: token.start()] if token else rest
        depth += sum(before.count(c) for c in "[{") - sum(before.count(c) for c in "]}")
        if token is None or token[0] == "#":
            break
        closing = token[0] if token[0] in {'"""', "'''"} else ""
        rest = rest[token.end() :]
    return closing, max(depth, 0)


def _parts(name: str) -> Path:
    return tuple(next(group for group in match.groups() if group is not None)
                 for match in _PART.finditer(name))  # fmt: skip
