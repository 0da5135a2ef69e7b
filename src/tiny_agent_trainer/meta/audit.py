# SPDX-License-Identifier: Apache-2.0
"""`AuditReport`: what a verification found, as a value, as JSON and as a log for people."""

import dataclasses
from typing import Any, Final, Literal

from tiny_agent_trainer import canonical
from tiny_agent_trainer.meta.record_difference import LedgerDifference

SCHEMA: Final = "audit-v1"

Verdict = Literal["identical", "different", "could not be checked"]

EXIT_CODES: Final[dict[Verdict, int]] = {
    "identical": 0,
    "different": 1,
    "could not be checked": 3,
}
"""1 and 3 never merge: a difference is evidence, an unfinished check is none."""

FileVerdict = Literal["identical", "different", "only in the original", "only in the re-run"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileComparison:
    """One result file in both runs; SHA-256 as 64 hex digits, None where it is missing."""

    path: str
    verdict: FileVerdict
    sha256_a: str | None
    sha256_b: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TensorDifference:
    """The first tensor, in the order of names, whose bytes differ, and its first such element.

    Attributes:
        checkpoint: The file.
        tensor: The name in it.
        index: Place of the element; () when type or shape differ.
        value_a: The element in the original, or its type and shape.
        value_b: The same in the re-run.
        ulp_distance: Floats between the two; None when they are not floats of one type.
    """

    checkpoint: str
    tensor: str
    index: tuple[int, ...]
    value_a: str
    value_b: str
    ulp_distance: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a verification found.

    Attributes:
        verdict: The answer.
        subject: Name of the archive or run, without its directories.
        reasons: Why, one sentence each.
        run_digest_a: Of the original.
        run_digest_b: Of the re-run, where there was one.
        source: Which source ran: `installed`, `archived` or `none`.
        environment: What differs between the recorded and this environment.
        files: Every result file.
        first_mismatch_cycle: Where the ledgers part.
        first_tensor: Where the checkpoints part.
    """

    verdict: Verdict
    subject: str
    reasons: tuple[str, ...]
    run_digest_a: str | None = None
    run_digest_b: str | None = None
    source: str = "none"
    environment: tuple[str, ...] = ()
    files: tuple[FileComparison, ...] = ()
    first_mismatch_cycle: LedgerDifference | None = None
    first_tensor: TensorDifference | None = None

    @property
    def is_identical(self) -> bool:
        """Whether every result was made again, byte for byte."""
        return self.verdict == "identical"

    @property
    def exit_code(self) -> int:
        """0, 1 or 3."""
        return EXIT_CODES[self.verdict]


def encode_audit(report: AuditReport) -> bytes:
    """`audit.json`: one canonical JSON line."""
    values: dict[str, Any] = dataclasses.asdict(report)
    for found in (values["first_mismatch_cycle"], values["first_tensor"]):
        if found is not None and found["ulp_distance"] is not None:
            found["ulp_distance"] = str(found["ulp_distance"])  # may pass 2^53
    details = {"schema": SCHEMA, "is_identical": report.is_identical, "exit_code": report.exit_code}
    return canonical.encode_line(values | details)


def encode_log(report: AuditReport) -> bytes:
    """`determinism_audit.log`: the same for people."""
    lines = [f"verdict: {report.verdict}", f"subject: {report.subject}"]
    lines += [f"reason: {reason}" for reason in report.reasons]
    lines += [
        f"run_digest of the original: {report.run_digest_a or '-'}",
        f"run_digest of the re-run:   {report.run_digest_b or '-'}",
        f"source that ran: {report.source}",
    ]
    lines += [f"environment: {difference}" for difference in report.environment]
    if report.first_mismatch_cycle is not None:
        lines.append(describe_cycle(report.first_mismatch_cycle))
    if report.first_tensor is not None:
        lines.append(describe_tensor(report.first_tensor))
    lines += [f"file: {file.verdict:<21} {file.path}" for file in report.files]
    return ("\n".join(lines) + "\n").encode()


def describe_cycle(found: LedgerDifference) -> str:
    """Where the ledgers part, in one sentence."""
    ulp = "" if found.ulp_distance is None else f", {found.ulp_distance} ULP apart"
    return (
        f"first differing cycle: record {found.record_index}, epoch {found.epoch}, "
        f"step {found.step}, phase {found.phase}, field {found.field}: "
        f"{found.decimal_a} ({found.hex_a}) against {found.decimal_b} ({found.hex_b}){ulp}"
    )


def describe_tensor(found: TensorDifference) -> str:
    """Where the checkpoints part, in one sentence."""
    ulp = "" if found.ulp_distance is None else f", {found.ulp_distance} ULP apart"
    place = "".join(f"[{index}]" for index in found.index)
    return (
        f"first differing tensor: {found.checkpoint}, {found.tensor}{place}: "
        f"{found.value_a} against {found.value_b}{ulp}"
    )
