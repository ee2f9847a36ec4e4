"""A base class for what belongs to one training or one process, and is left out of copies and pickles."""

from typing import ClassVar


class Transient:
    """State that no copy and no other process gets: there the object is built anew, from the attributes in `built_from`
    alone."""

    built_from: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), tuple(getattr(self, name) for name in self.built_from)
