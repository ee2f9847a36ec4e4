"""Libraries of an extra: there, missing, and broken."""

import math

import pytest

from spacy_transfer.extras import import_extra


def test_a_library_that_is_there():
    assert import_extra("math", "missing") is math


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.part"])
def test_a_library_that_is_missing(module):
    with pytest.raises(ImportError, match="install the extra"):
        import_extra(module, "install the extra")


@pytest.mark.parametrize("text", ["import no_such_library", "1 / 0"])
def test_a_library_that_fails_to_import(tmp_path, monkeypatch, text):
    """What it lacks itself is no reason to install it."""
    (tmp_path / "broken_library.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="T214.*broken_library"):
        import_extra("broken_library", "install the extra")
