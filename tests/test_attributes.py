"""Attributes of models are dataclasses; what Thinc and spaCy read and save stays as it was."""

import re
from dataclasses import dataclass, field

import pytest
from thinc.api import Model, noop

from spacy_transfer.attributes import Attrs

from .test_registry import PACKAGE

THEIRS = {
    "spacy": "has_upper multi_label replace_listener replace_listener_cfg resize_output unseen_classes",
    "spacy-transformers": "get_spans has_transformer name set_transformer",
    "thinc": "dropout_rate softmax_normalize",
    "spans of a doc": "scores",
}


@dataclass(kw_only=True)
class Base(Attrs):
    size: float = 1.0


@dataclass(kw_only=True)
class Some(Base):
    names: list[str] = field(default_factory=list)
    called: object = None


def make(**attrs):
    return Model("some", noop()._func, attrs=vars(Some(**attrs)))


def test_reading_and_writing_reach_the_model():
    model = make(names=["a"])
    assert model.attrs == {"size": 1.0, "names": ["a"], "called": None}
    Some.of(model).size = 2.5
    Some.of(model).names.append("b")
    assert model.attrs == {"size": 2.5, "names": ["a", "b"], "called": None}
    model.attrs["size"] = 3.0
    assert Base.of(model).size == 3.0


def test_what_a_model_has_not_is_its_default():
    model = noop()
    assert Some.of(model).size == 1.0 and model.attrs == {}
    with pytest.raises(AttributeError, match="names"):
        Some.of(model).names  # noqa: B018


def test_a_class_fits_by_what_it_adds():
    model = Model("other", noop()._func, attrs={"names": [], "called": 1})
    assert Some.fits(model) and not Base.fits(model) and Some.fits(make()) and Base.fits(make())


def test_copies_and_bytes_keep_each_attribute():
    model = make(names=["a"], size=2.0, called=print)  # A function is not saved.
    copied = model.copy()
    Some.of(copied).names.append("b")
    assert Some.of(model).names == ["a"] and Some.of(copied).size == 2.0
    loaded = make(called=len).from_bytes(model.to_bytes())
    assert loaded.attrs == {"names": ["a"], "size": 2.0, "called": len}


def string_keys():
    for path in PACKAGE.rglob("*.py"):
        text = re.sub(r"user_attrs|span\.attrs", "", path.read_text(encoding="utf8"))
        yield from re.findall(r'attrs(?:\[|\.\w+\(|=\{)"(\w+)"', text)
        yield from re.findall(r'"(\w+)" (?:not )?in [\w.]*attrs\b', text)


def test_keys_are_strings_only_where_others_define_them():
    assert set(string_keys()) <= set(" ".join(THEIRS.values()).split())
