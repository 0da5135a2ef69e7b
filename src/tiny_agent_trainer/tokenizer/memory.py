# SPDX-License-Identifier: Apache-2.0
"""Whether prepared images fit into memory, asked before anything is allocated for them."""

import math
import resource
import sys
from pathlib import Path
from typing import Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer.preparation import intensity, plan, prepare

_RESAMPLING_BYTES: Final = 5 * 8
"""Bytes per value of the one image that is being resampled: more than its arrays before and after
each dim need."""

_MEMINFO: Final = Path("/proc/meminfo")
_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where a container's limit stands, in the second and the first version of control groups."""


def require_room(count: int, given: prepare.Preparable, options: TokenizerSection) -> None:
    """Refuse images that cannot be held, with what they need and what there is.

    Args:
        count: How many images.
        given: One of them as decoded; the others are like it.
        options: How they are prepared.

    Raises:
        DatasetError: They need more memory than there is.
    """
    image = prepare.as_image(given)
    steps = plan.build_plan(image, options, "the image")
    dtype = intensity.prepared_dtype(image.values.dtype, options)
    needed_bytes = count * math.prod(steps.shape) * dtype.itemsize
    if options.resize or options.spacing_mm:
        needed_bytes += plan.num_values(steps) * image.values.shape[-1] * _RESAMPLING_BYTES
    there_bytes = available_bytes()
    if needed_bytes > there_bytes:
        raise errors.DatasetError(
            where="[tokenizer] resize" if options.resize else "the data",
            expected=f"images that fit into memory, of which {there_bytes} bytes are available",
            found=f"{count} images of {' x '.join(map(str, steps.shape))}, {needed_bytes} bytes",
            remedy="choose a smaller `resize` under [tokenizer], or free or add memory",
        )


def available_bytes() -> int:
    """Memory that this process can have: what is free, and no more than the limits on it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limits = [sys.maxsize if soft == resource.RLIM_INFINITY else soft, _free_bytes()]
    limits += [int(text) for text in map(_read, _LIMITS) if text.strip().isdecimal()]
    return min(limits)


def _free_bytes() -> int:
    """What the kernel can give without taking from others, swap included."""
    lines = (line.split() for line in _read(_MEMINFO).splitlines())
    kibibytes = {words[0]: int(words[1]) for words in lines if len(words) > 1}
    if "MemAvailable:" not in kibibytes:
        return sys.maxsize
    return 1024 * (kibibytes["MemAvailable:"] + kibibytes.get("SwapFree:", 0))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
