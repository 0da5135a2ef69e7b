# SPDX-License-Identifier: Apache-2.0
"""Where in a network an operation was met; looked for only when something is to be said of it."""

import sys

from torch import nn

OUTSIDE = "the backward pass, or the optimiser"


def current() -> str:
    """The innermost module whose forward is under way, with its path in the network."""
    path: list[nn.Module] = []
    frame = sys._getframe()  # costs nothing until something is wrong
    while frame.f_back is not None:
        frame = frame.f_back
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and (not path or path[-1] is not owner):
            path.append(owner)
    if not path:
        return OUTSIDE
    names = {module: name for name, module in path[-1].named_modules()}
    name = names.get(path[0], "")
    return f"module {name or '(the whole network)'} ({type(path[0]).__name__})"
