"""What goes wrong for a reason outside the code; and packages imported late, missed at the beginning."""

from importlib.util import find_spec
from shlex import quote


class Refusal(Exception):
    """An error that its message explains in one sentence to somebody who can mend it."""


class PackageError(Refusal, ImportError):
    """A package is not installed; the message says what needs it."""


def check_installed(package: str, wanted_by: str, install: str = "") -> None:
    """Refuse to begin what will import a package that is not there; to look for it imports nothing.

    Args:
        package: name that it is imported by.
        wanted_by: what imports it, for the message.
        install: what to install, where that is not ``package``.

    Raises:
        PackageError: it is missing.

    Example:
        >>> check_installed("datasetz", "a table")
        Traceback (most recent call last):
        tasks.errors.PackageError: a table must have the package datasetz, got none: pip install datasetz
    """
    if find_spec(package) is None:
        wanted = f"{wanted_by} must have the package {package}"
        raise PackageError(f"{wanted}, got none: pip install {quote(install or package)}")
