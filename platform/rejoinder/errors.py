"""What a user can cause, in one sentence each: the place, the value, the way out.

`rejoinder.command_line.run` prints these without a traceback and exits with status 1. Anything else that
escapes is a defect of ours and keeps its traceback.
"""


class RejoinderError(Exception):
    """Base of every error that a user can cause and put right."""


class RecipeError(RejoinderError):
    """A setting is misspelt, of the wrong type, out of range, or contradicts another one."""


class StorageError(RejoinderError):
    """A place to read from or write to is missing, full, or in use by another process."""


class CorpusError(RejoinderError):
    """A raw dialogue file is missing, empty, or broken beyond the limit."""


class TextError(RejoinderError):
    """A tokenizer cannot be trained or read."""


class ShardError(RejoinderError):
    """A shard or its manifest is missing, damaged, or of another version."""


class ModelError(RejoinderError):
    """A model was given what it cannot take, such as weights of another architecture."""


class CheckpointError(RejoinderError):
    """A checkpoint is missing, damaged, or does not fit the recipe."""


class ClusterError(RejoinderError):
    """Ray cannot be reached, or the cluster has less than the recipe asks for."""


class EngineError(RejoinderError):
    """A request asks the reply engine for what it cannot do, or the engine has stopped."""


class EvaluationError(RejoinderError):
    """There is nothing to evaluate, or a metric cannot be computed."""


class TrainingError(RejoinderError):
    """Training cannot start or cannot go on."""


class RegistryError(RejoinderError):
    """The model registry is unreachable, or has no such model, version or alias."""


class ServingError(RejoinderError):
    """The chat service cannot be started or reached."""


class TuningError(RejoinderError):
    """A search cannot start, or ended without a result."""
