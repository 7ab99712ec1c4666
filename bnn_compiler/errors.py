"""The project's error family: every error a user can cause is one of these, with one clear line."""


class BnnCompilerError(Exception):
    """Base of every error this package raises on purpose."""


class ModelError(BnnCompilerError):
    """The network or its checkpoint cannot be loaded or is not what it claims to be."""


class UnsupportedError(BnnCompilerError):
    """The network uses an operator, or a form of one, that cannot be compiled."""


class TargetError(BnnCompilerError):
    """A target is unknown, its file is malformed, or this CPU cannot run it."""


class BuildError(BnnCompilerError):
    """No linker or emulator was found, or the linker failed."""


class ArtifactError(BnnCompilerError):
    """An artifact is missing, damaged, foreign, or needs features this CPU lacks."""


class ScheduleError(BnnCompilerError):
    """Schedule records, a cost model or a journal of trials cannot be used."""


class InputError(BnnCompilerError):
    """An input of a compiled network has the wrong number, shape, dtype or content."""


class SearchError(BnnCompilerError):
    """A search cannot be run: its budget, data, settings or checkpoint do not allow it."""


class PlanError(InputError):
    """A plan names no group of the network, or counts that it cannot have."""


class DeviceError(BnnCompilerError):
    """A board, its tracker, or a kit of candidates or its results cannot be used."""


class TrainingError(BnnCompilerError):
    """Data, settings or a checkpoint of training cannot be used, or its loss is not finite."""


class VerifyError(BnnCompilerError):
    """A compiled network and its source cannot be compared."""


class MismatchError(VerifyError):
    """A compiled network does not compute what its source does."""
