"""The optional dependencies named `media`, imported by the exporter that needs them."""

import importlib
from typing import Any

from rtmsd.export.errors import ExportError


def need(module: str, purpose: str) -> Any:
    """Return a module of the extra.

    Args:
        purpose: what was asked for, such as "--format flac".

    Raises:
        ExportError: it is not installed.
    """
    found = have(module)
    if found is None:
        raise ExportError(f"{purpose} needs the package '{module}', which is missing: pip install 'rtmsd[media]'")
    return found


def have(module: str) -> Any | None:
    """Return a module of the extra; None where it is missing, and there is a way without it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError):  # the latter: soundfile without its library
        return None
