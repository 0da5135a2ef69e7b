# SPDX-License-Identifier: Apache-2.0
"""Every test of exact arithmetic begins with one thread and the fastest engine."""

import pytest

from tiny_agent_trainer.exact import copies, threads
from tiny_agent_trainer.exact.contractions import current
from tiny_agent_trainer.exact.table import launch


@pytest.fixture(params=sorted(current.ENGINES))
def engine(request):
    return current.ENGINES[request.param]


@pytest.fixture(autouse=True)
def one_team(monkeypatch):
    """Small arrays are divided among threads too, so that a few values prove something."""
    monkeypatch.setattr(threads, "_SMALL", -1)
    monkeypatch.setattr(launch, "_ALONE", -1)
    monkeypatch.setattr(copies, "_ALONE", -1)
    yield
    threads.set_threads(1)
    current.set_engine("auto")
