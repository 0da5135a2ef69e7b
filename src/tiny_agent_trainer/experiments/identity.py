# SPDX-License-Identifier: Apache-2.0
"""What makes two runs the same experiment: `experiment_digest` and the parts it is made of."""

from collections.abc import Mapping
from typing import Any

from tiny_agent_trainer import digests
from tiny_agent_trainer.config.trainer_config import TrainerConfig
from tiny_agent_trainer.meta import session

Identity = dict[str, Any]


def build_identity(config: TrainerConfig, data_manifest: bytes, source_digest: str) -> Identity:
    """The parts of `experiment_digest`.

    The platform belongs to them in native arithmetic only, whose bits depend on it.

    Args:
        config: The configuration.
        data_manifest: The bytes of `data/manifest.json`.
        source_digest: Digest of the package as executed.
    """
    return {
        "schema": "identity-v1",
        "config": config.digest(),
        "data": digest_data(data_manifest),
        "source": source_digest,
        "versions": session.library_versions(decodes=config.data.decodes),
        "platform": session.describe_platform() if config.engine.is_native else {},
    }


def digest_data(data_manifest: bytes) -> str:
    """Digest of the bytes of `data/manifest.json`."""
    return digests.named("data-manifest-v1", data_manifest)


def describe_differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """One sentence for every part that differs, in the order of their weight."""
    words = {
        "config": "the configuration",
        "data": "the data",
        "source": "the source of tiny-agent-trainer",
    }
    found = [f"{words[part]}: {recorded.get(part)} recorded, {here.get(part)} here"
             for part in words if recorded.get(part) != here.get(part)]  # fmt: skip
    for part in ("versions", "platform"):
        then, now = recorded.get(part) or {}, here.get(part) or {}
        found += [
            f"{part}.{name}: {_show(then.get(name))} recorded, {_show(now.get(name))} here"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
    return found


def _show(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "nothing"
    return "nothing" if value is None or value == {} else str(value)
