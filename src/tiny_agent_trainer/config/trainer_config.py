# SPDX-License-Identifier: Apache-2.0
"""`TrainerConfig`: everything that determines an experiment, read from one TOML file."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pydantic

from tiny_agent_trainer import canonical, digests, errors
from tiny_agent_trainer.config import faults, section
from tiny_agent_trainer.config.data import DataSection, FolderOptions, PhantomOptions
from tiny_agent_trainer.config.engine import EngineSection
from tiny_agent_trainer.config.experiment import ExperimentSection
from tiny_agent_trainer.config.models import CnnOptions, ModelSection
from tiny_agent_trainer.config.optimizers import AdamOptions, OptimizerSection
from tiny_agent_trainer.config.schedules import ConstantOptions, ScheduleSection
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.config.validator import ValidatorSection

CONFIG_SIZE_LIMIT_BYTES = 1 << 20
"""A larger file is refused before it is parsed."""

_BYTE_ORDER_MARK = "\ufeff"
"""What some editors write before UTF-8; `tomllib` takes it for a key."""


class TrainerConfig(section.Section):
    """An experiment. Every section has defaults; an empty file trains the phantom."""

    experiment: ExperimentSection = ExperimentSection()
    engine: EngineSection = EngineSection()
    data: DataSection = PhantomOptions()
    tokenizer: TokenizerSection = TokenizerSection()
    model: ModelSection = CnnOptions()
    optimizer: OptimizerSection = AdamOptions()
    schedule: ScheduleSection = ConstantOptions()
    validator: ValidatorSection = ValidatorSection()

    @pydantic.model_validator(mode="after")
    def _check_label_maps(self) -> "TrainerConfig":
        patches = self.tokenizer.patches
        is_drawn_from = bool(patches.size) and patches.foreground_fraction > 0
        if isinstance(self.data, FolderOptions) and self.data.label_maps and not is_drawn_from:
            raise ValueError(
                "[data] label_maps say where patches are drawn: write `size` and a "
                "`foreground_fraction` above 0 under [tokenizer.patches], or leave label_maps out"
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """Every value with its default filled in, as JSON values."""
        return self.model_dump(mode="json")

    def semantic(self) -> dict[str, Any]:
        """The values that can change a result, as JSON values."""
        return section.semantic_values(self)

    def digest(self) -> str:
        """Digest of the values that can change a result."""
        return digests.named(canonical.type_name, canonical.encode(self.semantic()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """A configuration and the exact bytes it was read from."""

    config: TrainerConfig
    text: bytes
    stem: str


def read_config(path: Path) -> LoadedConfig:
    """Read a TOML file.

    Raises:
        ConfigError: Absent, too large, not UTF-8, not TOML, or with faults; all are listed.
    """
    text = _read_bytes(path)
    return LoadedConfig(config=parse_config(text, str(path)), text=text, stem=path.stem)


def parse_config(text: bytes, path: str) -> TrainerConfig:
    """Turn TOML bytes into a configuration; `path` is for messages only.

    One byte order mark at the start is let through, as TOML 1.0 means it (toml-lang/toml#437).

    Raises:
        ConfigError: Not UTF-8, not TOML, or with faults; all are listed with their lines.
    """
    try:
        source = text.decode("utf-8").removeprefix(_BYTE_ORDER_MARK)
        values = tomllib.loads(source)
    except UnicodeDecodeError as error:
        raise errors.ConfigError(path, [f"{path}: byte {error.start} is not UTF-8"]) from error
    except tomllib.TOMLDecodeError as error:
        raise errors.ConfigError(path, [f"{path}: not TOML: {error}"]) from error
    except RecursionError as error:
        raise errors.ConfigError(path, [f"{path}: nested too deeply"]) from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise errors.ConfigError(path, [f"{path}: {error}"]) from error
    try:
        return TrainerConfig.model_validate(values)
    except pydantic.ValidationError as error:
        found = faults.describe_all(error, values, source, path, TrainerConfig)
        raise errors.ConfigError(path, found) from error


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > CONFIG_SIZE_LIMIT_BYTES:
            message = f"{path}: larger than {CONFIG_SIZE_LIMIT_BYTES} bytes"
            raise errors.ConfigError(str(path), [message])
        return path.read_bytes()
    except OSError as error:
        raise errors.ConfigError(str(path), [f"{path}: {error.strerror}"]) from error


def schema() -> dict[str, Any]:
    """JSON schema of the TOML file, for editors."""
    return TrainerConfig.model_json_schema()
