"""Every message a user can meet, coded, in one place: the key or file, what was found, and the way out.

Codes by floor: T1xx sources, windows and transformer backbones; T2xx vectors and pipeline backbones;
T3xx heads; T4xx components; W for warnings.
"""

from typing import Any


class _Coded(type):
    """Reading a message from the class puts its code in front, so that a report can be searched for."""

    def __getattribute__(cls, code: str) -> Any:
        message = super().__getattribute__(code)
        if code.startswith("__"):
            return message
        return f"[{code}] {message}"


class Errors(metaclass=_Coded):
    """Messages of errors. Format with `.format(...)` and raise as ValueError (ImportError for extras)."""

    T100 = (
        "source = {source!r} is not known. It was looked up as {tried}. A source is a folder with config.json "
        "and weights, 'package:NAME/path/inside', an installed spaCy pipeline or its folder, or a hub id 'org/name'."
    )
    T101 = "The saved weights cannot be read: {error}. The file is cut short or damaged: copy the pipeline again."
    T102 = (
        "The weights do not match the config. Missing: {missing}; unexpected: {unexpected}; of another shape: "
        "{shapes}. Use the weights that belong to this config, or the config that belongs to these weights."
    )


class Warnings(metaclass=_Coded):
    """Messages of warnings. Format with `.format(...)` and pass to `warnings.warn` or the logger."""
