# SPDX-License-Identifier: Apache-2.0
"""Refusals of files: in our words, also where a library stumbled over damaged input."""

import contextlib
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from nibabel import spatialimages, wrapstruct
from PIL import Image
from pydicom import errors as pydicom_errors

from tiny_agent_trainer import errors

FOREIGN: Final = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError, Warning, Image.DecompressionBombError,
    spatialimages.HeaderDataError, struct.error, tokenize.TokenError, wrapstruct.WrapStructError,
    zipfile.BadZipFile, zlib.error, pydicom_errors.BytesLengthException,
    pydicom_errors.InvalidDicomError,
)  # fmt: skip
"""What decoders raise at damaged input; anything else is a fault of ours and is not hidden."""

_SHOWN = 200
"""Characters of a library's message that a refusal repeats."""


def refusal(where: str, expected: str, found: str, remedy: str = "") -> errors.DatasetError:
    """The error that says why a file cannot be used."""
    return errors.DatasetError(
        where=where,
        expected=expected,
        found=found,
        remedy=remedy or "mend or remove what is named here, then run again",
    )


def reason_of(error: errors.TrainerError, key: str) -> str:
    """What an error says, without the key that a `Refusal` names anyway, as part of a sentence."""
    text = f"{error.where}: {error.fault}"
    for start in (f"{key}: ", f"{key}, "):
        text = text.removeprefix(start)
    return f"{text} ({error.remedy})"


@contextlib.contextmanager
def foreign(where: str, expected: str) -> Iterator[None]:
    """Turn what a library raises inside the block into a refusal; hear its warnings in silence.

    Raises:
        DatasetError: The block raised one of `FOREIGN`.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except FOREIGN as error:
        raise refusal(where, expected, describe(error)) from error
    except BaseException as error:
        # A decoder in Rust (pylibjpeg-rle) panics at damaged frames: no subclass of Exception, and
        # of a class that cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise refusal(where, expected, describe(error)) from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Hear no library's warning inside the block: what matters becomes a refusal or a remark."""
    with warnings.catch_warnings(action="ignore"):
        yield


def describe(error: BaseException) -> str:
    """An exception in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."
