"""The settings of a run, and their reading."""

from reft_megatron.config.sections import (
    DEFAULT_PRESET,
    CheckpointConfig,
    Config,
    GenerateConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelConfig,
    RewardConfig,
    RolloutsConfig,
    RunConfig,
    TaskConfig,
    TokenizerConfig,
)
from reft_megatron.config.settings_file import describe, load_config, to_yaml
from reft_megatron.config.stages import (
    EvaluateConfig,
    PpoConfig,
    PretrainConfig,
    RerankConfig,
    SampleConfig,
    SftConfig,
)

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
    "RerankConfig",
    "RewardConfig",
    "RolloutsConfig",
    "RunConfig",
    "SampleConfig",
    "SftConfig",
    "TaskConfig",
    "TokenizerConfig",
    "describe",
    "load_config",
    "to_yaml",
]
