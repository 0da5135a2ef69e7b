# SPDX-License-Identifier: Apache-2.0
"""From an exception to an exit code and words on standard error."""

import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from tiny_agent_trainer import errors


def call(command: Callable[[], object], *, internal_code: int) -> int:
    """Carry out a command line.

    Args:
        command: Does the work; may raise SystemExit.
        internal_code: Exit code of a fault of ours.

    Returns:
        The exit code, decided before a word is printed.
    """
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
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


def _tell(text: str) -> None:
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
