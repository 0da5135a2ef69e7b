# SPDX-License-Identifier: Apache-2.0
"""Every key is found on its own line, whatever the TOML looks like.

Not tested here: columns (there are none), and text that `tomllib` refuses.
"""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_agent_trainer.config import toml_lines

TRICKY = '''\
# [not.a.table] key = 1
top = 1  # other = 2
[engine]  # [engine]
epochs = 3
"quoted key" = "a = 1 # no comment"
'literal [x]' = '[y]'
dotted.inner . deep = 1
text = """
[fake]
epochs = 4
# """
after_text = \'\'\'one line\'\'\'
more = [
  "]", # ]
  \'[\',
  [1, 2],
]
after_array = { name = "x = y", list = [1, 2] }
raw = \'\'\'
raw_fake = "
\'\'\'
after_raw = "\\" # ["
escaped = """a \\""" b"""
after_escaped = 1
quotes = """two""\\
  and ""more"""""
after_quotes = 1
[ data . split ]
seed = 5
["a]b"."c#d"]
e = 1
[["list of tables"]]
f = 1
[["list of tables"]]
g = 2
"uni\\u0063ode \\"x\\"" = 7
'''

EXPECTED = {
    ("top",): 2,
    ("engine",): 3,
    ("engine", "epochs"): 4,
    ("engine", "quoted key"): 5,
    ("engine", "literal [x]"): 6,
    ("engine", "dotted"): 7,
    ("engine", "dotted", "inner"): 7,
    ("engine", "dotted", "inner", "deep"): 7,
    ("engine", "text"): 8,
    ("engine", "after_text"): 12,
    ("engine", "more"): 13,
    ("engine", "after_array"): 18,
    ("engine", "raw"): 19,
    ("engine", "after_raw"): 22,
    ("engine", "escaped"): 23,
    ("engine", "after_escaped"): 24,
    ("engine", "quotes"): 25,
    ("engine", "after_quotes"): 27,
    ("data", "split"): 28,
    ("data", "split", "seed"): 29,
    ("a]b", "c#d"): 30,
    ("a]b", "c#d", "e"): 31,
    ("list of tables",): 32,
    ("list of tables", "f"): 33,
    ("list of tables", "g"): 35,
    ("list of tables", 'unicode "x"'): 36,
}


def test_tricky_toml_is_located_line_by_line():
    tomllib.loads(TRICKY)
    lines = toml_lines.locate(TRICKY)
    assert {path: toml_lines.line_of(lines, path) for path in EXPECTED} == EXPECTED


def test_no_key_is_found_inside_of_strings_arrays_and_comments():
    lines = toml_lines.locate(TRICKY)
    found = {part for path in lines for part in path}
    assert not found & {"fake", "raw_fake", "not", "a", "key", "other"}


def test_windows_line_ends_change_no_line():
    windows = TRICKY.replace("\n", "\r\n")
    tomllib.loads(windows)
    assert toml_lines.locate(windows) == toml_lines.locate(TRICKY)


def test_a_key_of_an_inline_table_is_on_the_line_of_its_table():
    lines = toml_lines.locate("a = 1\nb = { c = 1, d = { e = 2 } }\n")
    assert toml_lines.line_of(lines, ("b", "c")) == 2
    assert toml_lines.line_of(lines, ("b", "d", "e")) == 2


def test_a_key_that_is_missing_is_on_the_line_of_its_table_and_a_missing_table_has_none():
    lines = toml_lines.locate("[a]\nb = 1\n[c]\nd = 1\n")
    assert toml_lines.line_of(lines, ("c", "x")) == 3
    assert toml_lines.line_of(lines, ("x", "y")) is None
    assert toml_lines.line_of(lines, ()) is None


bare_keys = st.text("abcXYZ019_-", min_size=1, max_size=4)
odd_keys = st.text(st.sampled_from(list("ab .=#[]{}'\"\\äß,\t")), max_size=4)
strings = st.text(st.sampled_from(list("ab=#[]{}'\"\\ \n,ä")), max_size=8)
values = st.recursive(
    st.integers(-9, 9) | st.booleans() | strings,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(bare_keys | odd_keys, inner, max_size=2)
    ),
    max_leaves=5,
)
tables = st.dictionaries(
    bare_keys | odd_keys, values | st.dictionaries(bare_keys | odd_keys, values, max_size=4),
    max_size=5,
)  # fmt: skip
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


class Writer:
    """Writes a dict as TOML in a way that dice choose, and notes the line of every key."""

    def __init__(self, choose):
        self.choose = choose
        self.text = ""
        self.lines = {}

    @property
    def line(self):
        return self.text.count("\n") + 1

    def write(self, values):
        tables = {key: v for key, v in values.items() if isinstance(v, dict) and self.choose(2)}
        self.pairs((), {key: v for key, v in values.items() if key not in tables})
        for key, value in tables.items():
            self.noise()
            self.lines[(key,)] = self.line
            self.text += f"{self.blank()}[{self.blank()}{self.key(key)}{self.blank()}]"
            self.end()
            self.pairs((key,), value)
        return self.text

    def pairs(self, table, values):
        for key, value in values.items():
            self.noise()
            self.text += self.blank() + self.key(key)
            path, rest = (*table, key), value
            self.lines[path] = self.line
            while isinstance(rest, dict) and len(rest) == 1 and self.choose(2):
                ((inner, rest),) = rest.items()
                path = (*path, inner)
                self.lines[path] = self.line
                self.text += f"{self.blank()}.{self.blank()}{self.key(inner)}"
            self.text += f"{self.blank()}={self.blank()}"
            self.value(rest)
            self.end()

    def key(self, key):
        if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) and self.choose(2):
            return key
        if "'" not in key and self.choose(2):
            return f"'{key}'"
        return '"' + "".join(ESCAPES.get(c, c) for c in key) + '"'

    def value(self, value):
        if isinstance(value, str):
            self.text += self.string(value)
        elif isinstance(value, list):
            self.array(value)
        elif isinstance(value, dict):
            self.text += "{"
            for count, (key, inner) in enumerate(value.items()):
                self.text += (", " if count else " ") + self.key(key) + " = "
                self.value(inner)
            self.text += " }"
        else:
            self.text += str(value).lower()

    def string(self, value):
        kind = self.choose(4)
        if kind == 0 and "'" not in value and "\n" not in value:
            return f"'{value}'"
        if kind == 1 and "'" not in value:
            return f"'''\n{value}'''"
        if kind == 2:
            return '"""\n' + value.replace("\\", "\\\\").replace('"', '\\"') + '"""'
        if kind == 3 and '""' not in value:
            return '"""\n' + value.replace("\\", "\\\\") + '"""'
        return '"' + "".join(ESCAPES.get(c, c) for c in value) + '"'

    def array(self, value):
        gap = ["", " ", "\n", " # ] [ \" '\n"][self.choose(4)]
        self.text += "[" + gap
        for inner in value:
            self.value(inner)
            self.text += " ," + gap
        self.text += "]"

    def blank(self):
        return " " * self.choose(2)

    def noise(self):
        self.text += ["", "\n", "# [x] y = 1 \"\"\" '''\n"][self.choose(3)]

    def end(self):
        self.text += ["\n", '  # ] = """ \'\n'][self.choose(2)]


@settings(max_examples=300)
@given(tables, st.data())
def test_the_line_of_every_key_holds_that_key(values, data):
    choices = data.draw(st.binary(min_size=0, max_size=60))
    dice = iter(choices)
    writer = Writer(lambda faces: next(dice, 0) % faces)
    text = writer.write(values)
    assert tomllib.loads(text) == values
    lines = toml_lines.locate(text)
    found = {path: toml_lines.line_of(lines, path) for path in writer.lines}
    assert found == writer.lines


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a = 1"])
def test_a_file_may_be_almost_empty(text):
    assert toml_lines.locate(text) == ({("a",): 1} if text == "a = 1" else {})
