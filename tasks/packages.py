"""Packages that are imported late, or for some alone: one that is missing is missed at the beginning."""

from importlib.util import find_spec
from shlex import quote


class PackageError(ImportError):
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
        tasks.packages.PackageError: a table must have the package datasetz, got none: pip install datasetz
    """
    if find_spec(package) is None:
        wanted = f"{wanted_by} must have the package {package}"
        raise PackageError(f"{wanted}, got none: pip install {quote(install or package)}")
