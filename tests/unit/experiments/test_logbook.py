# SPDX-License-Identifier: Apache-2.0
"""What the log says of steps and epochs."""

from tiny_agent_trainer import clock
from tiny_agent_trainer.experiments import logbook, observer
from tiny_agent_trainer.experiments.run_directory import layout


def news(underflow):
    return observer.StepNews(
        step=101, steps=200, epoch=2, epochs=2, loss=0.5, num_images=4, underflow=underflow
    )


def test_what_became_zero_is_written_with_its_step(tmp_path):
    (tmp_path / "observed").mkdir()
    with logbook.Logbook(tmp_path, observer.SilentObserver(), clock.SystemClock()) as book:
        book.stepped(news({"weight": (1, 8), "input": (0, 4)}))
        book.stepped(news({}))
    (line,) = (tmp_path / layout.LOG).read_text().splitlines()
    assert line.endswith(
        "step 101  rounded to zero by grids: 0.00% of inputs (0 of 4), 12.50% of weights (1 of 8)"
    )
