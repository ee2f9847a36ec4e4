"""Heads that learn from a teacher: losses by hand, labels by names, and nothing of it in what is saved.

Guards also: row_matching.py.
"""

import numpy
import pytest
import spacy
import torch
from spacy.pipeline.textcat import TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.corpora.example_info import SOFT, note_origin, set_open, set_soft, soft_of
from spacy_transfer.corpora.teaching.distillation import create_teacher_v1
from spacy_transfer.corpora.teaching.rehearsal import create_rehearsal_v1
from spacy_transfer.heads.soft_losses import soft_crf_loss
from spacy_transfer.heads.tagging.crf import Chain, Transitions
from spacy_transfer.heads.tagging.tokens import TokenScores
from spacy_transfer.pipeline.callbacks import create_leave_out_v1
from spacy_transfer.pipeline.heads.distillation import SoftTargets, by_teacher

from ...corpora.teachers import TEXTS, Counter, gold, stock_pipeline
from ...pipelines import LISTENER, backbone_config, step

TOKEN = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}
KINDS = {
    "textcat": ("transfer_textcat", {}),
    "multilabel": ("transfer_textcat_multilabel", {}),
    "tagger": ("transfer_tagger", {"model": {**TOKEN, "decoder": "softmax"}}),
    "tagger_crf": ("transfer_tagger", {"model": {**TOKEN, "decoder": "crf"}}),
    "ner": ("transfer_ner", {"model": {**TOKEN, "decoder": "softmax"}, "scheme": "biluo"}),
    "ner_crf": ("transfer_ner", {"model": {**TOKEN, "decoder": "crf"}}),
}
SOURCES = ("textcat", "textcat_multilabel", "tagger")


def pipeline(source, kind, steps=0, texts=TEXTS, labels=None):
    """A pipeline with one head, trained on gold annotation."""
    name, config = KINDS[kind]
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(source), "frozen": True})
    nlp.add_pipe(name, config=config)
    if labels is not None:
        nlp.config["initialize"]["components"][name] = {"labels": labels}
    examples = [gold(nlp, text) for text in texts]
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.03)
    for _ in range(steps):
        step(nlp, examples, optimizer)
    return nlp, nlp.get_pipe(name), examples


@pytest.fixture(scope="module")
def teachers(tiny_bert, tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("teachers"), {}

    def find(kind):
        if kind not in made:
            pipeline(tiny_bert, kind, steps=8)[0].to_disk(folder / kind)
            made[kind] = str(folder / kind)
        return made[kind]

    return find


def reading(source, component, raw, tmp_path, **settings):
    """A reader around raw texts, that gives what `source` says."""

    def corpus(nlp):
        for text in raw:
            yield Example(nlp.make_doc(text), nlp.make_doc(text))

    return create_teacher_v1(
        source=source, components=component, **{"corpus": corpus, "cache": tmp_path / "cache", **settings}
    )


def scored(pipe, nlp, examples):
    docs = list(nlp.get_pipe("transfer_backbone").pipe([eg.predicted for eg in examples]))
    scores, _ = pipe.model.begin_update(docs)
    return scores


def numbers(gradient):
    """All of a gradient as one vector."""
    if hasattr(gradient, "logits"):
        neighbours = [] if gradient.transitions is None else list(vars(gradient.transitions).values())
        return numpy.concatenate([numpy.ravel(part) for part in (gradient.logits, *neighbours)])
    return gradient.ravel()


def permute(pipe, order):
    """Change the order of the labels of a head and of all its weights."""
    rows = numpy.array(order)
    if hasattr(pipe, "scheme"):
        n_parts = len(pipe.scheme.parts)
        rows = numpy.concatenate([[0], *(numpy.arange(n_parts) + 1 + n_parts * i for i in order)])
    output = pipe.model.get_ref("output")
    output.set_param("W", output.get_param("W")[rows])
    output.set_param("b", output.get_param("b")[rows])
    if pipe.model.has_ref("transitions"):
        node = pipe.model.get_ref("transitions")
        node.set_param("start", node.get_param("start")[rows])
        node.set_param("end", node.get_param("end")[rows])
        node.set_param("matrix", node.get_param("matrix")[numpy.ix_(rows, rows)])
    pipe.cfg["labels"] = [pipe.cfg["labels"][i] for i in order]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_who_is_like_the_teacher_has_nothing_to_learn(teachers, tmp_path, kind, temperature):
    """Also with the labels in another order; and a change of any weight raises the loss."""
    nlp = spacy.load(teachers(kind))
    name = nlp.pipe_names[-1]
    pipe = nlp.get_pipe(name)
    permute(pipe, list(reversed(range(len(pipe.labels)))))
    settings = {"weight": 1.0, "temperature": temperature, "hard": False}
    examples = list(reading(teachers(kind), [name], TEXTS, tmp_path, **settings)(nlp))
    loss, gradient = pipe.get_loss(examples, scored(pipe, nlp, examples))
    assert numpy.abs(numbers(gradient)).max() < 2e-5
    bias = pipe.model.get_ref("output").get_param("b")
    for change in (0.3, -0.3):
        bias[0] += change
        assert pipe.get_loss(examples, scored(pipe, nlp, examples))[0] > loss + 1e-4
        bias[0] -= change


@pytest.mark.parametrize("kind", ["textcat", "multilabel"])
def test_label_loss_by_torch(teachers, tiny_bert, tmp_path, kind):
    """Texts with gold and a teacher, with gold alone, with a teacher alone, for another component, in one batch."""
    nlp, pipe, examples = pipeline(tiny_bert, kind, steps=2)
    teacher = spacy.load(teachers(kind))
    weight, temperature, labels = 0.3, 2.0, list(pipe.labels)
    source = [examples[0], examples[2], Example(examples[3].predicted, nlp.make_doc(TEXTS[3])), examples[4]]
    reader = reading(teachers(kind), [pipe.name], [], tmp_path, weight=weight, hard=False, corpus=lambda nlp: source)
    taught = list(reader(nlp))
    note_origin(taught[3].reference, "other", ["tagger"])
    batch = [taught[0], examples[1], *taught[1:]]
    scores = scored(pipe, nlp, batch)
    loss, gradient = pipe.get_loss(batch, scores)
    logits = pipe._logits([eg.predicted for eg in batch])
    given = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    theirs = torch.tensor(numpy.array([[doc.cats[x] for x in labels] for doc in teacher.pipe(TEXTS)])).log()
    if kind == "multilabel":
        theirs = theirs - torch.tensor([[1 - doc.cats[x] for x in labels] for doc in teacher.pipe(TEXTS)]).log()
    truth = torch.tensor([[eg.reference.cats.get(x, 0.0) for x in labels] for eg in examples])

    def cost(z, target):
        if kind == "textcat":
            return torch.nn.functional.cross_entropy(z[None], target[None])
        return torch.nn.functional.binary_cross_entropy_with_logits(z, target, reduction="sum")

    def soft(z, other):
        target = (other / temperature).softmax(0) if kind == "textcat" else (other / temperature).sigmoid()
        return temperature**2 * cost(z / temperature, target)

    expected = (1 - weight) * (cost(given[0], truth[0].double()) + cost(given[2], truth[2].double()))
    expected = expected + cost(given[1], truth[1].double())
    expected = expected + weight * sum(soft(given[i], theirs[j]) for i, j in ((0, 0), (2, 2), (3, 3)))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    numpy.testing.assert_allclose(gradient, given.grad.numpy(), atol=1e-4)
    assert not gradient[4].any()


def test_new_labels_are_left_to_the_data(teachers, tiny_bert, tmp_path):
    """Learning without forgetting: the old labels' shares among themselves are taught, the new one's logit is not."""
    nlp, pipe, examples = pipeline(tiny_bert, "textcat", labels=["animal", "new", "human"])
    settings = {"weight": 1.0, "hard": False, "corpus": lambda nlp: examples}
    with pytest.raises(ValueError, match=r"T430.*teacher's alone: \[\]; its own alone: \['new'\].*partial"):
        pipe.get_loss(
            list(reading(teachers("textcat"), [pipe.name], [], tmp_path, **settings)(nlp)), numpy.ones((5, 3))
        )
    taught = list(reading(teachers("textcat"), [pipe.name], [], tmp_path, partial=True, **settings)(nlp))
    scores = numpy.full((5, 3), [0.1, 0.8, 0.1], "f")
    _, gradient = pipe.get_loss(taught, scores)
    cats = numpy.array([[doc.cats["animal"], doc.cats["human"]] for doc in spacy.load(teachers("textcat")).pipe(TEXTS)])
    softened = numpy.sqrt(cats) / numpy.sqrt(cats).sum(1, keepdims=True)
    numpy.testing.assert_allclose(gradient[:, [0, 2]], 2.0 * (0.5 - softened), atol=1e-4)
    assert not gradient[:, 1].any()


@pytest.mark.parametrize("kind", ["ner", "ner_crf"])
def test_new_entities_are_left_to_the_data(teachers, tiny_bert, tmp_path, kind):
    nlp, pipe, examples = pipeline(tiny_bert, kind, labels=["GPE", "NEW", "PERSON"])
    settings = {"weight": 1.0, "hard": False, "corpus": lambda nlp: examples, "partial": True}
    taught = list(reading(teachers(kind), ["transfer_ner"], [], tmp_path, **settings)(nlp))
    loss, gradient = pipe.get_loss(taught, scored(pipe, nlp, taught))
    new = numpy.array([tag.endswith("NEW") for tag in pipe.tags])
    assert loss > 0 and not gradient.logits[:, new].any() and gradient.logits[:, ~new].all(axis=1).any()
    if kind == "ner_crf":
        old = numpy.flatnonzero(~new)
        answers = soft_of(taught, "transfer_ner")
        parts = ("start", "matrix", "end")
        theirs = Transitions(*(numpy.array(answers[0]["teacher"][part], "d") for part in parts))
        own = pipe.transitions(scored(pipe, nlp, taught), pipe.scheme.allowed)
        part = Transitions(own.start[old], own.matrix[numpy.ix_(old, old)], own.end[old])
        given = numpy.concatenate([answer["logits"] for answer in answers])
        logits = scored(pipe, nlp, taught).logits[:, old]
        lengths = [len(eg.predicted) for eg in taught]
        expected = soft_crf_loss(logits, lengths, part, given, theirs, 2.0, numpy.ones(5))
        assert loss == pytest.approx(expected[0], rel=1e-5)
        numpy.testing.assert_allclose(gradient.logits[:, old], expected[1], atol=1e-5)
        assert not gradient.transitions.start[new].any() and gradient.transitions.matrix[numpy.ix_(old, old)].any()


def test_a_student_of_texts_alone_becomes_like_its_teacher(teachers, tiny_bert, tmp_path):
    """Labels are the teacher's, as nobody else names any; each text is shown to it once; nothing of it is saved."""
    texts = [*TEXTS, "Anna and Bob like the cat", "the dog sees Rome", ""]
    for kind in ("textcat", "multilabel", "tagger", "ner_crf"):
        name, config = KINDS[kind]
        student = spacy.blank("en")
        student.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
        pipe = student.add_pipe(name, config=config)
        reader = reading(teachers(kind), [name], texts, tmp_path, hard=False, weight=1.0)
        student.initialize(lambda reader=reader, student=student: reader(student))
        teacher, optimizer = spacy.load(teachers(kind)), Adam(0.1)
        assert sorted(pipe.labels) == sorted(teacher.get_pipe(name).labels)
        examples = list(reader(student))
        # A teacher of few steps is unsure of some tags: the last steps are small.
        for rate in [0.1] * 100 + [0.01] * 100:
            optimizer.learn_rate = rate
            step(student, examples, optimizer)
        for mine, other in zip(student.pipe(texts), teacher.pipe(texts), strict=True):
            assert mine.cats == pytest.approx(other.cats, abs=0.05)
            assert [token.tag_ for token in mine] == [token.tag_ for token in other]
            assert SOFT not in mine.user_data
        if kind == "ner_crf":
            own, theirs = (
                n.get_pipe(name).tag_confidences([doc for doc in n.pipe(texts, disable=[name]) if len(doc)])
                for n in (student, teacher)
            )
            for mine, other in zip(own, theirs, strict=True):
                numpy.testing.assert_allclose(mine["outside"], other["outside"], atol=0.05)
        assert b"spacy_transfer_soft" not in student.to_bytes()


def test_stock_components_teach(tiny_bert, tmp_path):
    """spaCy's own tagger and text classifiers, under other names."""
    stock_pipeline(SOURCES, steps=4).to_disk(tmp_path / "stock")
    teacher = spacy.load(tmp_path / "stock")
    pairs = {
        "transfer_textcat": "textcat",
        "transfer_textcat_multilabel": "textcat_multilabel",
        "transfer_tagger": "tagger",
    }
    for name, other in pairs.items():
        nlp = spacy.blank("en")
        nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
        nlp.add_pipe(name)
        reader = reading(str(tmp_path / "stock"), {name: other}, TEXTS, tmp_path, weight=1.0)
        examples = list(reader(nlp))
        nlp.initialize(lambda examples=examples: examples)
        optimizer = Adam(0.1)
        for _ in range(100):
            step(nlp, examples, optimizer)
        for text, doc in zip(TEXTS, nlp.pipe(TEXTS), strict=True):
            if "textcat" in name:
                only = spacy.load(tmp_path / "stock", exclude=[n for n in SOURCES if n != other])(text)
                assert doc.cats == pytest.approx(only.cats, abs=0.06)
            else:
                assert [t.tag_ for t in doc] == [t.tag_ for t in teacher(text)]


def test_annotation_on_other_tokens(teachers, tiny_bert, tmp_path, caplog):
    """What is said of tokens stays with the tokens that the student reads; it is not written beside other ones."""
    caplog.set_level("WARNING", logger="spacy")
    for kind in ("tagger", "textcat"):
        nlp, pipe, _ = pipeline(tiny_bert, kind)
        reference = Doc(nlp.vocab, words=["Anna sings", "in", "Rome"])
        corpus = [Example(nlp.make_doc("Anna sings in Rome"), reference), gold(nlp, TEXTS[1])]
        reader = reading(teachers(kind), [pipe.name], [], tmp_path, corpus=lambda nlp, corpus=corpus: corpus)
        found = list(reader(nlp))
        assert not any(token.tag_ for token in found[0].reference) and bool(found[0].reference.cats) == (
            kind == "textcat"
        )
        assert not reference.cats and numpy.isfinite(pipe.get_loss(found, scored(pipe, nlp, found))[0])
    assert caplog.text.count("W541") == 1 and "1 of 2 texts" in caplog.text


def test_a_teacher_that_drops_its_rows(tiny_bert, tmp_path):
    """It is asked for scores, and then for annotation: the rows are there both times."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "keep_rows": False})
    nlp.add_pipe("transfer_textcat")
    nlp.initialize(lambda: [gold(nlp, text) for text in TEXTS])
    nlp.to_disk(tmp_path / "teacher")
    student = spacy.blank("en")
    student.add_pipe("transfer_textcat")
    student.add_pipe("transfer_rows")
    pairs = {"transfer_textcat": "transfer_textcat", "transfer_rows": "transfer_backbone"}
    found = list(reading(str(tmp_path / "teacher"), pairs, TEXTS, tmp_path)(student))
    assert all(eg.reference.cats for eg in found)
    assert [answer["rows"].shape for answer in soft_of(found, "transfer_rows")] == [(len(eg), 16) for eg in found]


def test_one_forward_of_the_teacher_over_a_whole_training(tiny_bert, tmp_path, monkeypatch):
    stock_pipeline(["textcat"], steps=2).to_disk(tmp_path / "stock")
    count = Counter(monkeypatch, TextCategorizer)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    nlp.add_pipe("transfer_textcat")
    (tmp_path / "raw.txt").write_text("\n".join([*TEXTS, *TEXTS]))
    settings = {"corpus": None, "texts": str(tmp_path / "raw.txt"), "hard": False}
    reader = reading(str(tmp_path / "stock"), {"transfer_textcat": "textcat"}, [], tmp_path, **settings)
    nlp.initialize(lambda: reader(nlp))
    optimizer = Adam(0.01)
    for _ in range(3):
        step(nlp, list(reader(nlp)), optimizer)
    assert sorted(count.texts) == sorted(TEXTS)


def test_a_reader_inside_a_reader(teachers, tiny_bert, tmp_path):
    """Rehearsal around a teacher, and two teachers for two components: each mark survives the other's."""
    nlp, _, examples = pipeline(tiny_bert, "ner_crf", labels=["GPE", "PERSON", "NEW"])
    nlp.add_pipe("transfer_textcat")
    inner = reading(teachers("ner_crf"), ["transfer_ner"], [], tmp_path, corpus=lambda nlp: examples, partial=True)
    outer = reading(teachers("textcat"), ["transfer_textcat"], [], tmp_path, corpus=inner)
    (tmp_path / "raw.txt").write_text("Bob sleeps\n")
    settings = {"texts": tmp_path / "raw.txt", "cache": tmp_path / "cache", "new_labels": ["NEW"]}
    reader = create_rehearsal_v1(
        corpus=outer, source=teachers("ner_crf"), components=["transfer_ner"], min_confidence=0.1, **settings
    )
    found = list(reader(nlp))
    assert len(found) == 10
    for name in ("transfer_ner", "transfer_textcat"):
        assert [answer is not None for answer in soft_of(found, name)] == [True, False] * 5
    note_origin(found[1].reference, "old", ["transfer_ner", "transfer_textcat"])
    nlp.get_pipe("transfer_ner").get_loss(found, scored(nlp.get_pipe("transfer_ner"), nlp, found))
    assert not any(eg.predicted.user_data.get(SOFT) for eg in found)


@pytest.mark.parametrize("kind", ["ner", "ner_crf"])
def test_outside_is_open_for_labels_that_nobody_has_looked_for(tiny_bert, kind):
    """The loss is that of a mask by hand; the old labels stay forbidden."""
    nlp, pipe, examples = pipeline(tiny_bert, kind, labels=["GPE", "NEW", "PERSON"], steps=1)
    scores = scored(pipe, nlp, examples)
    closed, _ = pipe.get_loss(examples, scores)
    for example in examples[:2]:
        set_open(example.reference, pipe.name, ["NEW", "UNKNOWN"])
    opened, gradient = pipe.get_loss(examples, scores)
    masks = []
    for i, example in enumerate(examples):
        for token in example.reference:
            tag = [t for t in pipe.tags if token.ent_type_ and t in (f"U-{token.ent_type_}", f"B-{token.ent_type_}")]
            allowed = [tag[-1] if kind == "ner" else f"B-{token.ent_type_}"] if token.ent_type_ else ["O"]
            allowed += [t for t in pipe.tags if "NEW" in t] if i < 2 and not token.ent_type_ else []
            masks.append([t in allowed for t in pipe.tags])
    masks, logits = numpy.array(masks), scores.logits.astype("d")
    if kind == "ner":
        p = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
        assert opened == pytest.approx(-numpy.log((p * masks).sum(1)).sum(), rel=1e-5)
    else:
        own = pipe.transitions(scores, pipe.scheme.allowed)
        every, some = (Chain(numpy.where(m, logits, -numpy.inf), scores.lengths, own) for m in (True, masks))
        assert opened == pytest.approx((every.log_z - some.log_z).sum(), rel=1e-5)
    assert opened < closed and numpy.isfinite(gradient.logits).all()


def test_rows_are_matched_and_left_out_of_what_is_saved(tiny_bert, tmp_path):
    stock_pipeline(["textcat"]).to_disk(tmp_path / "teacher")
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe("transfer_rows")
    reader = reading(str(tmp_path / "teacher"), {"transfer_rows": "tok2vec"}, TEXTS, tmp_path, weight=1.0)
    examples = list(reader(nlp))
    nlp.initialize(lambda: examples)
    optimizer, losses = Adam(0.01), []
    before = nlp.get_pipe("transfer_backbone").model.predict([nlp.make_doc("a dog")])[0]
    for _ in range(60):
        losses.append(step(nlp, examples, optimizer)["transfer_rows"])
    wanted = [doc.tensor for doc in spacy.load(tmp_path / "teacher").pipe(TEXTS)]
    first = sum(float((rows.astype("float16").astype("d") ** 2).mean(1).sum()) for rows in wanted)
    assert losses[0] == pytest.approx(first, rel=1e-3) and losses[-1] < 0.2 * losses[0]
    assert (nlp.get_pipe("transfer_backbone").model.predict([nlp.make_doc("a dog")])[0] != before).any()
    doc = nlp("a dog")
    assert not doc.ents and not doc.cats and SOFT not in doc.user_data
    spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())("a dog")
    saved = create_leave_out_v1(components=["transfer_rows"])(nlp)
    assert saved.pipe_names == ["transfer_backbone"] and nlp.pipe_names == ["transfer_backbone", "transfer_rows"]
    saved.to_disk(tmp_path / "saved")
    numpy.testing.assert_array_equal(spacy.load(tmp_path / "saved")("a dog").tensor, nlp("a dog").tensor)
    assert step(nlp, examples, optimizer)["transfer_rows"] > 0
    with pytest.raises(ValueError, match=r"T435.*'transfer_row'.*transfer_rows"):
        create_leave_out_v1(components=["transfer_row"])(nlp)
    assert create_leave_out_v1(components=["transfer_rows"], then=lambda nlp: nlp.pipe_names)(nlp) == [
        "transfer_backbone"
    ]


def test_rows_without_a_teacher(tiny_bert, nlp):
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.add_pipe("transfer_rows")
    with pytest.raises(ValueError, match=r"T433.*transfer_rows.*Teacher\.v1"):
        nlp.initialize(lambda: [gold(nlp, "a dog")])


def test_labels_must_be_the_teachers(teachers, tiny_bert, tmp_path):
    nlp, pipe, examples = pipeline(tiny_bert, "ner_crf", labels=["GPE", "PERSON", "OTHER"])

    def read(**settings):
        settings = {"corpus": lambda nlp: examples, "hard": False, **settings}
        return list(reading(teachers("ner_crf"), ["transfer_ner"], [], tmp_path, **settings)(nlp))

    before = pipe.model.get_ref("output").get_param("W").copy()
    with pytest.raises(ValueError, match=r"T430.*\['B-PLACE', 'I-PLACE'\]; its own alone: \['B-GPE'"):
        step(nlp, read(label_map={"GPE": "PLACE"}), Adam(0.1))
    numpy.testing.assert_array_equal(pipe.model.get_ref("output").get_param("W"), before)
    with pytest.raises(ValueError, match=r"T548.*no label 'GPEE'.*Near it: \['GPE', "):
        read(label_map={"GPEE": "GPE"})
    with pytest.raises(ValueError, match=r"T548.*several become one: \['PERSON'\]"):
        read(label_map={"GPE": "PERSON"})


def test_labels_by_another_name(teachers, tiny_bert, tmp_path):
    """A map makes a student of other names learn the same."""
    losses = []
    for labels, label_map in ((["GPE", "PERSON"], {}), (["LOC", "PER"], {"GPE": "LOC", "PERSON": "PER"})):
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("en")
        nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
        pipe = nlp.add_pipe("transfer_ner")
        examples = list(reading(teachers("ner_crf"), ["transfer_ner"], TEXTS, tmp_path, label_map=label_map)(nlp))
        assert {ent.label_ for eg in examples for ent in eg.reference.ents} <= set(labels)
        nlp.initialize(lambda examples=examples: examples)
        assert list(pipe.labels) == labels
        losses.append([step(nlp, examples, Adam(0.05))["transfer_ner"] for _ in range(3)])
    assert losses[0] == losses[1]


def test_a_map_for_labels_of_one_component_among_two(tiny_bert, tmp_path):
    stock_pipeline(["tagger", "textcat"]).to_disk(tmp_path / "teacher")
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    nlp.add_pipe("transfer_tagger")
    nlp.add_pipe("transfer_textcat")
    pairs = {"transfer_tagger": "tagger", "transfer_textcat": "textcat"}
    source, label_map = str(tmp_path / "teacher"), {"animal": "beast"}
    examples = list(reading(source, pairs, TEXTS, tmp_path, label_map=label_map)(nlp))
    assert {label for eg in examples for label in eg.reference.cats} == {"beast", "human"}


def test_bad_input(teachers, tiny_bert, tmp_path):
    nlp, pipe, examples = pipeline(tiny_bert, "textcat")
    nlp.add_pipe("ner")
    nlp.add_pipe("transfer_regressor")

    def read(components, source=None, **settings):
        source = source or teachers("textcat")
        settings = {"corpus": lambda nlp: examples, **settings}
        return list(reading(source, components, [], tmp_path, **settings)(nlp))

    with pytest.raises(ValueError, match=r"T544.*'ner' cannot learn.*'transfer_textcat' gives labels, it takes none"):
        read({"ner": "transfer_textcat"})
    with pytest.raises(ValueError, match=r"T544.*'transfer_textcat'.*gives tags, it takes labels"):
        read({"transfer_textcat": "transfer_tagger"}, teachers("tagger"))
    with pytest.raises(ValueError, match=r"T544.*'transfer_textcat_multilabel' gives labels"):
        read({"transfer_textcat": "transfer_textcat_multilabel"}, teachers("multilabel"))
    with pytest.raises(ValueError, match=r"T544.*'transfer_regressor'"):
        read({"transfer_regressor": "transfer_textcat"})
    inner = reading(teachers("textcat"), ["transfer_textcat"], [], tmp_path, corpus=lambda nlp: examples)
    with pytest.raises(ValueError, match=r"T559.*'transfer_textcat' has a teacher already"):
        read(["transfer_textcat"], corpus=inner)
    bio = nlp.add_pipe("transfer_ner")
    with pytest.raises(ValueError, match=r"T562.*'transfer_ner' has scheme = 'bio'.*'biluo'.*components\.transfer_ner"):
        read(["transfer_ner"], teachers("ner"), partial=True)
    assert bio.kind == "bio"
    nlp.remove_pipe("transfer_ner")
    with pytest.raises(ValueError, match=r"T541.*no component 'textcat'.*transfer_textcat"):
        read({"transfer_textcat": "textcat"})
    nlp.add_pipe("textcat", name="stock")
    (tmp_path / "raw.txt").write_text("a dog")
    with pytest.raises(ValueError, match=r"T550.*'stock' is a textcat"):
        read(["transfer_textcat"], corpus=None, texts=tmp_path / "raw.txt")
    nlp.remove_pipe("stock")
    nlp.config["training"]["frozen_components"] = ["transfer_textcat"]
    with pytest.raises(ValueError, match=r"T555.*'transfer_textcat'"):
        read(["transfer_textcat"])
    nlp.config["training"]["frozen_components"] = []
    with pytest.raises(ValueError, match=r"T543.*no component 'textcat'"):
        read({"textcat": "transfer_textcat"})
    with pytest.raises(ValueError, match=r"T547.*corpora\.train"):
        read(["transfer_textcat"], corpus=None)
    with pytest.raises(ValueError, match=r"T547.*corpora\.train"):
        read(["transfer_textcat"], texts=tmp_path / "x.txt")
    with pytest.raises(ValueError, match=r"T546.*temperature = 0"):
        read(["transfer_textcat"], temperature=0.0)
    with pytest.raises(ValueError, match=r"T546.*weight = 1\.5"):
        read(["transfer_textcat"], weight=1.5)
    with pytest.raises(ValueError, match=r"T546.*components"):
        read([])
    (tmp_path / "blank.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"T545.*blank\.txt"):
        read(["transfer_textcat"], corpus=None, texts=tmp_path / "blank.txt")


def test_answers_that_do_not_fit(teachers, tiny_bert, tmp_path):
    nlp, pipe, examples = pipeline(tiny_bert, "ner_crf")
    taught = list(reading(teachers("ner_crf"), ["transfer_ner"], TEXTS, tmp_path)(nlp))
    words, spaces = ["Anna", "sings", "in", "Ro", "me"], [True, True, True, False, False]
    other = Example(Doc(nlp.vocab, words=words, spaces=spaces), taught[0].reference)
    with pytest.raises(ValueError, match=r"T431.*'Anna sings in Rome'.*has 4 tokens, the text has 5"):
        pipe.get_loss([other], scored(pipe, nlp, [other]))
    nlp.add_pipe("transfer_regressor")
    set_soft(taught[0].reference, "transfer_regressor", soft_of(taught, "transfer_ner")[0])
    regressor = nlp.get_pipe("transfer_regressor")
    with pytest.raises(ValueError, match=r"T434.*'tags'"):
        regressor.soft_loss(taught[:1], None, by_teacher(taught[:1], "transfer_regressor")[0].targets)


def test_rows_of_another_width(nlp):
    nlp.add_pipe("transfer_rows")
    doc = nlp.make_doc("Anna sings")
    taught = [Example(nlp.make_doc("Anna sings"), doc)]
    targets = SoftTargets({"kind": "rows"}, [{"rows": numpy.ones((2, 3), dtype="f")}], 1.0, 1.0, False)
    scores = TokenScores(numpy.ones((2, 5), dtype="f"), [2], None)
    with pytest.raises(ValueError, match="T432.*3 numbers.*5"):
        nlp.get_pipe("transfer_rows").soft_loss(taught, scores, targets)
