# SPDX-License-Identifier: Apache-2.0
"""`verify_experiment`: restore, check, re-run, compare; identical, different, or not checkable.

1. The archive or run is checked against its own manifest: a fault is *different*.
2. The installed package runs again if its source is the recorded one; the archived source only if
   the caller trusts it. Otherwise nothing is run and the answer is *could not be checked*.
3. The re-run is confined (`isolation.py`) and cannot read the archive or the original run.
4. Every result file is compared byte for byte. A difference in native arithmetic on a platform
   unlike the recorded one is *could not be checked*, with what differs.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_agent_trainer import canonical, clock, digests, durable, errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments import identity, rerun, tensor_difference
from tiny_agent_trainer.experiments.archives import restore
from tiny_agent_trainer.experiments.run_directory import integrity, layout, manifest, status
from tiny_agent_trainer.meta import audit, chronicle_reader, session, ustar

ARCHIVE_ENDING = ".tar.gz"
SYSTEM_CLOCK = clock.SystemClock()

Rerun = Callable[[rerun.Order], Path]
Tell = Callable[[str], None]


_READERS_OF_FOLDERS = ("folder", "image_folder")
"""Readers whose faults name files of the user, which no audit repeats."""


def _silent(_text: str) -> None:
    """Tell nobody."""


class _NotCheckableError(Exception):
    """Nothing can be said; the message says why."""

    def __init__(self, reason: str, environment: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.environment = environment


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Original:
    """What is verified: a sound run on disk, wherever it came from."""

    given: Path
    run: Path
    manifest: manifest.Manifest

    @property
    def identity(self) -> dict[str, Any]:
        assert isinstance(self.manifest.identity, dict)
        return self.manifest.identity


def verify_experiment(
    path: str | Path,
    *,
    data_dir: str | Path | None = None,
    trust_source: bool = False,
    audit_dir: str | Path | None = None,
    carry_out: Rerun = rerun.rerun,
    tell: Tell = _silent,
    now: clock.Clock = SYSTEM_CLOCK,
) -> audit.AuditReport:
    """Run an archive or a run again and compare every result.

    Args:
        path: An archive, or the directory of a finished run.
        data_dir: Where the data are, instead of `[data] root`.
        trust_source: Whether the archived source may run when it is not the installed one.
        audit_dir: Where the audit is written, instead of `<name>.audit/` beside.
        carry_out: What runs the experiment again.
        tell: Told what is being done.
        now: The clock for the journal.

    Returns:
        The audit; it also stands in the audit directory, unless the disk refuses, which is then
        among the reasons and leaves the verdict as it is.

    Raises:
        UsageError: No such archive or run.

    Guarantees:
        `identical` is said only if every result file of a confined re-run has the bytes of the
        original. A fault inside this function is never `identical` or `different`.
    """
    given = Path(path)
    _require_exists(given)
    with tempfile.TemporaryDirectory(prefix="tiny-agent-trainer-verify-") as scratch:
        report, made = _verify(given, Path(scratch), data_dir, trust_source, carry_out, tell)
        target = Path(audit_dir) if audit_dir else audit_directory(given)
        try:
            _write(target, report, made)
            _note(given, report, now)
        except (errors.TrainerError, OSError) as error:
            reason = f"the audit could not be written: {error}"
            report = dataclasses.replace(report, reasons=(*report.reasons, reason))
    return report


def audit_directory(given: Path) -> Path:
    """Where the audit of an archive or run is written."""
    resolved = given.resolve()
    return resolved.with_name(resolved.name.removesuffix(ARCHIVE_ENDING) + ".audit")


def _require_exists(given: Path) -> None:
    marks = (layout.MANIFEST, layout.CONFIG, layout.JOURNAL)
    is_run = given.is_dir() and any((given / mark).exists() for mark in marks)
    if not (is_run or given.is_file()):
        raise errors.UsageError(
            where=str(given),
            expected="an archive or the directory of a finished run",
            found="a directory that holds no run" if given.is_dir() else "nothing there",
            remedy="name a .tar.gz of `archive`, or a directory that `list` shows",
        )


def _verify(
    given: Path,
    scratch: Path,
    data_dir: str | Path | None,
    trust_source: bool,
    carry_out: Rerun,
    tell: Tell,
) -> tuple[audit.AuditReport, Path | None]:
    subject = given.resolve().name
    digest: str | None = None
    try:
        tell("checking integrity")
        original = _open(given, scratch)
        digest = original.manifest.run_digest
        order, source, environment = _prepare(original, scratch, data_dir, trust_source)
        tell("running again")
        made = carry_out(order)
        tell("comparing")
        return _judge(original, made, source, environment), made
    except (errors.ArchiveError, errors.IntegrityError, errors.LedgerError) as error:
        report = audit.AuditReport(
            verdict="different", subject=subject, reasons=(str(error),), run_digest_a=digest
        )
        return report, None
    except _NotCheckableError as error:
        return _not_checkable(subject, str(error), digest, error.environment), None
    except (rerun.RerunError, errors.TrainerError, OSError) as error:
        if isinstance(error, rerun.RerunError) and error.words:
            tell(error.words)
        return _not_checkable(subject, str(error), digest), None


def _not_checkable(
    subject: str,
    reason: str,
    digest: str | None,
    environment: tuple[str, ...] = (),
) -> audit.AuditReport:
    return audit.AuditReport(
        verdict="could not be checked",
        subject=subject,
        reasons=(reason,),
        run_digest_a=digest,
        environment=environment,
    )


def _open(given: Path, scratch: Path) -> _Original:
    run = given if given.is_dir() else restore.restore_archive(given, scratch / "original")
    if not (run / layout.MANIFEST).exists():
        raise _NotCheckableError("the run is not finished; finish it with --resume")
    integrity.require_sound(run)
    return _Original(given=given, run=run, manifest=manifest.read_manifest_of(run))


def _prepare(
    original: _Original,
    scratch: Path,
    data_dir: str | Path | None,
    trust_source: bool,
) -> tuple[rerun.Order, str, tuple[str, ...]]:
    recorded = original.identity
    text = (original.run / layout.CONFIG).read_bytes()
    archived = ustar.decode_tar((original.run / layout.SOURCE).read_bytes())
    _require_own(original, "source", session.digest_source(archived), layout.SOURCE)
    data_bytes = (original.run / layout.DATA_MANIFEST).read_bytes()
    _require_own(original, "data", identity.digest_data(data_bytes), layout.DATA_MANIFEST)
    installed = session.digest_source(session.read_source())
    environment = tuple(_environment(recorded))
    if installed == recorded["source"]:
        source, name = session.package_parent(), "installed"
    elif trust_source:
        source, name = _unpack(archived, scratch / "source"), "archived"
    else:
        reason = (
            f"the installed package ({installed}) is not the one that ran "
            f"({recorded['source']}); install that version, or let the archived source run "
            "with --trust-source if you trust it"
        )
        raise _NotCheckableError(reason, environment)
    root = weights = ""
    if name == "installed":
        config = trainer_config.parse_config(text, layout.CONFIG)
        _require_own(original, "config", config.digest(), layout.CONFIG)
        _require_resolved(original, config)
        root = config.data.root
        weights = config.model.weights.path if config.model.weights else ""
    places, is_named = rerun.data_directories(Path(data_dir) if data_dir else None, root)
    work = scratch / "rerun"
    work.mkdir()
    order = rerun.Order(
        config=text,
        source=source,
        data_dirs=places,
        name_data=is_named,
        weights=weights,
        hidden=(original.given, original.run),
        work=work,
        tells_all=_reader(original.run) not in _READERS_OF_FOLDERS,
    )
    return order, name, environment


def _require_own(original: _Original, part: str, found: str, path: str) -> None:
    """Hold an input against the identity that the run was sealed with."""
    if original.identity.get(part) != found:
        raise errors.IntegrityError(
            where=f"{original.given.name}, {path}",
            expected=f"{part} {original.identity.get(part)}",
            found=found,
            remedy="get the archive again from where it was made",
        )


def _require_resolved(original: _Original, config: trainer_config.TrainerConfig) -> None:
    expected = canonical.encode_line(config.resolved())
    found = (original.run / layout.RESOLVED_CONFIG).read_bytes()
    if found != expected:
        raise errors.IntegrityError(
            where=f"{original.given.name}, {layout.RESOLVED_CONFIG}",
            expected=f"the values of {layout.CONFIG}",
            found=f"others, SHA-256 {digests.sha256_hex(found)}",
            remedy="get the archive again from where it was made",
        )


def _environment(recorded: dict[str, Any]) -> list[str]:
    parts = ("versions", "platform")
    platform = session.describe_platform() if recorded["platform"] else {}  # none if exact
    versions = session.library_versions(decodes="pydicom" in recorded["versions"])
    here = {"versions": versions, "platform": platform}
    return identity.describe_differences({part: recorded[part] for part in parts}, here)


def _unpack(archived: dict[str, bytes], target: Path) -> Path:
    for name, data in archived.items():
        path = target / session.PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return target


def _judge(
    original: _Original, made: Path, source: str, environment: tuple[str, ...]
) -> audit.AuditReport:
    files = tuple(_compare_files(original, made))
    run_digest_b = manifest.run_digest_of(made)
    report = audit.AuditReport(
        verdict="identical",
        subject=original.given.resolve().name,
        reasons=(f"all {len(files)} result files were made again, byte for byte",),
        run_digest_a=original.manifest.run_digest,
        run_digest_b=run_digest_b,
        source=source,
        environment=environment,
        files=files,
    )
    differing = [file for file in files if file.verdict != "identical"]
    if not differing and run_digest_b == original.manifest.run_digest:
        return report
    return _explain(original, made, report, len(differing))


def _explain(
    original: _Original, made: Path, report: audit.AuditReport, count: int
) -> audit.AuditReport:
    data_differs = _data_difference(original.run, made)
    verdict: audit.Verdict = "different"
    reasons = [f"{count} of {len(report.files)} result files differ"]
    if data_differs:
        verdict, reasons = "could not be checked", [data_differs, *reasons]
    elif report.environment and _is_native(original.run):
        verdict = "could not be checked"
        reasons.insert(0, "native arithmetic on a platform unlike the recorded one")
    return dataclasses.replace(
        report,
        verdict=verdict,
        reasons=tuple(reasons),
        first_mismatch_cycle=_first_cycle(original.run, made),
        first_tensor=_first_tensor(original.run, made, report.files),
    )


def _reader(run: Path) -> str:
    config: Any = canonical.decode((run / layout.RESOLVED_CONFIG).read_bytes())
    return str(config["data"]["reader"])


def _is_native(run: Path) -> bool:
    config: Any = canonical.decode((run / layout.RESOLVED_CONFIG).read_bytes())
    return bool(config["engine"]["arithmetic"] == "native")


def _compare_files(original: _Original, made: Path) -> list[audit.FileComparison]:
    ours = {f.path: f.sha256 for f in original.manifest.files if f.kind == layout.RESULT}
    names = [path for path in manifest.list_files(made) if layout.classify(path) == layout.RESULT]
    theirs = {name: digests.sha256_file(made / name) for name in names}
    return [
        _compare_file(path, ours.get(path), theirs.get(path))
        for path in sorted({*ours, *theirs}, key=str.encode)
    ]


def _compare_file(path: str, a: str | None, b: str | None) -> audit.FileComparison:
    verdict: audit.FileVerdict = "identical" if a == b else "different"
    if b is None:
        verdict = "only in the original"
    elif a is None:
        verdict = "only in the re-run"
    return audit.FileComparison(path=path, verdict=verdict, sha256_a=a, sha256_b=b)


def _data_difference(run: Path, made: Path) -> str:
    """Whether the re-run saw other data, and which file or sample is the first."""
    left, right = ((place / layout.DATA_MANIFEST).read_bytes() for place in (run, made))
    if left == right:
        return ""
    a: Any
    b: Any
    a, b = canonical.decode(left), canonical.decode(right)
    for part, key in (("files", "path"), ("samples", "key")):
        for one, other in zip(a.get(part, ()), b.get(part, ()), strict=False):
            if one != other:
                return f"the data here are not the recorded ones: {one[key]} differs"
    return "the data here are not the recorded ones"


def _first_cycle(run: Path, made: Path) -> chronicle_reader.LedgerDifference | None:
    return chronicle_reader.first_difference(run / layout.CHRONICLE, made / layout.CHRONICLE)


def _first_tensor(
    run: Path, made: Path, files: tuple[audit.FileComparison, ...]
) -> audit.TensorDifference | None:
    """Numbered checkpoints come first, because they are the oldest."""
    differing = [
        file.path
        for file in files
        if file.verdict == "different" and file.path.startswith(layout.CHECKPOINTS + "/")
    ]
    for path in sorted(differing, key=lambda path: ("/step_" not in path, path)):
        found = tensor_difference.first_difference(run / path, made / path, path)
        if found is not None:
            return found
    return None


def _write(directory: Path, report: audit.AuditReport, made: Path | None) -> None:
    durable.make_directory(directory)
    with durable.exclusive(directory):
        durable.write_atomic(directory / "audit.json", audit.encode_audit(report))
        durable.write_atomic(directory / "determinism_audit.log", audit.encode_log(report))
        if made is not None and report.verdict == "different":
            shutil.rmtree(directory / "rerun", ignore_errors=True)
            shutil.copytree(made, directory / "rerun")


def _note(run: Path, report: audit.AuditReport, now: clock.Clock) -> None:
    """Write the verdict into a sound run's journal; an archive has none that may grow."""
    if report.run_digest_a is None or not run.is_dir():
        return
    status.note(run, now, status.VERIFIED, verdict=report.verdict, run_digest=report.run_digest_b)
