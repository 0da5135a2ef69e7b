# SPDX-License-Identifier: Apache-2.0
"""`observed/log.txt`, `timings.json` and `environment.json`: what was seen, and when.

Stands between the witness and the observer and passes everything on.
"""

from pathlib import Path
from types import TracebackType

from tiny_agent_trainer import canonical, clock, durable
from tiny_agent_trainer.experiments import observer
from tiny_agent_trainer.experiments.run_directory import layout
from tiny_agent_trainer.meta import session


class Logbook:
    """Writes down what the observer is told, with the time of day.

    Args:
        run: The run's directory.
        told: Who is told as well.
        now: The clock.
    """

    def __init__(self, run: Path, told: observer.Observer, now: clock.Clock) -> None:
        self._run, self._told, self._now = run, told, now
        self._file = durable.Appender(run / layout.LOG)
        self._began, self._began_at = now.elapsed_s(), clock.iso(now.now_utc())
        self._training_s, self._num_images, self._last_s = 0.0, 0, self._began
        self._is_open = True
        environment = canonical.encode_line(session.describe_environment())
        durable.write_atomic(run / layout.ENVIRONMENT, environment)

    def doing(self, what: str, done: int, total: int | None) -> None:
        """Pass on."""
        self._told.doing(what, done, total)

    def said(self, text: str) -> None:
        """Write down and pass on."""
        self._write(text)
        self._told.said(text)

    def stepped(self, news: observer.StepNews) -> None:
        """Count images, write down what became zero, and pass on."""
        moment = self._now.elapsed_s()
        self._training_s += moment - self._last_s
        self._last_s = moment
        self._num_images += news.num_images
        if news.underflow:
            self._write(describe_underflow(news))
        self._told.stepped(news)

    def ended_epoch(self, news: observer.EpochNews) -> None:
        """Write down and pass on."""
        self._write(describe_epoch(news))
        self._last_s = self._now.elapsed_s()
        self._told.ended_epoch(news)

    def wants_stop(self) -> bool:
        """Pass on."""
        return self._told.wants_stop()

    def close(self) -> None:
        """Write the timings and let go of the files."""
        if not self._is_open:
            return
        self._is_open = False
        self._file.close()
        timings: dict[str, canonical.JsonValue] = {
            "schema": "timings-v1",
            "began_at": self._began_at,
            "ended_at": clock.iso(self._now.now_utc()),
            "elapsed_s": round(self._now.elapsed_s() - self._began, 3),
            "training_s": round(self._training_s, 3),
            "images": self._num_images,
        }
        durable.write_atomic(self._run / layout.TIMINGS, canonical.encode_line(timings))

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(value, Exception):
            self._write(f"stopped: {value}")
        if kind is None or issubclass(kind, Exception):
            self.close()

    def _write(self, text: str) -> None:
        if self._is_open:
            self._file.append(f"{clock.iso(self._now.now_utc())} {text}\n".encode())


def describe_underflow(news: observer.StepNews) -> str:
    """Which part of the operands of a step became zero on their grids, in one line."""
    shares = [
        f"{lost / values:.2%} of {operand}s ({lost} of {values})"
        for operand, (lost, values) in sorted(news.underflow.items())
    ]
    return f"step {news.step}  rounded to zero by grids: {', '.join(shares)}"


def describe_epoch(news: observer.EpochNews) -> str:
    """An epoch in one line."""
    line = f"epoch {news.epoch}/{news.epochs}  loss {news.train_loss:.4f}"
    if news.validation is not None:
        value = news.validation.value(news.metric)
        shown = "undefined" if value is None else f"{value:.4f}"
        line += f"  val loss {news.validation.loss:.4f}  val {news.metric} {shown}"
        line += f"  best {news.best_value:.4f} (epoch {news.best_epoch})"
    return line
