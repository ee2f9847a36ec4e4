"""A process without torch: exported pipelines predict, and nothing else does."""

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint
from types import ModuleType

import catalogue

from .errors import Errors

_HEAVY = ("torch", "transformers")
_REQUIRES = re.compile(rf"({'|'.join(_HEAVY)})(?![\w-])")


class _Refusal(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in _HEAVY:
            raise ModuleNotFoundError(Errors.T278.format(name=fullname), name=fullname)
        return None


def _needs_torch(point: EntryPoint) -> bool:
    requires = (point.dist.requires or []) if point.dist is not None else []
    return not point.value.startswith("spacy_transfer.") and any(map(_REQUIRES.match, requires))


def no_torch() -> None:
    """Call this before spacy is imported, in a process that predicts with an exported pipeline.

    spaCy's own library Thinc imports torch wherever it is installed, and spaCy imports every package that registers a
    component. Both take seconds. After this call torch and transformers cannot be imported in this process: Thinc goes
    on without, and components of other packages that require them are not registered.

    RAISES (ImportError): When one of them is imported later; and here, when it is too late.
    """
    found = next((name for name in (*_HEAVY, "thinc") if name in sys.modules), None)
    if found is not None:
        raise ImportError(Errors.T279.format(name=found))
    sys.meta_path.insert(0, _Refusal())
    points = catalogue.AVAILABLE_ENTRY_POINTS
    kept = {group: list(points.select(group=group)) for group in points.groups}
    factories = kept.get("spacy_factories", [])
    kept["spacy_factories"] = [point for point in factories if not _needs_torch(point)]
    catalogue.AVAILABLE_ENTRY_POINTS = kept
