# SPDX-License-Identifier: Apache-2.0
"""On which line of a TOML file a key stands.

`tomllib` tells no positions. This scanner splits text that `tomllib` has already accepted into
tokens and follows headers and keys; a key inside an inline table is on the line of the table.
"""

import re
import tomllib
from collections.abc import Iterator

Path = tuple[str, ...]

_TOKEN = re.compile(
    r"""
    \"{3}(?:\\.|(?!\"{3})[^\\])*\"{3,5}   # a multi-line string, which may end in two quotes more
    | '{3}(?:(?!'{3}).)*'{3,5}            # the same without escapes
    | \"(?:\\.|[^\"\\])*\" | '[^']*'      # strings and quoted keys
    | \#[^\n]*                            # a comment
    | [\n\[\]{}=.,]                       # what structures the text
    | [^\s\"'\#\[\]{}=.,]+                # bare keys, numbers, dates
    """,
    re.VERBOSE | re.DOTALL,
)


def locate(text: str) -> dict[Path, int]:
    """Line numbers, from 1, of every table header and key, by full path.

    A table without a header of its own is on the line of the first header or key that implies it.
    """
    stated: dict[Path, int] = {}
    implied: dict[Path, int] = {}
    table: Path = ()
    for number, head in _heads(text):
        is_header = head[0] == "["
        path = (() if is_header else table) + _parts(head)
        stated.setdefault(path, number)
        for length in range(1, len(path)):
            implied.setdefault(path[:length], number)
        table = path if is_header else table
    return implied | stated


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of a path, or of the nearest part of it that stands in the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _heads(text: str) -> Iterator[tuple[int, list[str]]]:
    """First line and tokens of each header, brackets included, and of each key before its `=`."""
    head: list[str] = []
    line, depth, is_value = 1, 0, False
    for match in _TOKEN.finditer(text + "\n"):
        token = match[0]
        if token == "\n" and depth == 0:
            if head:
                yield line, head
            head, is_value = [], False
        elif token == "=" and depth == 0:
            yield line, head
            head, is_value = [], True
        elif is_value:
            depth += (token in "[{") - (token in "]}")
        elif not token.startswith("#"):
            head.append(token)
        line += token.count("\n")


def _parts(head: list[str]) -> Path:
    names = [token for token in head if token not in {"[", "]", "."}]
    return tuple(_unquote(name) if name[0] in "\"'" else name for name in names)


def _unquote(name: str) -> str:
    return str(tomllib.loads(f"name = {name}")["name"])
