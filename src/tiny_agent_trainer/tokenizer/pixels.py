# SPDX-License-Identifier: Apache-2.0
"""What names an image by its content: the digest of its decoded pixels."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt


def digest_pixels(values: npt.NDArray[Any]) -> str:
    """SHA-256 of type, shape and values (little endian, row-major), as 64 hex digits."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    header = f"pixels-v1 {little.dtype.str} {little.shape}\n".encode()
    digest = hashlib.sha256(header)
    digest.update(np.ascontiguousarray(little).data)
    return digest.hexdigest()
