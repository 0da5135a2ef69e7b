# SPDX-License-Identifier: Apache-2.0
"""Whether what is installed here reads, prepares and computes as a run did."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tiny_agent_trainer import digests, errors
from tiny_agent_trainer.experiments import identity
from tiny_agent_trainer.experiments.load import LoadedRun
from tiny_agent_trainer.experiments.run_directory import layout
from tiny_agent_trainer.meta import session, ustar

_ROOMS: Final = ("config/", "exact/", "model/", "tokenizer/", "training/", "validator/")
"""Where an image becomes an answer; the other rooms cannot change one."""

_SHOWN: Final = 20


def require_same(run: Path, loaded: LoadedRun) -> None:
    """Refuse a run whose input or answer would be made in another way here.

    Raises:
        PlatformError: Names every source file, library and option that differs.
    """
    recorded = {key: loaded.identity.get(key) for key in ("config", "versions")}
    here = {
        "config": loaded.config.digest(),
        "versions": session.library_versions(decodes=loaded.config.data.decodes),
    }
    found = [*identity.describe_differences(recorded, here), *_sources(run)]
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise errors.PlatformError(
            where=str(run),
            expected="the reader, tokenizer and network of the run",
            found="; ".join(found[:_SHOWN]) + more,
            remedy="install the tiny-agent-trainer and the libraries that it ran with",
        )


def require_decoder(name: str, decoder: str, loaded: LoadedRun) -> None:
    """Refuse an image that another version of the same decoder read.

    Raises:
        PlatformError: Says which version the run had.
    """
    recorded = dict(one.rpartition(" ")[::2] for listed in loaded.decoders
                    for one in listed.split(", "))  # fmt: skip
    for one in decoder.split(", "):
        package, _, version = one.rpartition(" ")
        if recorded.get(package, version) != version:
            raise errors.PlatformError(
                where=name,
                expected=f"{package} {recorded[package]}, as the run had it",
                found=one,
                remedy=f"install {package} {recorded[package]}",
            )


def _sources(run: Path) -> Iterator[str]:
    then = ustar.decode_tar((run / layout.SOURCE).read_bytes())
    now = session.read_source()
    for path in sorted({*then, *now}, key=str.encode):
        if path.startswith(_ROOMS) and path.endswith(".py") and then.get(path) != now.get(path):
            yield f"{path}: {_digest(then.get(path))} recorded, {_digest(now.get(path))} here"


def _digest(data: bytes | None) -> str:
    return "nothing" if data is None else digests.sha256_hex(data)[:12]
