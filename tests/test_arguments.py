"""Every argument of every registered function and factory, given values of the wrong kind: refused with its name."""

import inspect
import math
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy
import pytest
import spacy
from spacy.util import registry
from thinc.config import ConfigValidationError

from spacy_transfer.tuning.groups import first_rate

from .test_registry import BUILDERS, FACTORIES

NAN, INF = math.nan, math.inf
TOK2VEC = {"@architectures": "spacy-transfer.Listener.v1"}
SPANS = {"@span_getters": "spacy-transformers.doc_spans.v1"}
CORPUS = {"@readers": "spacy.Corpus.v1", "path": "x.spacy", "gold_preproc": False}
BACKBONE = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": "x"}
# What a function cannot be called without.
GIVEN = {
    "TransformerBackbone": {"source": "x"},
    "VectorsBackbone": {"source": "x"},
    "PipelineBackbone": {"source": "x"},
    "OnnxBackbone": {"original": "x"},
    "TransformerModel": {"name": "x", "get_spans": SPANS},
    "Tok2VecTransformer": {"name": "x", "get_spans": SPANS, "pooling": {"@layers": "reduce_mean.v1"}},
    "OwnBackbone": {"backbone": BACKBONE},
    "MatchRows": {"teacher": BACKBONE},
    "TextCatHead": {"tok2vec": TOK2VEC},
    "TokenHead": {"tok2vec": TOK2VEC},
    "RegressionHead": {"tok2vec": TOK2VEC},
    "ContrastHead": {"tok2vec": TOK2VEC},
    "PerCorpusScorer": {"component": "x", "scorer": {"@scorers": "spacy.textcat_scorer.v2"}},
    "HeldOutCorpus": {"path": "x", "part": "train"},
    "RawText": {"path": "x"},
    "MixedCorpus": {"corpora": {"a": {"reader": CORPUS}}},
    "Rehearsal": {"corpus": CORPUS, "source": "x", "components": ["ner"], "texts": "x.txt"},
    "Teacher": {"corpus": CORPUS, "source": "x", "components": ["ner"]},
    "LabelBatcher": {"size": 4},
    "TaskBatcher": {"size": 4},
    "RetentionLogger": {"skills": {"a": {"data": "x.spacy"}}},
    "LeaveOut": {"components": ["x"]},
    "Linear": {"learn_rate": 0.1, "total_steps": 10},
    "Cosine": {"learn_rate": 0.1, "total_steps": 10},
    "OneCycle": {"learn_rate": 0.1, "total_steps": 10},
    "SlantedTriangular": {"learn_rate": 0.1, "total_steps": 10},
    "InverseSqrt": {"learn_rate": 0.1, "warmup_steps": 2},
}
# Values that look wrong and are not: by function and argument, or by argument alone.
FINE = {
    "seed": [-1, 0],
    "cache_mb": [0],
    "row_dropout": [0],
    "random": [0],
    "keep": [0],
    "held_out": [0],
    "limit": [0],
    "cache_disk_mb": [0],
    "overlap": [0],
    "dropout": [0],
    "learn_rate": [0],
    "warmup_steps": [0],
    "lowest": [0],
    "weight_decay": [0],
    "grad_clip": [0],
    "momentum": [0],
    "eps": [0],
    "beta1": [0],
    "beta2": [0],
    "alpha": [0],
    "anneal": [0],
    "epoch_size": [0],
    "shuffle": [0],
    "ratio": [0],
    "min_confidence": [0],
    "weight": [0],
    "head_first": [0],
    "freeze": [0, []],
    "strength": [0, {}],
    "anchor": [0, {}],
    "threshold": [0],
    "label_smoothing": [0],
    "focal": [0],
    "focal_negative": [0],
    "margin": [0],
    "beta2_decay": [-1, 0],
    "grad_factor": [-1, 0],
    "Linear.warmup_share": [0],
    "Cosine.warmup_share": [0],
    "OneCycle.warmup_share": [0],
    "SolveHead.share": [0],
    "Resume.every_steps": [0],
    "VectorsBackbone.prune": [0],
    "InverseSqrt.warmup_steps": [],
}
# Arguments that take names, paths and texts of any kind: only what is no text is wrong.
WRONG = {int: [-1, 0, 2.5, NAN, INF, "wrong", [], {}], float: [-1, 0, NAN, INF, -INF, "wrong", [], {}]}
WRONG |= {bool: ["wrong", 2.5, []], str: [[], {}, 2.5], list: ["wrong", 2.5], dict: ["wrong", 2.5, ["x"]]}


def kinds(annotation):
    """The kinds that an argument may be of: `int | list[str] | None` is int, list."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return set().union(*(kinds(part) for part in get_args(annotation)))
    if origin is Annotated:
        return kinds(get_args(annotation)[0])
    if origin is Literal:
        return {Literal}
    return {origin or annotation} - {type(None)}


def wrong_values(of):
    if Any in of:
        return ["wrong", [], {}, -1, NAN, INF]
    known = [kind for kind in of if kind in WRONG]
    if not known:
        return ["wrong", 2.5] if Literal in of else []
    values = [value for kind in known for value in WRONG[kind]]
    fits = {str: str, list: list, dict: dict, float: float}
    allowed = tuple(kind for kind in fits if kind in of and kind is not float)
    values += ["wrong"] if Literal in of and str not in of else []
    unlike = [v for v in values if not isinstance(v, allowed) or (isinstance(v, (list, dict)) and not v)]
    return [v for i, v in enumerate(unlike) if not (v == 2.5 and float in of) and repr(v) not in map(repr, unlike[:i])]


def cases():
    for where, name in BUILDERS:
        short = name.removeprefix("spacy-transfer.").removesuffix(".v1")
        signature = inspect.signature(getattr(registry, where).get(name), eval_str=True)
        yield from ((where, short, key, value) for key, value in of_signature(signature))
    nlp = spacy.blank("en")
    for factory in sorted(FACTORIES):
        signature = inspect.signature(nlp.get_factory_meta(factory) and registry.factories.get(factory), eval_str=True)
        yield from (("factories", factory, key, value) for key, value in of_signature(signature))


def of_signature(signature):
    for key, parameter in signature.parameters.items():
        if key not in ("nlp", "name"):
            for value in wrong_values(kinds(parameter.annotation)):
                yield key, value


def make(where, name, settings):
    if where == "factories":
        return spacy.blank("en").add_pipe(name, config=settings)
    block = {f"@{where}": f"spacy-transfer.{name}.v1", **GIVEN.get(name, {}), **settings}
    return registry.resolve({"block": block})["block"]


def is_fine(name, key, value):
    fine = FINE.get(f"{name}.{key}", FINE.get(key, []))
    return any(type(value) is type(other) and value == other for other in fine)


# What an argument of these kinds cannot be beyond that.
HEADS = [f"{kind}Head" for kind in ("Token", "TextCat", "Regression")]
ATTRS = ["NORM", "SHAPE", "ORTH"]
CATS = ["transfer_textcat", "transfer_textcat_multilabel"]
GROUPS = [{"rate": 1}, {"learn_rate": "x"}, {"learn_rate": [NAN]}, {"learn_rate": -1}, {"weight_decay": -1}]
MORE = [
    *(("architectures", head, "hidden", value) for head in HEADS for value in ([0], [8, -1])),
    *(("architectures", head, "pooling", []) for head in HEADS[1:]),
    *(("architectures", head, "dropout", 1.0) for head in HEADS),
    ("architectures", "BiLSTMContext", "dropout", 2.0),
    *(("architectures", "HashEmbedBackbone", "attrs", value) for value in ([], ["TAG", *ATTRS], ["norm"])),
    *(("architectures", "HashEmbedBackbone", "rows", value) for value in ([], [5], [5, 5, 5, 0])),
    *(("factories", name, "label_smoothing", 1.0) for name in [*CATS, "transfer_tagger"]),
    *(("factories", name, "threshold", 1.5) for name in [*CATS, "transfer_ner"]),
    *(("factories", name, "class_weights", {"A": value}) for name in CATS for value in (-1.0, NAN, INF)),
    ("factories", "transfer_regressor", "bounds", [2.0, 1.0]),
    ("factories", "transfer_regressor", "bounds", [0.0, NAN]),
    ("factories", "transfer_textcat_multilabel", "thresholds", {"A": NAN}),
    *(("optimizers", "AdamW", "groups", {"a": {"pattern": "a", **block}}) for block in GROUPS),
    *(("optimizers", "AdamW", "groups", {"a": block}) for block in ({}, {"pattern": "("}, {"pattern": 3})),
    *(("optimizers", "SGD", "learn_rate", value) for value in ([NAN], ["x"], {"initial": 1})),
    ("optimizers", "AdamW", "no_decay", "("),
    ("optimizers", "AdamW", "beta1", 1.0),
    ("optimizers", "Adafactor", "beta2_decay", 0.5),
    ("schedules", "OneCycle", "warmup_share", 1.5),
    ("schedules", "SlantedTriangular", "warmup_share", 1.0),
    ("schedules", "Linear", "warmup_steps", 10),
    ("schedules", "Linear", "warmup_share", 1.0),
    ("schedules", "Linear", "total_steps", "wrong"),
    ("misc", "Tuning", "layer_decay", 1.5),
    ("misc", "Tuning", "unfreeze", {"a": 1}),
    ("misc", "Tuning", "anchor", {".": NAN}),
    ("misc", "TaskWeights", "weights", {"a": -1.0}),
    ("callbacks", "Anchor", "strength", {".": NAN}),
    ("readers", "MixedCorpus", "weights", {"a": NAN}),
    ("readers", "HeldOutCorpus", "share", 1.0),
    ("readers", "Rehearsal", "min_confidence", 1.5),
    ("readers", "Teacher", "weight", 1.5),
    ("batchers", "TaskBatcher", "size", 0.5),
]

CASES = [case for case in cases() if not is_fine(*case[1:])] + MORE


@pytest.mark.parametrize(("where", "name", "key", "value"), CASES, ids=lambda part: str(part))
def test_refused_with_the_key(where, name, key, value):
    with pytest.raises((ConfigValidationError, ValueError, ImportError)) as error:
        make(where, name, {key: value})
    said = str(error.value)
    assert isinstance(error.value, ConfigValidationError) or said.startswith("["), repr(error.value)
    assert key in said


@pytest.mark.parametrize(("where", "name"), sorted({(where, name) for where, name, _, _ in CASES}))
def test_what_is_given_here_is_fine(where, name):
    make(where, name, {})


def test_a_pattern_that_is_none():
    with pytest.raises(ValueError, match=r"T216.*no_decay.*unterminated"):
        make("optimizers", "AdamW", {"no_decay": "("})


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="T215.*nesterov"):
        make("optimizers", "SGD", {"nesterov": True, "momentum": 0.0})


def test_number_of_layers_as_a_text():
    """confection before 1.0 makes one of it, where a text is allowed too."""
    assert make("misc", "Tuning", {"freeze": "1"}).freeze == 1


def test_schedules_may_be_lists_and_give_numpys_numbers():
    optimizer = make("optimizers", "AdamW", {"learn_rate": [0.2, 0.1]})
    assert optimizer.learn_rate == 0.2
    rates = [optimizer.step_schedules() or optimizer.learn_rate for _ in range(3)]
    assert rates == [0.1] * 3
    numbers = iter(numpy.linspace(0.1, 0.2, 2, dtype="float32"))
    assert first_rate("learn_rate", numbers) == (pytest.approx(0.1), numbers)
