# SPDX-License-Identifier: Apache-2.0
"""`run_experiment`: one TOML file in, one sealed run directory out; and its continuation."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiny_agent_trainer import clock, durable, errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.config.trainer_config import LoadedConfig, TrainerConfig
from tiny_agent_trainer.experiments import (
    identity,
    kept_split,
    links,
    logbook,
    observer,
    prepare,
    recorder,
    results,
    starting,
    workers,
)
from tiny_agent_trainer.experiments.run_directory import journal, layout, manifest, status
from tiny_agent_trainer.meta import chronicle, session
from tiny_agent_trainer.model import weights
from tiny_agent_trainer.reports.validation_report import ValidationReport
from tiny_agent_trainer.training import loop, store
from tiny_agent_trainer.training.group import AbstractGroup

SILENT = observer.SilentObserver()
SYSTEM_CLOCK = clock.SystemClock()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """What became of a run.

    Attributes:
        path: Its directory.
        outcome: `completed`, `stopped_early`, or `interrupted` (then nothing below is known).
        experiment_digest: What ran.
        run_digest: What came out.
        metric: The metric that chose the best epoch, as the configuration names it.
        test: The report on the test split.
    """

    path: Path
    outcome: loop.Outcome
    experiment_digest: str
    run_digest: str | None = None
    metric: str = ""
    test: ValidationReport | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """What a run is carried out with, in this process."""

    run: Path
    config: TrainerConfig
    data: prepare.PreparedData
    identity: Mapping[str, Any]
    log: logbook.Logbook
    book: journal.Journal

    @property
    def experiment_digest(self) -> str:
        return manifest.experiment_digest_of(self.identity)


def run_experiment(
    config_path: str | Path,
    *,
    results_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    told: observer.Observer = SILENT,
    now: clock.Clock = SYSTEM_CLOCK,
) -> FinishedRun:
    """Train, validate and report an experiment.

    Args:
        config_path: The TOML file.
        results_dir: Where the run's directory is made, instead of `[experiment] results_dir`.
        data_dir: Where the data are, instead of `[data] root`.
        told: Who is told how it goes, and may ask to stop.
        now: The clock for names and observations.

    Returns:
        The run, sealed; or interrupted, with a checkpoint to continue from.

    Raises:
        TrainerError: One of its kinds; what was written before stays.
    """
    loaded = trainer_config.read_config(Path(config_path))
    parent = Path(results_dir or loaded.config.experiment.results_dir)
    durable.make_directory(parent)
    data, inputs = _prepare(loaded, data_dir, told)
    run, lock = starting.start_run(parent, inputs, now)
    try:
        return _carry_out(run, inputs, data, told, now)
    finally:
        lock.close()


def resume_experiment(
    run: str | Path,
    *,
    data_dir: str | Path | None = None,
    told: observer.Observer = SILENT,
    now: clock.Clock = SYSTEM_CLOCK,
) -> FinishedRun:
    """Continue a run from its last checkpoint; a sealed run is left as it is.

    Raises:
        ResumeError: Not a run, in use, or the code, data or libraries are not those it began with.
        TrainerError: As in `run_experiment`.
    """
    path = Path(run)
    if not (path / layout.CONFIG).is_file():
        raise errors.ResumeError(
            where=str(path),
            expected="the directory of a run",
            found=f"no {layout.CONFIG} in it",
            remedy="name a directory below the results directory, as `list` shows them",
        )
    lock = starting.RunLock(path)
    try:
        loaded = trainer_config.read_config(path / layout.CONFIG)
        if (path / layout.MANIFEST).exists():
            return _already_sealed(path, loaded)
        durable.remove_leftovers(path)
        journal.Journal(path / layout.JOURNAL, now)  # cuts off a line that was being written
        data, inputs = _prepare(loaded, data_dir, told)
        starting.require_inputs(path, inputs)
        return _carry_out(path, inputs, data, told, now, is_resumed=True)
    finally:
        lock.close()


def _prepare(
    loaded: LoadedConfig, data_dir: str | Path | None, told: observer.Observer
) -> tuple[prepare.PreparedData, starting.Inputs]:
    folder = None if data_dir is None else Path(data_dir)
    data = prepare.read_data(loaded.config, folder, told.doing)
    source = session.read_source()
    about = identity.build_identity(loaded.config, data.manifest, session.digest_source(source))
    inputs = starting.Inputs(
        loaded=loaded,
        data_manifest=data.manifest,
        source=source,
        identity=about,
        experiment_digest=manifest.experiment_digest_of(about),
    )
    return data, inputs


def _already_sealed(run: Path, loaded: LoadedConfig) -> FinishedRun:
    sealed = manifest.read_manifest_of(run)
    _tidy(run, loaded.config)
    outcomes = [e.facts.get("outcome") for e in journal.read(run / layout.JOURNAL)]
    return FinishedRun(
        path=run,
        outcome="stopped_early" if "stopped_early" in outcomes else "completed",
        experiment_digest=sealed.experiment_digest,
        run_digest=sealed.run_digest,
        metric=loaded.config.validator.metric,
    )


def _carry_out(
    run: Path,
    inputs: starting.Inputs,
    data: prepare.PreparedData,
    told: observer.Observer,
    now: clock.Clock,
    *,
    is_resumed: bool = False,
) -> FinishedRun:
    with logbook.Logbook(run, told, now) as log:
        book = journal.Journal(run / layout.JOURNAL, now)
        this = _Session(
            run=run,
            config=inputs.loaded.config,
            data=data,
            identity=inputs.identity,
            log=log,
            book=book,
        )
        if data.cohort.names_are_private:
            root = data.folder or Path(this.config.data.root or ".")
            log.said(links.write_links(root, data.cohort, data.manifest))
            log.said(kept_split.write_split(root, data.cohort))
        return _train(this, is_resumed=is_resumed)


def _train(this: _Session, *, is_resumed: bool) -> FinishedRun:
    with workers.at_work(this.config, this.run, this.data.folder, this.log) as group:
        return _train_as_leader(this, group, is_resumed=is_resumed)


def _train_as_leader(this: _Session, group: AbstractGroup, *, is_resumed: bool) -> FinishedRun:
    network = prepare.build_network(
        this.config,
        this.data.feed.tokenizer,
        this.data.cohort.num_outputs,
        prepare.fewest_samples(this.config, this.data),
    )
    if network.matches:
        this.log.said("weights:\n" + weights.describe(list(network.matches)))
    checkpoints = _checkpoints(this.run, this.config)
    length = prepare.span(this.config, this.data)
    seen_by = recorder.LedgerWitness(
        this.run / chronicle.FILE_NAME,
        this.experiment_digest,
        recorder.Scale(
            epochs=length.epochs,
            steps_per_epoch=length.steps_per_epoch,
            metric=this.config.validator.metric,
            task=this.data.cohort.task,
        ),
        this.log,
    )
    try:
        trainer, evaluation = prepare.build_trainer(
            this.config, this.data, network, this.experiment_digest, checkpoints, seen_by, group
        )
        evaluation.require_selectable()
        for note in evaluation.arithmetic.notes:
            this.log.said(note)
        _begin(this, trainer, checkpoints, seen_by, is_resumed=is_resumed)
        outcome = trainer.run()
        if outcome == "interrupted":
            this.book.append("interrupted", step=trainer.position.step)
            return FinishedRun(
                path=this.run, outcome=outcome, experiment_digest=this.experiment_digest
            )
        loop.load_network(network.network, checkpoints.read_best(trainer.position).network)
        measured = results.measure(evaluation, network.network)
        seen_by.end(trainer.position.step, trainer.position.epoch, measured.test, outcome)
    finally:
        seen_by.close()
    summary = results.summarise(
        this.run, this.config, this.data, network, trainer.position, this.experiment_digest
    )
    results.write_results(this.run, this.data, measured, summary)
    return _seal(this, outcome, measured.test)


def _begin(
    this: _Session,
    trainer: loop.Trainer,
    checkpoints: store.CheckpointStore,
    seen_by: recorder.LedgerWitness,
    *,
    is_resumed: bool,
) -> None:
    state = checkpoints.read_last() if is_resumed else None
    if is_resumed:
        this.book.append("resumed", step=state.position.step if state else 0)
    if state is None:
        seen_by.begin()
        return
    if state.experiment_digest != this.experiment_digest:
        raise errors.CheckpointError(
            where=str(checkpoints.directory / store.LAST),
            expected=f"a checkpoint of experiment {this.experiment_digest}",
            found=state.experiment_digest,
            remedy="remove the foreign file; the run then starts from the beginning",
        )
    seen_by.resume(state.mark)  # type: ignore[arg-type]
    trainer.restore(state)
    this.log.said(f"continuing after step {state.position.step}")


def _seal(this: _Session, outcome: loop.Outcome, test: ValidationReport) -> FinishedRun:
    _require_unchanged_source(this)
    checkpoints = _checkpoints(this.run, this.config)
    excluded = frozenset(f"{layout.CHECKPOINTS}/{name}" for name in checkpoints.unkept_names())
    this.log.close()
    run_digest = manifest.run_digest_of(this.run, excluded=excluded)
    this.book.append("completed", outcome=outcome, run_digest=run_digest)
    sealed = manifest.build_manifest(this.run, this.identity, excluded=excluded)
    manifest.write_manifest(this.run, sealed)
    _tidy(this.run, this.config)
    return FinishedRun(
        path=this.run,
        outcome=outcome,
        experiment_digest=this.experiment_digest,
        run_digest=run_digest,
        metric=this.config.validator.metric,
        test=test,
    )


def _checkpoints(run: Path, config: TrainerConfig) -> store.CheckpointStore:
    return store.CheckpointStore(directory=run / layout.CHECKPOINTS, keep=config.engine.keep)


def _tidy(run: Path, config: TrainerConfig) -> None:
    """What follows sealing; done again, to no effect, when a sealed run is continued."""
    _checkpoints(run, config).prune()
    durable.remove_leftovers(run)
    status.refresh_status(run)


def _require_unchanged_source(this: _Session) -> None:
    if session.digest_source(session.read_source()) != this.identity["source"]:
        raise errors.ResumeError(
            where="the installed package",
            expected="the source that the run began with",
            found="files that were changed while it ran",
            remedy="bring the source back and continue with --resume, or start a new run",
        )
