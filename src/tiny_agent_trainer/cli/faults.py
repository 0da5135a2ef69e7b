# SPDX-License-Identifier: Apache-2.0
"""From an exception to an exit code and words on standard error."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tiny_agent_trainer import durable, errors


def call(command: Callable[[], object], *, internal_code: int) -> int:
    """Carry out a command line and write out what it printed.

    Args:
        command: Does the work; may raise SystemExit.
        internal_code: Exit code of a fault of ours.

    Returns:
        The exit code, decided before a word is printed. That nobody reads the output counts only
        if nothing else went wrong.
    """
    code = _carry_out(command, internal_code) or _carry_out(_flush, internal_code)
    _discard_unread()
    return code


@contextmanager
def unread_allowed() -> Iterator[None]:
    """Print words that nobody has to read: a closed pipe cuts them short, and no more."""
    with suppress(BrokenPipeError):
        yield
    _discard_unread()


def _carry_out(command: Callable[[], object], internal_code: int) -> int:
    try:
        command()
    except SystemExit as end:
        return _code_of(end)
    except BrokenPipeError:
        return errors.UNREAD_EXIT_CODE
    except errors.TrainerError as error:
        _tell(f"{error.title}\n{error}")
        return error.exit_code
    except KeyboardInterrupt:
        _tell("stopped")
        return errors.INTERRUPTED_EXIT_CODE
    except Exception as error:  # noqa: BLE001 (the one place)
        _tell(_internal(error))
        return internal_code
    return 0


def _code_of(end: SystemExit) -> int:
    if isinstance(end.__context__, BrokenPipeError):  # typer and rich turn it into a 1
        return errors.UNREAD_EXIT_CODE
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def _flush() -> None:
    with durable.refusals(Path("standard output")):
        for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
            stream.flush()


def _discard_unread() -> None:
    """Lead a stream that can no longer be written to nowhere: Python flushes it once more."""
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _tell(text: str) -> None:
    with unread_allowed():
        print(f"tiny-agent-trainer: {text}", file=sys.stderr)


def _internal(error: Exception) -> str:
    trace = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="tiny-agent-trainer-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(trace)
    return (
        f"{errors.TrainerError.title}: {type(error).__name__}: {error}\n"
        f"The full trace is in {Path(file.name)}; please report it with what you did."
    )
