"""The settings of a run, and their reading."""

from reft_megatron.config.sections import (
    DEFAULT_PRESET,
    CheckpointConfig,
    Config,
    EvaluateConfig,
    GenerateConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelConfig,
    PpoConfig,
    PretrainConfig,
    RewardConfig,
    RunConfig,
    SftConfig,
    TaskConfig,
    TokenizerConfig,
)
from reft_megatron.config.settings_file import describe, load_config, to_yaml

__all__ = [
    "DEFAULT_PRESET",
    "CheckpointConfig",
    "Config",
    "EvaluateConfig",
    "GenerateConfig",
    "LogConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ParallelConfig",
    "PpoConfig",
    "PretrainConfig",
    "RewardConfig",
    "RunConfig",
    "SftConfig",
    "TaskConfig",
    "TokenizerConfig",
    "describe",
    "load_config",
    "to_yaml",
]
