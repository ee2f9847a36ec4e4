"""A backbone without a word on what is trained: frozen with a stock optimizer that would destroy it, and only then."""

import warnings

import numpy
import pytest
import spacy
from spacy.training import Example
from thinc.api import SGD, Adam, RAdam, warmup_linear

from spacy_transfer.tuning.optimizers import adamw_v1, sgd_v1
from spacy_transfer.tuning.risk import risky_rate

from ...pipelines import backbone_config, make_examples, step, weights

TUNING = {"@misc": "spacy-transfer.Tuning.v1", "freeze": "embeddings"}


def pipeline(source, *, model=None, **settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(source, **(model or {})), "frozen": None, **settings})
    nlp.add_pipe("transfer_textcat")
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    return nlp, examples, optimizer


def moved(nlp, examples, optimizer, steps=3):
    before = weights(nlp)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            step(nlp, examples, optimizer)
            optimizer.step_schedules()
    codes = {str(warning.message)[:6] for warning in caught if "[W62" in str(warning.message)}
    return not numpy.array_equal(weights(nlp), before), codes


def test_who_changes_nothing_gets_what_frozen_gives(tiny_bert):
    predicted = []
    for settings in ({}, {"frozen": True}):
        nlp, examples, optimizer = pipeline(tiny_bert, **settings)
        before = weights(nlp)
        for _ in range(3):
            nlp.update([Example(nlp.make_doc(eg.text), eg.reference) for eg in examples], sgd=optimizer)
        assert numpy.array_equal(weights(nlp), before)
        predicted.append([doc.cats for doc in nlp.pipe(eg.text for eg in examples)])
    assert predicted[0] == predicted[1]


@pytest.mark.parametrize(
    ("settings", "optimizer", "is_trained", "codes"),
    [
        ({}, lambda: Adam(0.001), False, {"[W624]"}),
        ({}, lambda: RAdam(0.001), False, {"[W624]"}),
        ({}, lambda: SGD(0.01), False, {"[W624]"}),
        ({}, lambda: Adam(warmup_linear(0.001, 2, 100)), False, {"[W624]"}),
        ({}, lambda: Adam(0.00005), True, set()),
        ({}, lambda: Adam(warmup_linear(0.00005, 1, 100)), True, set()),
        ({}, lambda: adamw_v1(learn_rate=0.00005), True, set()),
        ({}, lambda: adamw_v1(learn_rate=0.001), True, {"[W625]"}),
        ({}, lambda: sgd_v1(learn_rate=0.001), True, set()),
        ({"frozen": False}, lambda: Adam(0.001), True, {"[W625]"}),
        ({"frozen": True}, lambda: Adam(0.001), False, set()),
        ({"model": {"tuning": TUNING}}, lambda: Adam(0.001), True, {"[W625]"}),
        ({"weighing": {"@misc": "spacy-transfer.TaskWeights.v1"}}, lambda: Adam(0.001), True, {"[W625]"}),
    ],
)
def test_what_is_said_wins_and_else_the_rate_decides(tiny_bert, settings, optimizer, is_trained, codes):
    nlp, examples, _ = pipeline(tiny_bert, **settings)
    assert moved(nlp, examples, optimizer()) == (is_trained, codes)


def test_another_optimizer_decides_anew(tiny_bert):
    nlp, examples, own = pipeline(tiny_bert)
    assert moved(nlp, examples, own) == (False, {"[W624]"})
    assert moved(nlp, examples, adamw_v1(learn_rate=0.00005)) == (True, set())
    assert moved(nlp, examples, Adam(0.001)) == (False, {"[W624]"})


def test_a_loaded_pipeline_meets_its_optimizer_late(tiny_bert):
    """Nothing has told it of the optimizer: the gradients of the first step have arrived, and are dropped."""
    nlp, examples, _ = pipeline(tiny_bert)
    loaded = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert moved(loaded, examples, Adam(0.001)) == (False, {"[W624]"})
    assert not loaded.get_pipe("transfer_backbone").model.shims[0].steps


def test_layers_of_thinc_learn_at_such_rates():
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 8, "depth": 1}
    settings = {"embed_size": 50, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    pipe = nlp.add_pipe("transfer_backbone", config={"model": {**model, **settings}})
    nlp.add_pipe("transfer_textcat")
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    before = pipe.model.to_bytes()
    step(nlp, examples, optimizer)
    assert not pipe.frozen and pipe.model.to_bytes() != before


def test_a_copy_for_its_head_is_as_frozen_as_the_backbone(tiny_bert):
    nlp, _, _ = pipeline(tiny_bert)
    nlp.replace_listeners("transfer_backbone", "transfer_textcat", ["model.tok2vec"])
    assert nlp.get_pipe_config("transfer_textcat")["model"]["tok2vec"]["frozen"] is True


def test_no_rate_is_too_high_for_ours():
    assert risky_rate(adamw_v1(learn_rate=0.1)) is None and risky_rate(Adam(0.1)) == 0.1
