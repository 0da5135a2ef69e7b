# SPDX-License-Identifier: Apache-2.0
"""Observers of the command line: a progress bar, nothing, or JSON lines; all stop on Ctrl-C."""

import signal
import sys
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tiny_agent_trainer import canonical, clock
from tiny_agent_trainer.cli import outcome
from tiny_agent_trainer.experiments import logbook

if TYPE_CHECKING:
    from tiny_agent_trainer.experiments.observer import EpochNews, StepNews
    from tiny_agent_trainer.experiments.run import FinishedRun


class QuietConsole:
    """Prints the result only.

    As a context it turns the first Ctrl-C into a wish to stop after the step; a second one is
    Python's own interrupt.
    """

    def __init__(self) -> None:
        self._wants_stop = False
        self._handler = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Self:
        self._handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._handler)

    def doing(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def said(self, text: str) -> None:
        """Nothing."""

    def stepped(self, news: "StepNews") -> None:
        """Nothing."""

    def ended_epoch(self, news: "EpochNews") -> None:
        """Nothing."""

    def ended(self, finished: "FinishedRun") -> None:
        """Print what came out."""
        print(outcome.describe(finished))

    def wants_stop(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._wants_stop

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._wants_stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.said("finishing the step; press Ctrl-C again to stop at once")


class ProgressConsole(QuietConsole):
    """A progress bar with epoch, loss, metric, best so far, images per second and time left."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[about]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("preparing", total=None, about="")
        self._clock = clock.SystemClock()
        self._began_s, self._images, self._validated = self._clock.elapsed_s(), 0, ""

    def __enter__(self) -> Self:
        super().__enter__()
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
        super().__exit__(kind, value, traceback)

    def doing(self, what: str, done: int, total: int | None) -> None:
        """Show how far it is."""
        self._bar.update(self._task, description=what, completed=done, total=total)

    def said(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stepped(self, news: "StepNews") -> None:
        """Move the bar."""
        if not self._images:
            self._began_s = self._clock.elapsed_s()
        self._images += news.num_images
        rate = self._images / max(self._clock.elapsed_s() - self._began_s, 1e-3)
        self._bar.update(
            self._task,
            description=f"epoch {news.epoch}/{news.epochs}",
            completed=news.step,
            total=news.steps,
            about=f"loss {news.loss:.4f}{self._validated}  {rate:.0f} images/s",
        )

    def ended_epoch(self, news: "EpochNews") -> None:
        """Print the epoch and remember its metric for the bar."""
        if news.validation is not None and news.best_value is not None:
            value = news.validation.value(news.metric)
            shown = "undefined" if value is None else f"{value:.4f}"
            self._validated = f"  val {news.metric} {shown}  best {news.best_value:.4f}"
        self.said(logbook.describe_epoch(news))


class JsonConsole(QuietConsole):
    """One canonical JSON line per event on standard output."""

    def said(self, text: str) -> None:
        """A message."""
        self._write({"event": "said", "text": text})

    def stepped(self, news: "StepNews") -> None:
        """A step."""
        self._write(
            {"event": "step", "step": news.step, "steps": news.steps, "epoch": news.epoch,
             "loss": news.loss}
        )  # fmt: skip

    def ended_epoch(self, news: "EpochNews") -> None:
        """An epoch."""
        report = news.validation
        self._write(
            {"event": "epoch", "epoch": news.epoch, "epochs": news.epochs,
             "train_loss": news.train_loss, "metric": news.metric,
             "value": report.value(news.metric) if report else None,
             "best_epoch": news.best_epoch, "best_value": news.best_value}
        )  # fmt: skip

    def ended(self, finished: "FinishedRun") -> None:
        """The result."""
        test = finished.test
        self._write(
            {"event": "ended", "outcome": finished.outcome, "run": str(finished.path),
             "run_digest": finished.run_digest, "experiment_digest": finished.experiment_digest,
             "metric": finished.metric,
             "test_value": test.value(finished.metric) if test else None}
        )  # fmt: skip

    def _write(self, event: canonical.JsonValue) -> None:
        sys.stdout.write(canonical.encode_line(event).decode())
        sys.stdout.flush()


def build_console(*, quiet: bool, log_json: bool) -> QuietConsole:
    """The observer that the options ask for."""
    if log_json:
        return JsonConsole()
    return QuietConsole() if quiet else ProgressConsole()
