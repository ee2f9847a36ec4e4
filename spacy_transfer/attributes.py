"""Attributes of models: dataclasses whose fields are keys of Thinc's `model.attrs`. mypy checks their names and types.

Thinc copies and saves each field under its own name, where it can be saved.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from thinc.api import Model

RowsPer: TypeAlias = Literal["token", "document"]
AttrsT = TypeVar("AttrsT", bound="Attrs")


class Attrs:
    """The attributes of a kind of model. A subclass is a dataclass. A new model gets `attrs=vars(MyAttrs(...))`."""

    @classmethod
    def of(cls: type[AttrsT], model: Model[Any, Any]) -> AttrsT:
        """RETURNS (Attrs): The attributes of a model: to set one sets it in the model. One that the model has not is
        its default."""
        found = cls.__new__(cls)
        found.__dict__ = model.attrs
        return found

    @classmethod
    def fits(cls, model: Model[Any, Any]) -> bool:
        """RETURNS (bool): Whether a model has all attributes that this class adds to those it inherits."""
        return cls.__annotations__.keys() <= model.attrs.keys()


@dataclass(kw_only=True)
class RowsAttrs(Attrs):
    """Of what a head reads.

    rows_per (str): It gives a row per "token", or one per "document".
    """

    rows_per: RowsPer = "token"
