# SPDX-License-Identifier: Apache-2.0
"""What the network sees of one image: a page that needs no network, or one PNG."""

import html
from collections.abc import Mapping, Sequence

from tiny_agent_trainer.reports import png
from tiny_agent_trainer.reports.picture import Picture

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}th,td{text-align:left;padding:.2rem 1rem .2rem 0}"
    "figure{display:inline-block;margin:0 1rem 1rem 0}"
    "img{image-rendering:pixelated;min-width:12rem;max-width:24rem}"
)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_GAP = 4
_GAP_GRAY = 96


def encode_page(facts: Mapping[str, str], pictures: Sequence[Picture]) -> bytes:
    """The page in UTF-8: facts as a table, pictures with their labels.

    Guarantees:
        Equal arguments give equal bytes; every text is escaped; no script, no request.
    """
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>\n"
        for name, value in facts.items()
    )
    figures = "".join(
        f'<figure><img alt="{html.escape(one.label)}" src="{png.encode_data_uri(one)}">'
        f"<figcaption>{html.escape(one.label)}</figcaption></figure>\n"
        for one in pictures
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>What the network sees</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>What the network sees</h1>\n{figures}<table>\n{rows}</table>\n</body></html>\n"
    ).encode()


def encode_sheet(pictures: Sequence[Picture]) -> bytes:
    """All pictures side by side as one PNG, at least one of them."""
    height = max(one.height for one in pictures)
    channels = max(one.channels for one in pictures)
    gap = bytes([_GAP_GRAY]) * (_GAP * channels)
    rows = [gap.join(_row(one, row, channels) for one in pictures) for row in range(height)]
    pixels = b"".join(rows)
    return png.encode_png(
        Picture(
            sample=0,
            label="",
            predicted=None,
            probability=None,
            width=len(rows[0]) // channels,
            height=height,
            channels=channels,
            pixels=pixels,
        )
    )


def _row(picture: Picture, row: int, channels: int) -> bytes:
    """One row of a picture; below its last one it is as the gap."""
    if row >= picture.height:
        return bytes([_GAP_GRAY]) * (picture.width * channels)
    size_bytes = picture.width * picture.channels
    line = picture.pixels[row * size_bytes : (row + 1) * size_bytes]
    if picture.channels == channels:
        return line
    return b"".join(line[place : place + 1] * channels for place in range(len(line)))
