"""The errors of the package: one family, which callers can distinguish from bugs."""


class Mbv2SsdError(Exception):
    """
    Base of all errors of this package.

    The message gives what was found, what was expected, in which file or parameter, and the next
    step; command line programs print it alone, without a traceback.
    """


class ConfigError(Mbv2SsdError):
    """A setting is unknown, missing, out of range or in conflict with another one."""


class ContractError(Mbv2SsdError):
    """A model file and the contract inside it disagree, or there is no contract at all."""


class BackendError(Mbv2SsdError):
    """An inference engine cannot be loaded, or failed while it ran."""


class ShapeError(Mbv2SsdError):
    """An array has the wrong shape or dtype."""


class UnsupportedImageError(Mbv2SsdError):
    """An image has an unknown encoding, an impossible size, or is truncated or corrupt."""


class DataError(Mbv2SsdError):
    """A data set, an annotation or an image on disk is missing, corrupt or contradictory."""


def missing_package(user: str, package: str, extra: str, err: ImportError) -> ConfigError:
    """Return the error for a Python package that an extra of this one installs."""
    return ConfigError(
        f'{user} needs the Python package {package}, which cannot be imported ({err}): pip '
        f"install 'mbv2ssd_ros[{extra}]', or in a clone '.[{extra}]'")


def one_line(err: object) -> str:
    """Return a message in one line; the type of an error without one."""
    return ' '.join(str(err).split()) or type(err).__name__
