"""Imports of libraries that come with an extra."""

import importlib
from types import ModuleType

from .errors import Errors


def import_extra(module: str, missing: str) -> ModuleType:
    """Import a library where it is used.

    missing (str): The message where it is not installed.
    RAISES (ImportError): When it is not installed; with another message when it is installed but fails to import.
    """
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except Exception as error:  # Versions that do not go together raise anything.
        if isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] == package:
            raise ImportError(missing) from error
        raise ImportError(Errors.T214.format(package=package, error=f"{type(error).__name__}: {error}")) from error
