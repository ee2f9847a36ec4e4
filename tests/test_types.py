"""The hooks of backbones, of ours and of others."""

import spacy
from thinc.api import Linear

from spacy_transfer.types import BackboneHooks, hooks_of, pipe_of, pipes_of


def test_hooks():
    model = Linear(2, 2)
    assert hooks_of(model) == BackboneHooks(None, None, False, False, False, None)
    model.attrs["backbone"] = BackboneHooks(is_costly=True)
    assert hooks_of(model) is model.attrs["backbone"] and hooks_of(model).is_costly


def test_components():
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("textcat")
    assert pipes_of(nlp) == [("textcat", pipe)] and pipe_of(nlp, "textcat") is pipe
