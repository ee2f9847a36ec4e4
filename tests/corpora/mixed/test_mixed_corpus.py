"""Several corpora as one: order, shares, labels, marks, memory; and every error.

Guards also: corpus_checks.py.
"""

import gc
from collections import Counter
from itertools import islice

import numpy
import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example
from thinc.api import Config

from spacy_transfer.corpora.example_info import corpus_of, note_origin, set_soft, soft_of, trains_of
from spacy_transfer.corpora.mixed.mixed_corpus import create_mixed_corpus_v1

from ..readers import Texts, cats, ents, names, pipeline


@pytest.fixture
def nlp():
    return pipeline("textcat_multilabel", "ner")


def mixed(a, b, **settings):
    blocks = {"a": {"reader": a, "trains": ["textcat_multilabel"]}, "b": {"reader": b, "trains": ["ner"]}}
    return create_mixed_corpus_v1(corpora=blocks, **{"sampling": "proportional", **settings})


def texts(examples):
    return [example.reference.text for example in examples]


@pytest.mark.parametrize("in_memory", [False, True])
def test_shares_are_the_rules_in_each_pass(nlp, in_memory):
    read = mixed(cats(300), ents(100), epoch_size=200, in_memory=in_memory)
    for _ in range(3):
        examples = list(read(nlp))
        assert Counter(corpus_of(eg.reference) for eg in examples) == {"a": 150, "b": 50}
        assert names(examples) == ["c" if corpus_of(eg.reference) == "a" else "e" for eg in examples]


@pytest.mark.parametrize("settings", [{"in_memory": True}, {"shuffle": 7}, {"shuffle": 10_000}])
def test_each_reading_of_a_corpus_is_whole_and_in_another_order(nlp, settings):
    read = mixed(cats(60), ents(70), sampling="round_robin", epoch_size=120, **settings)
    nlp.initialize(lambda: islice(read(nlp), 100))
    n_shown = 2  # One of each corpus, at the beginning: all labels are known.
    passes = [list(read(nlp)) for _ in range(3)]
    drawn = [t for t in texts([*passes[0][n_shown:], *passes[1], *passes[2]]) if t.startswith("c")]
    in_file = [f"c {i}" for i in range(60)]
    first, second = drawn[:60], drawn[60:120]
    assert sorted(first) == sorted(second) == sorted(in_file)
    assert first != second and in_file not in (first, second)


def test_without_shuffling_it_is_the_order_of_the_file(nlp):
    found = texts(islice(mixed(cats(200), ents(200), sampling="round_robin", shuffle=0)(nlp), 3, 100))
    numbers = [int(text.split()[1]) for text in found if text.startswith("c")]
    assert numbers[3:] == list(range(numbers[3], numbers[3] + len(numbers) - 3))


def test_the_same_seed_gives_the_same_order(nlp):
    def passes(seed):
        read = mixed(cats(50), ents(30), sampling="temperature", epoch_size=150, seed=seed)
        return [texts(read(nlp)) for _ in range(2)]

    one, same, other = passes(0), passes(0), passes(1)
    assert one == same != other
    assert one[0] != one[1]


def test_a_pass_that_is_left_early_begins_again(nlp):
    """spaCy's initialisation does that for each component, and must see the same each time."""
    read = mixed(cats(300), ents(100))
    begun = [texts(islice(read(nlp), 100)) for _ in range(3)]
    assert begun[0] == begun[1] == begun[2]
    assert texts(read(nlp))[:100] == begun[0] != texts(islice(read(nlp), 100))


def test_a_pass_is_never_so_short_that_initialisation_ends_it(nlp):
    assert len(list(mixed(cats(4), ents(3))(nlp))) == 101
    assert len(list(mixed(cats(400), ents(3))(nlp))) == 403


def many_labels(n):
    """A label of its own for each text."""
    return Texts(lambda: ((f"c {i}", {"cats": {f"L{i}": 1.0}}) for i in range(n)))


def late(n, wanted):
    """Entities of other labels in the last texts alone."""

    def pairs():
        for i in range(n):
            shown = [(2 * j, 2 * j + 1, label) for j, label in enumerate(wanted)] if i == n - 1 else [(0, 1, "PER")]
            yield "e " * 8, {"entities": shown}

    return Texts(pairs)


@pytest.mark.parametrize("in_memory", [False, True])
def test_all_labels_are_in_the_first_100(nlp, in_memory):
    read = mixed(many_labels(77), late(3000, ["ORG", "LOC", "GPE"]), in_memory=in_memory)
    first = list(islice(read(nlp), 100))
    assert {label for eg in first for label in eg.reference.cats} == {f"L{i}" for i in range(77)}
    assert {ent.label_ for eg in first for ent in eg.reference.ents} == {"PER", "ORG", "LOC", "GPE"}
    # So spaCy initialises on them, and later draws make up for what was shown first.
    nlp.initialize(lambda: islice(read(nlp), 100))
    assert set(nlp.get_pipe("ner").labels) == {"PER", "ORG", "LOC", "GPE"}
    assert len(nlp.get_pipe("textcat_multilabel").labels) == 77
    whole = Counter(corpus_of(eg.reference) for eg in mixed(many_labels(77), late(3000, ["ORG"]))(nlp))
    assert abs(whole["a"] - 77) <= 2 and whole["a"] + whole["b"] == 3077


def test_more_labels_than_initialisation_can_see(nlp):
    read = mixed(many_labels(120), ents(10))
    with pytest.raises(ValueError, match=r"T519.*a: 120, b: 1\b.*spacy init labels"):
        list(read(nlp))
    nlp.config["initialize"]["components"]["textcat_multilabel"] = {"labels": [f"L{i}" for i in range(120)]}
    assert len(list(mixed(many_labels(120), ents(10))(nlp))) == 130
    # All of them in one text are no more than one text.
    nlp = pipeline("textcat_multilabel", "ner")
    whole = Texts(lambda: ((f"c {i}", {"cats": {f"L{j}": float(i == j) for j in range(120)}}) for i in range(120)))
    assert len(list(mixed(whole, ents(10))(nlp))) == 130


def test_rare_categories_hold_somewhere_in_the_first_100(nlp):
    """Where every text names all categories, one text shows them as labels; and then there is room for texts in which
    they hold."""
    labels = [f"L{i}" for i in range(40)]

    def pairs():
        for i in range(3000):
            holds = labels[i - 2960] if i >= 2960 else "common"
            yield f"c {i}", {"cats": {label: float(label == holds) for label in [*labels, "common", "never"]}}

    first = list(islice(mixed(Texts(pairs), ents(3000))(nlp), 100))
    cats = [eg.reference.cats for eg in first]
    assert {label for each in cats for label, value in each.items() if value} == {*labels, "common"}
    nlp.initialize(lambda: first)
    assert "never" in nlp.get_pipe("textcat_multilabel").labels


def test_all_targets_of_numbers_are_in_the_first_100():
    nlp = pipeline("transfer_tagger")
    nlp.add_pipe("transfer_regressor", config={"source": "cats"})
    numbers = [("c", {"cats": {"price": float(i % 7)}}) for i in range(2000)]
    corpus = Texts(lambda: [*numbers, ("c", {"cats": {"age": 1.0}})])
    tags = Texts(lambda: [("x", {"tags": ["T"]})] * 2000)
    blocks = {"a": {"reader": corpus, "trains": ["transfer_regressor"]}}
    blocks["b"] = {"reader": tags, "trains": ["transfer_tagger"]}
    first = islice(create_mixed_corpus_v1(corpora=blocks, sampling="proportional")(nlp), 100)
    assert {label for eg in first for label in eg.reference.cats} == {"price", "age"}


def test_all_moves_of_a_parser_are_in_the_first_100():
    """Arcs that cross are lifted, and have labels of their own then."""

    def make():
        return pipeline("parser", "textcat_multilabel")

    def pairs():
        for _ in range(1000):
            yield "a b c d", {"heads": [0, 0, 1, 2], "deps": ["ROOT", "x", "y", "z"]}
        yield "a b c d e", {"heads": [2, 3, 2, 2, 1], "deps": ["x", "y", "ROOT", "z", "y"]}

    blocks = {"a": {"reader": Texts(pairs), "trains": ["parser"]}}
    blocks["b"] = {"reader": cats(1000), "trains": ["textcat_multilabel"]}
    one, whole = make(), make()
    read = create_mixed_corpus_v1(corpora=blocks, sampling="proportional")
    one.initialize(lambda: islice(read(one), 100))
    read_whole = create_mixed_corpus_v1(corpora=blocks)
    whole.initialize(lambda: read_whole(whole))
    assert "L-y||z" in one.get_pipe("parser").move_names
    assert set(one.get_pipe("parser").move_names) == set(whole.get_pipe("parser").move_names)


@pytest.mark.parametrize(
    ("factory", "setting", "least"),
    [("parser", "min_action_freq", 30), ("trainable_lemmatizer", "min_tree_freq", 3)]
    + [("trainable_lemmatizer", "min_tree_freq", 1)],
)
def test_what_counts_over_a_whole_corpus_cannot_begin_with_a_few_of_its_texts(factory, setting, least):
    """spaCy's parser and lemmatizer drop what occurs seldom in the examples that they are initialised on."""

    def read(nlp, **settings):
        annotation = {"heads": [0, 0], "deps": ["ROOT", "dep"], "lemmas": ["c", "x"]}
        corpus = Texts(lambda: ((f"c {i}", annotation) for i in range(50)))
        blocks = {"a": {"reader": corpus, "trains": ["other"]}}
        return list(create_mixed_corpus_v1(corpora=blocks, **{"sampling": "proportional", **settings})(nlp))

    def make(**config):
        nlp = spacy.blank("en")
        nlp.add_pipe(factory, name="other", config={setting: least, **config})
        return nlp

    message = rf"T528.*'other' \({factory}\).*{setting} = {least}\).*other\.labels\]"
    with pytest.raises(ValueError, match=message) as error:
        read(make())
    # Trees cannot be told from labels, so the lemmatizer must see all examples, however few of each tree.
    assert (f"or set {setting} = 1" in str(error.value)) == (factory == "parser")
    if factory == "parser":
        assert len(read(make(**{setting: 1}))) == 101
    nlp = make()
    whole = read(nlp, sampling=None)
    nlp.initialize(lambda: whole)
    assert len(read(nlp)) == 101  # It knows its labels.
    nlp = make()
    nlp.config["initialize"]["components"]["other"] = {"labels": {}}
    assert len(read(nlp)) == 101


def test_what_is_never_drawn_is_not_shown(nlp):
    read = mixed(cats(10), ents(10), sampling="weights", weights={"a": 1.0, "b": 0.0})
    assert names(read(nlp)) == ["c"] * 101


class Counted:
    """Lives as long as the doc that it is on; how many there are at once."""

    now = most = 0

    def __init__(self):
        Counted.now += 1
        Counted.most = max(Counted.most, Counted.now)

    def __del__(self):
        Counted.now -= 1

    def __deepcopy__(self, memo):
        return Counted()


def test_a_stream_is_never_held_whole(nlp):
    """10,000 texts pass through a buffer of 50."""

    def read(nlp):
        doc = nlp.make_doc("a text")
        for i in range(10_000):
            example = Example(doc, doc.copy())
            example.reference.cats = {"AB"[i % 2]: 1.0}
            example.reference.user_data["counted"] = Counted()
            yield example

    Counted.now = Counted.most = 0
    n = 0
    for _ in mixed(read, ents(10), shuffle=50)(nlp):
        n += 1
    gc.collect()
    assert n == 10_010
    assert 50 < Counted.most < 70


def test_docs_of_readers_that_keep_them_are_left_alone(nlp):
    """The same docs in two corpora, with two masking."""
    annotation = {"cats": {"A": 1.0}, "entities": [(0, 1, "PER")]}
    kept = [Example.from_dict(nlp.make_doc(f"e {i}"), annotation) for i in range(20)]
    read = mixed(lambda nlp: kept, lambda nlp: kept, sampling="round_robin", in_memory=True)
    found = list(read(nlp))
    for example in found:
        is_a = corpus_of(example.reference) == "a"
        assert trains_of(example.reference) == (("textcat_multilabel",) if is_a else ("ner",))
        assert bool(example.reference.cats) == is_a
        assert bool(example.reference.ents) != is_a
        assert example.reference.has_annotation("ENT_IOB") != is_a
    assert all(eg.reference.cats and eg.reference.ents for eg in kept)


def test_two_corpora_of_one_reader_that_keeps_its_docs():
    """Nothing need be cleared for heads that read marks; the marks must not meet on one doc all the same."""
    nlp = pipeline("transfer_ner", "transfer_textcat")
    kept = [Example.from_dict(nlp.make_doc("a b"), {"entities": [(0, 1, "X")], "cats": {"y": 1.0}}) for _ in range(3)]
    blocks = {name: {"reader": lambda nlp: kept, "trains": [f"transfer_{name}"]} for name in ("ner", "textcat")}
    found = list(create_mixed_corpus_v1(corpora=blocks)(nlp))
    assert [trains_of(eg.reference) for eg in found] == [("transfer_ner",)] * 3 + [("transfer_textcat",)] * 3
    assert all(not eg.reference.user_data for eg in kept)


def test_a_reader_that_marks_keeps_its_say(nlp):
    """As Rehearsal.v1 and Teacher.v1 do: they name fewer components, and leave soft targets."""

    def read(nlp):
        for example in cats(20)(nlp):
            example.reference.ents = [Span(example.reference, 0, 1, "PER")]
            note_origin(example.reference, "old", ["ner"])
            set_soft(example.reference, "ner", {"logits": numpy.arange(3.0)})
            yield example

    blocks = {"a": {"reader": read, "trains": ["ner", "textcat_multilabel"]}, "b": {"reader": read}}
    found = list(create_mixed_corpus_v1(corpora=blocks)(nlp))
    of = {name: [eg for eg in found if corpus_of(eg.reference) == name] for name in "ab"}
    assert [len(of[name]) for name in "ab"] == [20, 20]
    assert {trains_of(eg.reference) for eg in found} == {("ner",)}
    assert all(eg.reference.ents and not eg.reference.cats for eg in found)
    assert all(target["logits"].tolist() == [0, 1, 2] for target in soft_of(found, "ner"))


def test_corpora_whole(nlp):
    found = list(mixed(cats(5), ents(3), sampling=None)(nlp))
    assert texts(found) == [*(f"c {i}" for i in range(5)), *(f"e {i}" for i in range(3))]
    assert [corpus_of(eg.reference) for eg in found] == ["a"] * 5 + ["b"] * 3


def test_a_limit_ends_what_has_no_end(nlp):
    def endless(nlp):
        while True:
            yield from cats(10)(nlp)

    blocks = {"a": {"reader": endless, "limit": 25}, "b": {"reader": ents(25)}}
    found = list(create_mixed_corpus_v1(corpora=blocks, sampling="proportional", epoch_size=200)(nlp))
    assert Counter(corpus_of(eg.reference) for eg in found) == {"a": 100, "b": 100}


@pytest.mark.parametrize("sampling", [None, "proportional"])
def test_an_empty_corpus(nlp, sampling):
    with pytest.raises(ValueError, match=r"T514.*'b'"):
        list(mixed(cats(5), ents(0), sampling=sampling)(nlp))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"reader": print, "train": ["ner"]}, r"T526.*corpora\.x.*\['train'\].*'trains'"),
        ({"trains": ["ner"]}, "T526.*no reader"),
        ({"reader": print, "trains": "ner"}, "T526.*trains = 'ner'"),
        ({"reader": print, "limit": -1}, "T526.*limit = -1"),
    ],
)
def test_blocks_that_are_wrong(block, message):
    with pytest.raises(ValueError, match=message):
        create_mixed_corpus_v1(corpora={"x": block})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch_size": 100}, "T518.*epoch_size = 100.*at least 101"),
        ({"shuffle": -1}, "T518.*shuffle = -1"),
        ({"sampling": "weights", "weights": {"a": 0.0, "b": 0.0}}, "T516"),
        ({"sampling": "annealed"}, "T518.*anneal"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    with pytest.raises(ValueError, match=message):
        mixed(cats(1), ents(1), **settings)


@pytest.mark.parametrize("sampling", [None, "proportional"])
@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (lambda nlp: [nlp.make_doc("a")], r"T530.*corpora\.b\.reader gives a Doc"),
        (lambda nlp: None, r"T530.*corpora\.b\.reader gives None"),
        (lambda nlp: 3, r"T530.*corpora\.b\.reader gives 3"),
    ],
)
def test_readers_that_give_no_examples(nlp, reader, message, sampling):
    with pytest.raises(ValueError, match=message):
        list(mixed(cats(5), reader, sampling=sampling)(nlp))


def test_no_corpora():
    with pytest.raises(ValueError, match="T526.*there are none"):
        create_mixed_corpus_v1(corpora={})


def test_components_that_are_wrong(nlp):
    read = create_mixed_corpus_v1(corpora={"x": {"reader": cats(1), "trains": ["nre"]}})
    with pytest.raises(ValueError, match=r"T512.*corpora\.x.*'nre'.*\['ner'"):
        read(nlp)


CONFIG = """
[nlp]
lang = "en"
pipeline = ["textcat_multilabel","ner"]
[components]
[components.textcat_multilabel]
factory = "textcat_multilabel"
[components.ner]
factory = "ner"
[corpora]
[corpora.train]
@readers = "spacy-transfer.MixedCorpus.v1"
sampling = "proportional"
[corpora.train.corpora]
[corpora.train.corpora.a]
trains = ["textcat_multilabel"]
[corpora.train.corpora.a.reader]
@readers = "test_mixed.cats"
[corpora.train.corpora.b]
trains = ["ner"]
[corpora.train.corpora.b.reader]
@readers = "test_mixed.ents"
[corpora.dev]
@readers = "spacy-transfer.MixedCorpus.v1"
[corpora.dev.corpora]
[corpora.dev.corpora.a]
trains = ["textcat_multilabel"]
[corpora.dev.corpora.a.reader]
@readers = "test_mixed.cats"
[corpora.dev.corpora.b]
trains = ["ner"]
[corpora.dev.corpora.b.reader]
@readers = "test_mixed.ents"
[training]
max_epochs = -1
"""


spacy.registry.readers("test_mixed.cats", func=lambda: cats(10))
spacy.registry.readers("test_mixed.ents", func=lambda: ents(10))
spacy.registry.readers("test_mixed.none", func=lambda: lambda nlp: [])


def read_config(role, changes=None):
    config = Config().from_str(CONFIG, overrides=changes or {})
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    corpora = spacy.registry.resolve(nlp.config.interpolate()["corpora"])
    return list(corpora[role](nlp))


def test_in_a_config():
    assert len(read_config("train")) == 101 and len(read_config("dev")) == 20


@pytest.mark.parametrize(
    ("role", "changes", "message"),
    [
        ("train", {"training.max_epochs": 0}, r"T510.*max_epochs = 0.*proportional"),
        ("train", {"corpora.train.sampling": None}, "T511"),
        ("train", {"training.frozen_components": ["ner"]}, r"T513.*corpora\.b.*'ner'.*frozen_components"),
        ("train", {"corpora.train.corpora.a.trains": ["textcat"]}, r"T512.*'textcat'.*textcat_multilabel"),
        (
            "train",
            {"nlp.pipeline": ["sentencizer", "textcat_multilabel", "ner"]}
            | {"components.sentencizer": {"factory": "sentencizer"}, "corpora.train.corpora.b.trains": ["sentencizer"]},
            r"T527.*corpora\.b.*'sentencizer'.*\['textcat_multilabel', 'ner'\]",
        ),
        (
            "train",
            {"nlp.pipeline": ["tok2vec", "textcat_multilabel", "ner"]}
            | {"components.tok2vec": {"factory": "tok2vec"}, "corpora.train.corpora.b.trains": ["tok2vec"]},
            r"T527.*corpora\.b.*'tok2vec' \(tok2vec\)",
        ),
        ("train", {"corpora.train.corpora.b.trains": []}, r"T529.*corpora\.b.*\['textcat_multilabel', 'ner'\]"),
        ("dev", {"corpora.dev.corpora.b.trains": []}, r"T529.*corpora\.b"),
        (
            "dev",
            {"corpora.dev.corpora.b.reader": {"@readers": "test_mixed.none"}},
            r"T514.*'b' of training\.dev_corpus",
        ),
        (
            "train",
            {"corpora.train.corpora.b.reader": {"@readers": "test_mixed.none"}},
            r"T514.*'b' of training\.train_corpus",
        ),
        ("train", {"corpora.dev.corpora.b.trains": ["textcat_multilabel"]}, r"T515.*'ner'.*\['b'\].*corpora\.dev"),
        ("dev", {"corpora.dev.sampling": "round_robin"}, "T525.*round_robin"),
        ("dev", {"training.score_weights": {"ents_g": 1.0}}, r"T523.*'ents_g'.*'ents_f'"),
        ("dev", {"training.score_weights": {"b_ents_f": 1.0}}, r"T523.*'b_ents_f'.*'ents_f'"),
    ],
)
def test_configs_that_are_at_odds(role, changes, message):
    with pytest.raises(ValueError, match=message):
        read_config(role, changes)


def test_what_is_frozen_may_be_scored():
    changes = {"training.frozen_components": ["ner"], "corpora.train.corpora.b.trains": ["textcat_multilabel"]}
    assert len(read_config("dev", changes)) == 20


def test_rows_learn_from_some_corpora_and_need_no_development_set():
    changes = {"nlp.pipeline": ["textcat_multilabel", "ner", "transfer_rows"]}
    changes |= {"components.transfer_rows": {"factory": "transfer_rows"}}
    assert len(read_config("train", changes)) == 101
    changes["corpora.train.corpora.a.trains"] = ["textcat_multilabel", "transfer_rows"]
    assert len(read_config("train", changes)) == 101


SCORER = {
    "@scorers": "spacy-transfer.PerCorpusScorer.v1",
    "component": "ner",
    "scorer": {"@scorers": "spacy.ner_scorer.v1"},
}


def test_score_weights_may_name_the_score_of_a_corpus():
    changes = {"components.ner.scorer": SCORER, "training.score_weights": {"b_ents_f": 1.0, "ents_f": None}}
    assert len(read_config("dev", changes)) == 20
    with pytest.raises(ValueError, match=r"T523.*'a_ents_f'.*'b_ents_f'"):
        read_config("dev", {**changes, "training.score_weights": {"a_ents_f": 1.0}})


@pytest.mark.parametrize("role", ["train", "dev"])
@pytest.mark.parametrize("trains", [["ner"], None])
def test_a_scorer_of_a_component_that_is_not_there(role, trains):
    """Examples cannot tell where a corpus is everybody's; and it is seen before training, not after the first steps."""
    changes = {"components.ner.scorer": {**SCORER, "component": "nre"}, "corpora.dev.corpora.b.trains": trains}
    with pytest.raises(ValueError, match=r"T522.*components\.ner\.scorer.*'nre'.*\['ner'\]"):
        read_config(role, changes)
