# SPDX-License-Identifier: Apache-2.0
"""The house is as its plan says: rooms with true layouts, short files, documents that mention all.

Not tested here: the floors themselves, which `lint-imports` checks in `make test`.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.cli import main as command_line

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tiny_agent_trainer"
FLOORS = {path.parent for path in PACKAGE.glob("*/__init__.py")}
SUBROOMS = {path.parent for path in PACKAGE.glob("*/*/**/spec.md")}
ROOMS = sorted(path.relative_to(PACKAGE).as_posix() for path in FLOORS | SUBROOMS)
MAX_LINES = 400
BANNED_NAMES = {"utils", "helpers", "common", "base", "manager"}


@pytest.mark.parametrize("room", ROOMS)
def test_the_layout_in_a_rooms_spec_names_exactly_its_files(room: str) -> None:
    text = (PACKAGE / room / "spec.md").read_text()
    for part in ("Purpose", "Scope", "Guarantees", "Layout"):
        assert part in text, f"{room}/spec.md has no {part}"
    layout = text[text.index("Layout") :]
    named = set(re.findall(r"`([A-Za-z0-9_.]+/?)`", layout))
    present = {
        path.name + "/" * path.is_dir()
        for path in (PACKAGE / room).iterdir()
        if path.name not in ("__pycache__", "__init__.py", "spec.md")
    }
    assert present <= named, f"not in {room}/spec.md: {sorted(present - named)}"
    files = {name for name in named if name.endswith((".py", "/", ".json", ".css", ".j2"))}
    gone = files - present - {"__init__.py"}
    assert not gone, f"only in {room}/spec.md: {sorted(gone)}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_a_source_file_is_short_licensed_and_well_named(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= MAX_LINES
    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert not BANNED_NAMES & set(path.stem.split("_"))


def test_the_exit_codes_in_the_documents_are_those_of_the_classes() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text()
    rows = dict(re.findall(r"^\| (\d+) \| `?(\w+)`?", text, re.MULTILINE))
    listed = {str(error.exit_code): error.__name__ for error in errors.listed_errors()}
    assert listed.items() <= rows.items()
    others = (errors.INTERRUPTED_EXIT_CODE, errors.UNREAD_EXIT_CODE, errors.INTERNAL_EXIT_CODE)
    assert {"0", "1", "3", *map(str, others)} <= rows.keys()


def test_the_readme_mentions_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    names = [command.name for command in command_line.app.registered_commands]
    names += [group.name for group in command_line.app.registered_groups]
    missing = [name for name in names if f"tiny-agent-trainer {name}" not in readme]
    assert not missing


def test_every_decision_record_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    records = sorted(path.name for path in folder.glob("0*.md"))
    assert len(records) >= 5
    for name in records:
        assert f"({name})" in index
        text = (folder / name).read_text()
        for heading in ("## Context", "## Options", "## Choice"):
            assert heading in text, f"{name} has no {heading}"


def test_documents_link_only_to_what_is_there() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_installed_versions_are_the_pinned_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for pin in project["dependencies"]:
        name, _, version = pin.partition("==")
        assert metadata.version(name).partition("+")[0] == version


def test_no_document_or_source_holds_a_path_of_somebodys_machine() -> None:
    tracked = [*PACKAGE.rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    tracked += [*(ROOT / "experiments" / "configs").glob("*.toml"), ROOT / "Makefile"]
    pattern = re.compile(r"(/home/\w+|/root/|/work/|/Users/\w+)")
    assert not [str(path) for path in tracked if pattern.search(path.read_text())]
