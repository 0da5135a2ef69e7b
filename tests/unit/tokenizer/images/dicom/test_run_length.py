# SPDX-License-Identifier: Apache-2.0
"""Runs that do not make the pixels of a frame are refused before the decoder panics at them.

Not tested here: frames of scanners and other damage (tests/property/test_mutated_images.py).
"""

import struct

import dicom_files
import numpy as np
import pytest
from pydicom.uid import RLELossless

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.tokenizer.images import folder
from tiny_agent_trainer.tokenizer.images.dicom import run_length

LITERAL = bytes([15]) + bytes(range(16))
REPEATED = bytes([257 - 16]) + b"\7"


def frame(*segments):
    """A frame of these segments, each of an even length."""
    even = [segment + bytes(len(segment) % 2) for segment in segments]
    offsets = [64 + sum(map(len, even[:number])) for number in range(len(even))]
    header = struct.pack("<16I", len(even), *offsets, *[0] * (15 - len(even)))
    return header + b"".join(even)


@pytest.mark.parametrize(
    "segment",
    [LITERAL, REPEATED, b"\x80" + LITERAL, LITERAL + bytes(4), bytes([3, 1, 2, 3, 4, 257 - 12, 9])],
)
def test_runs_of_all_pixels_pass(segment):
    run_length.require_runs(frame(segment), 16, "x")
    run_length.require_runs(frame(REPEATED, segment), 16, "x")


@pytest.mark.parametrize(
    "segment",
    [
        LITERAL + REPEATED,  # goes on behind the last pixel
        bytes([9]) + bytes(10) + bytes([257 - 10, 1]),  # leads over it
        bytes([257 - 10, 1]),  # ends early
        bytes([15]) + bytes(9),  # is cut
        b"\x80\x80",
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_other_runs_are_refused_with_their_segment(segment, place):
    segments = [REPEATED, REPEATED]
    segments[place] = segment
    with pytest.raises(errors.DatasetError, match=rf"x, segment {place + 1} of .* 16 values"):
        run_length.require_runs(frame(*segments), 16, "x")


@pytest.mark.parametrize(
    "damaged",
    [b"", bytes(64), struct.pack("<16I", 16, *[64] * 15), struct.pack("<16I", 2, 64, 9, *[0] * 13)],
)
def test_a_wrong_header_is_left_to_the_decoder(damaged):
    run_length.require_runs(damaged, 16, "x")


def test_the_decoder_of_a_damaged_file_writes_nothing(tmp_path, capfd):
    found = dicom_files.dataset(np.full((4, 4), 0x0707, np.uint16))
    found.compress(RLELossless)
    data = dicom_files.encode(found)
    (tmp_path / "good.dcm").write_bytes(data)
    assert (folder.read_path(tmp_path / "good.dcm", ImagesOptions()).values == 0x0707).all()
    place = data.rindex(bytes([257 - 4, 7]))
    damaged = bytearray(data)
    damaged[place] = 257 - 100
    (tmp_path / "bad.dcm").write_bytes(damaged)
    with pytest.raises(errors.DatasetError, match="run-length coded"):
        folder.read_path(tmp_path / "bad.dcm", ImagesOptions())
    assert capfd.readouterr().err == ""
