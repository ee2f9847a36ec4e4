"""Rehearsal: what is mixed in, at which ratio, and that new data and old answers never contradict each other.

Guards also: new_entities.py, pairing.py.
"""

from itertools import islice

import pytest
import spacy
from spacy.pipeline import Tok2Vec
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.corpora.example_info import corpus_of, may_train, open_of, trains_of
from spacy_transfer.corpora.mixed.mixed_corpus import create_mixed_corpus_v1
from spacy_transfer.corpora.teaching.pairing import translated
from spacy_transfer.corpora.teaching.rehearsal import create_rehearsal_v1

from ..teachers import Counter, stock_pipeline

RAW = ["Anna likes Paris", "the cat sees Bob", "Rome sleeps"]
NEW = "Anna buys a Gizmo in Rome"


def student(*names):
    nlp = spacy.blank("en")
    for name in names or ("ner",):
        nlp.add_pipe(name)
    return nlp


def new_data(nlp, ents=((3, 4, "PRODUCT"),), text=NEW, n=1):
    doc = nlp.make_doc(text)
    doc.set_ents([Span(doc, *ent) for ent in ents])
    examples = [Example(nlp.make_doc(text), doc) for _ in range(n)]
    return lambda nlp: iter(examples)


@pytest.fixture
def make(stock, tmp_path):
    raw = tmp_path / "raw.txt"
    raw.write_text("\n".join(RAW))

    def make(corpus, components=("ner",), **settings):
        settings = {"texts": str(raw), "source": str(stock), "cache": tmp_path / "cache", **settings}
        components = components if isinstance(components, dict) else list(components)
        return create_rehearsal_v1(corpus=corpus, components=components, **settings)

    return make


def shown(doc):
    return [(t.text, t.ent_type_ or {0: "?", 2: "O"}[t.ent_iob]) for t in doc]


def parts(examples):
    examples = list(examples)
    return [[eg for eg in examples if (corpus_of(eg.reference) == "rehearsal") == old] for old in (False, True)]


def test_both_halves(make, stock):
    """New data gets what the pipeline finds in it, and raw texts what it finds in them."""
    nlp = student()
    new, old = parts(make(new_data(nlp, n=2), ratio=1.5)(nlp))
    labels = ["PERSON", "O", "O", "PRODUCT", "O", "GPE"]
    assert [shown(eg.reference) for eg in new] == [list(zip(NEW.split(), labels, strict=True))] * 2
    teacher = spacy.load(stock)
    assert [eg.text for eg in old] == RAW
    assert [shown(eg.reference) for eg in old] == [shown(doc) for doc in teacher.pipe(RAW)]
    assert any(eg.reference.ents for eg in old)
    assert all(not eg.predicted.ents and not eg.predicted.user_data for eg in (*new, *old))


def test_words_that_new_data_calls_an_entity_are_left_open(make):
    nlp = student()
    _, old = parts(
        make(new_data(nlp, [(0, 1, "PRODUCT"), (4, 6, "PRODUCT")], "anna , a Gizmo of Rome"), ratio=3.0)(nlp)
    )
    assert shown(old[0].reference) == [("Anna", "?"), ("likes", "O"), ("Paris", "GPE")]


def test_labels_that_new_data_decides_on(make):
    """PERSON is in the new data, which alone says where there is one there; GPE is named, so that it is not rehearsed
    either."""
    nlp = student()
    corpus = new_data(nlp, [(3, 4, "PERSON")])
    new, old = parts(make(corpus, new_labels=["GPE"])(nlp))
    assert [label for _, label in shown(new[0].reference)] == ["O", "O", "O", "PERSON", "O", "O"]
    assert shown(old[0].reference) == [("Anna", "PERSON"), ("likes", "O"), ("Paris", "?")]
    assert open_of(old, "ner") == [("GPE",)] and open_of(new, "ner") == [()]
    _, old = parts(make(corpus, new_labels=["PERSON"])(nlp))
    assert shown(old[0].reference) == [("Anna", "?"), ("likes", "O"), ("Paris", "GPE")]
    assert open_of(old, "ner") == [("PERSON",)]


def test_words_of_labels_that_are_known_stay_what_they_are(make):
    nlp = student()
    _, old = parts(make(new_data(nlp, [(0, 1, "PERSON"), (5, 6, "PLACE")]), ratio=3.0)(nlp))
    assert shown(old[0].reference) == [("Anna", "PERSON"), ("likes", "O"), ("Paris", "GPE")]
    assert shown(old[2].reference) == [("Rome", "?"), ("sleeps", "O")]
    assert open_of(old, "ner") == [("PLACE",)] * 3


def test_texts_without_new_labels_are_taken_as_the_source_reads_them(make):
    nlp = student()
    corpus = new_data(nlp, [(0, 1, "PRODUCT"), (4, 6, "PRODUCT")], "anna , a Gizmo of Rome")
    _, old = parts(make(corpus, new_in_texts=False, ratio=3.0)(nlp))
    assert shown(old[0].reference) == [("Anna", "PERSON"), ("likes", "O"), ("Paris", "GPE")]
    assert open_of(old, "ner") == [()] * 3
    _, old = parts(make(corpus, new_in_texts=False, new_labels=["GPE"])(nlp))
    assert shown(old[0].reference) == [("Anna", "PERSON"), ("likes", "O"), ("Paris", "?")]


def test_beside_the_source_what_it_finds_is_nothing_new(make):
    nlp = student()
    corpus = new_data(nlp, [(0, 1, "PRODUCT"), (4, 6, "PRODUCT")], "anna , a Gizmo of Rome")
    new, old = parts(make(corpus, beside=True, ratio=3.0)(nlp))
    assert [label for _, label in shown(new[0].reference)] == ["PRODUCT", "O", "O", "O", "PRODUCT", "PRODUCT"]
    paris, bob, rome = [("likes", "?"), ("Paris", "O")], [("sees", "?"), ("Bob", "O")], [("Rome", "O"), ("sleeps", "?")]
    assert [shown(eg.reference)[-2:] for eg in old] == [paris, bob, rome]
    assert open_of(old, "ner") == [(), (), ()]


def test_beside_passes_over_texts_without_entities(make, tmp_path):
    raw = tmp_path / "some.txt"
    raw.write_text("the cat sleeps\nRome sleeps")
    _, old = parts(make(new_data(student()), beside=True, ratio=2.0, texts=raw)(student()))
    assert [eg.text for eg in old] == ["Rome sleeps"] * 2
    raw.write_text("the cat sleeps")
    with pytest.raises(ValueError, match=r"T554.*some\.txt.*ner"):
        list(make(new_data(student()), beside=True, texts=raw)(student()))


def test_beside_in_texts_of_another_kind_nothing_is_new(make, tmp_path):
    raw = tmp_path / "some.txt"
    raw.write_text("the cat sleeps\nRome sleeps")
    _, old = parts(make(new_data(student()), beside=True, new_in_texts=False, ratio=2.0, texts=raw)(student()))
    assert [shown(eg.reference) for eg in old] == [
        [("the", "O"), ("cat", "O"), ("sleeps", "O")],
        [("Rome", "O"), ("sleeps", "O")],
    ]


def test_beside_is_about_entities(make):
    with pytest.raises(ValueError, match=r"T546.*beside.*tagger"):
        list(make(lambda nlp: [], ["tagger"], beside=True)(student("tagger")))


def test_new_data_comes_as_it_was_next_time(make):
    nlp = student()
    corpus = new_data(nlp)
    reader = make(corpus)
    first, second = ([shown(eg.reference) for eg in reader(nlp)] for _ in range(2))
    assert first == second
    assert [ent.label_ for eg in corpus(nlp) for ent in eg.reference.ents] == ["PRODUCT"]
    as_it_is = parts(make(corpus, complete=False)(nlp))[0]
    assert [ent.label_ for ent in as_it_is[0].reference.ents] == ["PRODUCT"]


def test_the_filter_leaves_out_what_is_unsure(make, tmp_path):
    """The scores of a beam, once more by hand, of a pipeline that has not learned much."""
    stock_pipeline(["ner"], steps=5).to_disk(stock := tmp_path / "unsure")
    nlp, ner = student(), spacy.load(stock).get_pipe("ner")
    teacher = spacy.load(stock, exclude=["ner"])
    beams = ner.beam_parse(list(teacher.pipe(RAW)), beam_width=16, beam_density=1e-4)
    scores = [dict(scored) for scored in ner.scored_ents(beams)]
    docs = list(spacy.load(stock).pipe(RAW))
    found = [scored[e.start, e.end, e.label_] for doc, scored in zip(docs, scores, strict=True) for e in doc.ents]
    least = sorted(found)[-2]
    _, old = parts(make(new_data(nlp, n=3), min_confidence=least, source=str(stock))(nlp))
    kept = [(e.start, e.end, e.label_) for eg in old for e in eg.reference.ents]
    sure = [span for scored in scores for span in sorted(scored) if scored[span] >= least]
    assert kept == sure and 0 < len(kept) < len(found)
    for eg, scored in zip(old, scores, strict=True):
        for i, token in enumerate(eg.reference):
            outside = 1.0 - sum(score for (start, end, _), score in scored.items() if start <= i < end)
            if not token.ent_type and abs(outside - least) > 1e-6:
                assert token.ent_iob_ == ("O" if outside >= least else "")


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0, 2.5])
def test_ratio(make, ratio):
    nlp = student()
    examples = list(make(new_data(nlp, n=40), ratio=ratio)(nlp))
    _, old = parts(examples)
    assert len(old) == 40 * ratio and len(examples) == 40 + len(old)
    assert [eg.text for eg in old] == [RAW[i % 3] for i in range(len(old))]
    # Evenly between the new: no stretch lacks them.
    for i in range(0, len(examples) - 19, 20):
        assert len(parts(examples[i : i + 20])[1]) == pytest.approx(20 * ratio / (1 + ratio), abs=1)


def test_raw_texts_go_on_where_they_stopped(make):
    """Within a reading in rounds; and from one reading to the next, where spaCy reads more than once."""
    nlp = student()
    read = make(new_data(nlp), ratio=2.0, rounds=2)
    texts = [eg.text for eg in read(nlp)]
    assert texts == [NEW, RAW[0], RAW[1], NEW, RAW[2], RAW[0]] == [eg.text for eg in read(nlp)]
    nlp.config["training"]["max_epochs"] = -1
    read = make(new_data(nlp), ratio=2.0)
    next(iter(read(nlp)))
    passes = [[eg.text for eg in read(nlp)][1:] for _ in range(4)]
    assert passes == [RAW[:2], [RAW[2], RAW[0]], RAW[1:], RAW[:2]]


def test_sampled_corpora_show_their_labels_after_rehearsal_has_read_them(make):
    def ents(nlp):
        for i in range(300):
            yield Example.from_dict(nlp.make_doc("a b"), {"entities": [(0, 1, "RARE" if i == 299 else "COMMON")]})

    nlp = student()
    corpora = {"a": {"reader": ents, "trains": ["ner"]}, "b": {"reader": ents, "trains": ["ner"]}}
    mixed = create_mixed_corpus_v1(corpora=corpora, sampling="round_robin", shuffle=0, epoch_size=200)
    first = islice(make(mixed, ratio=0.1)(nlp), 100)
    assert {ent.label_ for eg in first for ent in eg.reference.ents} >= {"RARE", "COMMON"}


def test_every_component_that_can_be(make, stock):
    nlp = student("tagger", "parser", "ner", "textcat")
    names = ["tagger", "parser", "ner", "textcat"]
    new, old = parts(make(new_data(nlp, n=3), names)(nlp))
    for doc, eg in zip(spacy.load(stock).pipe(RAW), old, strict=True):
        reference = eg.reference
        assert [t.tag_ for t in reference] == [t.tag_ for t in doc]
        assert [(t.head.i, t.dep_) for t in reference] == [(t.head.i, t.dep_) for t in doc]
        assert reference.cats == {label: float(score >= 0.5) for label, score in doc.cats.items()}
        assert trains_of(reference) == tuple(names)
    assert new[0].reference.cats and new[0].reference.has_annotation("DEP")


def test_nothing_else_learns_from_rehearsed_texts(make):
    nlp = student("ner", "transfer_textcat")
    _, old = parts(make(new_data(nlp))(nlp))
    assert may_train(old[0].reference, "ner") and not may_train(old[0].reference, "transfer_textcat")


def test_another_name_here(make):
    nlp = student()
    nlp.rename_pipe("ner", "names")
    _, old = parts(make(new_data(nlp), {"names": "ner"})(nlp))
    assert old[0].reference.ents and may_train(old[0].reference, "names")


def test_each_classifier_is_told_its_own_categories(make, tmp_path):
    """Two in the source, of which one has labels that exclude each other; and of a third new data speaks."""
    nlp = stock_pipeline(["textcat"])
    more = nlp.add_pipe("textcat_multilabel")
    docs = [nlp.make_doc(text) for text in RAW]
    more.initialize(lambda: [Example.from_dict(doc, {"cats": {"long": 1.0, "short": 0.0}}) for doc in docs], nlp=nlp)
    nlp.to_disk(tmp_path / "two")
    corpus = new_data(student())
    next(corpus(None)).reference.cats = {"urgent": 1.0}
    said = nlp("the dog barks").cats
    (tmp_path / "dog.txt").write_text("the dog barks")
    settings = {"source": str(tmp_path / "two"), "texts": tmp_path / "dog.txt"}
    for names in (["textcat"], ["textcat", "textcat_multilabel"], ["textcat_multilabel", "textcat"]):
        here = student(*names)
        for label in ("animal", "human"):
            here.get_pipe("textcat").add_label(label)
        new, old = parts(make(corpus, names, **settings)(here))
        assert old[0].reference.cats["animal"] == 1.0 > old[0].reference.cats["human"]
        for label in ("long", "short") if len(names) > 1 else ():
            assert old[0].reference.cats[label] == float(said[label] >= 0.5)
        assert ("long" in old[0].reference.cats) is (len(names) > 1)
        assert new[0].reference.cats["urgent"] == 1.0 and {"animal", "human"} <= set(new[0].reference.cats)


def test_labels_of_other_names_here(make, stock):
    """What is completed, rehearsed and decided on goes by the names here; two kinds of entities may become one."""
    label_map = {"PERSON": "NAME", "GPE": "NAME", "animal": "pet"}
    names = ["ner", "textcat"]
    new, old = parts(make(new_data(student()), names, ratio=3.0, label_map=label_map)(student(*names)))
    assert shown(new[0].reference)[0] == ("Anna", "NAME") and shown(new[0].reference)[5] == ("Rome", "NAME")
    found = {ent.label_ for eg in old for ent in eg.reference.ents}
    assert found == {"NAME"}
    assert all(set(eg.reference.cats) == {"pet", "human"} for eg in (*new, *old))
    _, old = parts(make(new_data(student()), ratio=3.0, label_map={"GPE": "PLACE"}, new_labels=["PLACE"])(student()))
    assert {ent.label_ for eg in old for ent in eg.reference.ents} == {"PERSON"}


def test_probabilities_of_kinds_that_become_one_add_up():
    answer = {"ents": [[0, 1, "A"]], "confidence": {"ents": [[0, 1, "A", 0.5], [0, 1, "B", 0.4], [1, 2, "B", 0.1]]}}
    found = translated(answer, {"A": "C", "B": "C"})
    assert found["ents"] == [[0, 1, "C"]]
    assert found["confidence"]["ents"] == [[0, 1, "C", pytest.approx(0.9)], [1, 2, "C", 0.1]]
    assert answer["ents"] == [[0, 1, "A"]] and answer["confidence"]["ents"][0] == [0, 1, "A", 0.5]


def test_each_text_is_annotated_once(make, monkeypatch):
    nlp, count = student(), Counter(monkeypatch, Tok2Vec)
    for reader in (make(new_data(nlp, n=20), ratio=2.0), make(new_data(nlp, n=20), ratio=2.0)):
        for _ in range(3):
            list(reader(nlp))
    assert sorted(count.texts) == sorted([NEW, *RAW])


def test_a_large_file_is_not_read_to_its_end(make, tmp_path, monkeypatch):
    count = Counter(monkeypatch, Tok2Vec)
    (tmp_path / "many.txt").write_text("\n".join(f"text {i}" for i in range(5000)))
    nlp = student()
    assert len(list(islice(make(new_data(nlp, n=1000), texts=tmp_path / "many.txt")(nlp), 20))) == 20
    assert len(count.texts) < 200


def test_no_raw_texts_at_all(make):
    nlp = student()
    new, old = parts(make(new_data(nlp), texts=None)(nlp))
    assert not old and [ent.label_ for ent in new[0].reference.ents] == ["PERSON", "PRODUCT", "GPE"]


def test_docs_without_tokens_or_annotation(make):
    nlp = student()
    bare = nlp.make_doc("Anna sings")
    corpus = [Example(Doc(nlp.vocab), Doc(nlp.vocab)), Example(nlp.make_doc("Anna sings"), bare)]
    new, _ = parts(make(lambda nlp: corpus, texts=None)(nlp))
    assert not len(new[0].reference)
    # Nobody has said that there is nothing: what the pipeline does not find may be something new.
    assert shown(new[1].reference) == [("Anna", "PERSON"), ("sings", "?")]


def test_stock_ner_extends_and_remembers(make, stock):
    """A new label is learned, and old entities are kept, which is lost without rehearsal."""
    texts = ["Anna buys a Gizmo in Rome", "the Gizmo of Bob", "Berlin has a Gizmo", "Paris sees Anna"]

    def corpus(nlp):
        for text in texts:
            doc = nlp.make_doc(text)
            doc.set_ents([Span(doc, t.i, t.i + 1, "PRODUCT") for t in doc if t.text == "Gizmo"])
            yield Example(nlp.make_doc(text), doc)

    found = {}
    for name, reader in (("naive", corpus), ("ours", make(corpus, ratio=2.0))):
        spacy.util.fix_random_seed(0)
        nlp = spacy.load(stock, exclude=["parser", "textcat", "tagger"])
        examples = list(reader(nlp))
        nlp.resume_training()
        optimizer = Adam(0.02)
        for _ in range(12):
            nlp.update(examples, sgd=optimizer, annotates=["tok2vec"])
        found[name] = [(e.text, e.label_) for doc in nlp.pipe([*texts, *RAW]) for e in doc.ents]
    old = [pair for pair in found["ours"] if pair[1] != "PRODUCT"]
    assert found["naive"].count(("Gizmo", "PRODUCT")) == found["ours"].count(("Gizmo", "PRODUCT")) == 3
    assert len([pair for pair in found["naive"] if pair[1] != "PRODUCT"]) < len(old) and len(old) >= 8


def test_bad_input(make, stock, tmp_path, caplog):
    nlp = student("ner", "tagger")
    corpus = new_data(nlp)

    def read(*args, nlp=nlp, **settings):
        return list(make(corpus, *args, **settings)(nlp))

    with pytest.raises(ValueError, match=r"T541.*corpora\.train\.components.*no component 'names'"):
        read({"ner": "names"})
    with pytest.raises(ValueError, match=r"T543.*no component 'nerr'.*Near it: \['ner', "):
        read({"nerr": "ner"})
    with pytest.raises(ValueError, match=r"T551.*'textcat'.*doc\.cats.*'ner'"):
        read({"ner": "textcat"})
    with pytest.raises(ValueError, match=r"T542.*'tok2vec'.*doc\.tensor"):
        read({"ner": "tok2vec"})
    with pytest.raises(ValueError, match=r"T546.*ratio = -1"):
        read(ratio=-1.0)
    with pytest.raises(ValueError, match=r"T546.*min_confidence = 1\.5"):
        read(min_confidence=1.5)
    with pytest.raises(ValueError, match=r"T546.*components"):
        read([])
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"T545.*blank\.txt"):
        read(texts=tmp_path / "blank.txt")
    with pytest.raises(ValueError, match=r"T550.*'textcat'.*transfer_textcat"):
        read(nlp=student("ner", "textcat"))
    with pytest.raises(ValueError, match=r"T550.*'senter'"):
        read(nlp=student("ner", "senter"))
    with pytest.raises(ValueError, match=r"T561.*new_labels names 'PERSN'.*\['PERSON', "):
        read(new_labels=["PERSN"])
    with pytest.raises(ValueError, match=r"T546.*rounds = 0"):
        read(rounds=0)
    with pytest.raises(ValueError, match=r"T551.*token\.tag.*token\.pos"):
        tagger_of_pos = student()
        tagger_of_pos.add_pipe("transfer_tagger", config={"attribute": "pos"})
        read({"transfer_tagger": "tagger"}, nlp=tagger_of_pos)
    with pytest.raises(ValueError, match=r"T557.*min_confidence = 0\.9.*'textcat'.*transfer_textcat"):
        read(["ner", "textcat"], nlp=student("ner", "textcat"), min_confidence=0.9)
    other_labels = student("ner", "textcat")
    for label in ("animal", "news"):
        other_labels.get_pipe("textcat").add_label(label)
    with pytest.raises(ValueError, match=r"T556.*'textcat' has the labels \['animal', 'news'\].*\['human'\]"):
        read(["ner", "textcat"], nlp=other_labels)
    assert read(["ner", "textcat"], nlp=other_labels, label_map={"human": "news"})
    with pytest.raises(ValueError, match=r"T548.*no label 'GPEE'.*Near it: \['GPE', "):
        read(label_map={"GPEE": "PLACE"})
    with pytest.raises(ValueError, match=r"T548.*several become one: \['animal'\]"):
        read(["ner", "textcat"], nlp=student("ner", "textcat"), label_map={"human": "animal"})
    with_frozen = student("ner", "textcat")
    with_frozen.config["training"]["frozen_components"] = ["textcat"]
    assert read(nlp=with_frozen)
    with pytest.raises(ValueError, match=r"T555.*corpora\.train\.components names 'textcat'.*frozen_components"):
        read(["textcat"], nlp=with_frozen)
    caplog.set_level("WARNING", logger="spacy")
    stock_pipeline(["parser"], steps=1).to_disk(tmp_path / "parser")
    read(["parser"], nlp=student("parser"), source=str(tmp_path / "parser"), min_confidence=0.5)
    assert "W540" in caplog.text


def test_registered():
    assert spacy.registry.get("readers", "spacy-transfer.Rehearsal.v1") is create_rehearsal_v1
