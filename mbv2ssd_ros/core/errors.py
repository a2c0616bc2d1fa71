"""The errors of the package: one family, so that a caller can tell our refusals from a crash."""


class Mbv2SsdError(Exception):
    """
    Anything this package refuses or cannot do.

    The message says what was found, what was expected, in which file or parameter, and the next
    step; command line programs print it alone, without a traceback.
    """


class ConfigError(Mbv2SsdError):
    """A setting is unknown, missing, out of range or in conflict with another one."""


class ContractError(Mbv2SsdError):
    """A model file and the contract inside it disagree, or there is no contract at all."""


class BackendError(Mbv2SsdError):
    """An inference engine cannot be loaded, or failed while it ran."""


class ShapeError(Mbv2SsdError):
    """An array does not have the shape or the dtype its place demands."""


class UnsupportedImageError(Mbv2SsdError):
    """An image that cannot be used: unknown encoding, impossible size, truncated or corrupt."""


class DataError(Mbv2SsdError):
    """A data set, an annotation or an image on disk is missing, corrupt or contradictory."""


def one_line(err: object) -> str:
    """Return a message of whatever layout in one line; the type of an error that has none."""
    return ' '.join(str(err).split()) or type(err).__name__
