"""The project's exceptions: one hierarchy, so that a line program can catch what it can act on."""


class L2BTError(Exception):
    """Base of every error that this project raises on purpose."""


class InputError(L2BTError):
    """The caller handed in something that cannot be inspected; another input may well work."""


class BadImageError(InputError):
    """An image has the wrong shape, dtype or encoding, or its file is damaged."""


class UnknownProductError(InputError):
    """The named product is not among those that the model knows."""


class DatasetError(L2BTError):
    """A data set's folder, image, mask or split file is missing or wrong."""


class ModelError(L2BTError):
    """A product bundle, an exported model or a model repository is missing, damaged or unfit."""


class EngineMismatchError(ModelError):
    """There is no TensorRT engine for a model on this machine, or it does not fit."""


class OptionError(L2BTError, ValueError):
    """Options contradict each other, or ask for what cannot be had on this machine."""


class GpuUnavailableError(OptionError):
    """A GPU was asked for, and this machine has none that can be used."""


class MissingExtraError(OptionError):
    """A library is not installed; the message names the extra that brings it."""


class TrainingError(L2BTError):
    """Training cannot go on: the loss is no finite number."""


class ServerError(L2BTError):
    """The server failed to answer a request that it should have answered."""


class ServerUnavailableError(ServerError):
    """No server answers at the address, or it is starting, stopping, or its queue is full."""


class DeadlineExceededError(ServerError):
    """The answer did not come within the deadline."""


class SourceAwayError(L2BTError):
    """A station's camera does not answer, or its folder is gone; it may come back."""


class SignalAwayError(L2BTError):
    """Whom a station tells does not answer; it may come back."""
