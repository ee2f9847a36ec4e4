"""Parts and pages of made-up pipelines: what is counted, what is drawn, and that nothing in a text becomes markup.

Guards also: doc_parts.py, parts.py, pictures.py, token_parts.py.
"""

import re
from html.parser import HTMLParser

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Span
from spacy.training import Example

from spacy_transfer.reports.collect import collect
from spacy_transfer.reports.numbers import Calibration, Score
from spacy_transfer.reports.page import make_page
from spacy_transfer.reports.parts import ECE, NONE, Part, label_scores
from spacy_transfer.reports.pictures import by_length, reliability, scatter

from ..pipelines import backbone_config

EVIL = "<script>window.evil = 1</script> & \"quotes\" 'x' \U0001f600 <img src=x onerror=alert(1)>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Parser(HTMLParser):
    """Follows what is open, and gathers elements, text and attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(html):
    parser = Parser()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def check_alone(html):
    """Nothing is loaded and nothing runs."""
    parser = parse(html)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(parser.tags)
    for tag, name, value in parser.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action") and (name != "href" or value.startswith("#")), value
    assert not re.search(r"url\(|@import", html)
    for tag in ("svg",):
        labels = [value for t, name, value in parser.attributes if t == tag and name == "aria-label"]
        roles = [value for t, name, value in parser.attributes if t == tag and name == "role"]
        assert len(labels) == len(roles) == parser.tags.count(tag) and all(labels) and set(roles) <= {"img"}
    return parser


@Language.component("entities_of_the_test", assigns=["doc.ents"])
def say_entities(doc):
    """Every word in capitals is an entity; B is thought to be a place, and C is missed."""
    names = {"A": "PER", "B": "PLACE"}
    doc.ents = [Span(doc, t.i, t.i + 1, names[t.text]) for t in doc if t.text in names]
    return doc


@Language.component("tags_of_the_test", assigns=["token.tag"])
def say_tags(doc):
    for token in doc:
        token.tag_ = "X"
    return doc


@pytest.fixture
def nlp_of_words(nlp):
    nlp.add_pipe("entities_of_the_test")
    nlp.add_pipe("tags_of_the_test")
    return nlp


def entity_examples(nlp, texts=("A b", "B sees A", "x y", "C")):
    names, found = {"A": "PER", "B": "PER", "C": "PER"}, []
    for text in texts:
        doc = nlp.make_doc(text)
        ents = [(t.idx, t.idx + 1, names[t.text]) for t in doc if t.text in names]
        tags = ["X" if t.is_upper else "Y" for t in doc]
        found.append(Example.from_dict(doc, {"entities": ents, "tags": tags}))
    return found


def test_entities_and_tags_are_counted(nlp_of_words):
    ents, tags = collect(nlp_of_words, entity_examples(nlp_of_words), resamples=20)
    table = ents.confusion
    by_pair = {(g, p): table.counts[i, j] for i, g in enumerate(table.rows) for j, p in enumerate(table.columns)}
    assert by_pair["PER", "PER"] == 2 and by_pair["PER", "PLACE"] == 1 and by_pair["PER", NONE] == 1
    assert table.counts.sum() == 4
    values = {score.name: score.value for score in ents.scores}
    assert values["precision"] == pytest.approx(2 / 3) and values["recall"] == pytest.approx(2 / 4)
    assert {mistake.text for mistake in ents.mistakes} == {"B sees A", "C"}
    assert tags.scores[0].value == pytest.approx(4 / 8)
    assert tags.scores[1].name in {f"accuracy of always saying '{tag}'" for tag in "XY"}
    assert tags.scores[1].value == pytest.approx(4 / 8)
    by_label = {row.label: row for row in ents.by_label}
    assert (by_label["PER"].precision, by_label["PER"].recall) == (pytest.approx(1.0), pytest.approx(2 / 4))
    assert (by_label["PLACE"].n_gold, by_label["PLACE"].n_predicted, by_label["PLACE"].f1) == (0, 1, 0.0)
    html = make_page([ents], {}, resamples=20)
    drawn = re.findall(r"<mark class=\"entity\".*?>\s*(\w+)\s*<span.*?>(.*?)</span>", html, re.DOTALL)
    assert ("B", "PER \u2717") in drawn or ("A", "PER \u2717") in drawn
    assert ("PLACE" + " \u2717") in {label for _, label in drawn}
    assert (tags.mistakes[0].gold, tags.mistakes[0].guess, tags.mistakes[0].weight) == ("Y", "X", "4 times")


def test_spans_that_overlap_are_counted(nlp):
    """As spaCy counts them."""
    head = nlp.add_pipe("spancat", config={"spans_key": "sc"})
    examples = []
    for text in ("A b C", "B sees A", "x y"):
        doc = nlp.make_doc(text)
        gold = [(t.idx, t.idx + 1, "ONE") for t in doc if t.is_upper] + [(0, doc[1].idx + len(doc[1]), "TWO")]
        examples.append(Example.from_dict(doc, {"spans": {"sc": gold}}))
    nlp.initialize(lambda: examples)
    head.predict = lambda docs: docs
    head.set_annotations = lambda docs, scores: [
        doc.spans.update({"sc": [Span(doc, 0, 1, "ONE"), Span(doc, 0, 2, "ONE")]}) for doc in docs
    ]
    (part,) = collect(nlp, examples, resamples=20)
    scores = Scorer.score_spans(examples, "spans_sc", getter=lambda doc, key: doc.spans["sc"], allow_overlap=True)
    values = {score.name: score.value for score in part.scores}
    assert values["F1"] == pytest.approx(scores["spans_sc_f"]) and values["recall"] == pytest.approx(
        scores["spans_sc_r"]
    )
    for row in part.by_label:
        theirs = scores["spans_sc_per_type"][row.label]
        assert (numpy.nan_to_num(row.precision), row.recall, row.f1) == pytest.approx(
            (theirs["p"], theirs["r"], theirs["f"])
        )
    assert part.mistakes[0].gold == "A b [TWO], C [ONE]" and part.mistakes[0].guess == "A b [ONE]"
    page = check_alone(make_page([part], {}, resamples=20))
    assert "Spans that may overlap" in "".join(page.text)
    assert collect_none(nlp)


def collect_none(nlp):
    """Without gold spans there is nothing to report."""
    with pytest.raises(ValueError, match="T733"):
        collect(nlp, [Example.from_dict(nlp.make_doc("A b"), {})], resamples=2)
    return True


def test_parts_of_speech(nlp):
    @Language.component("pos_of_the_test", assigns=["token.tag", "token.pos"])
    def say_pos(doc):
        for token in doc:
            token.pos_ = "NOUN"
        return doc

    nlp.add_pipe("pos_of_the_test")
    doc = nlp.make_doc("a b c")
    gold = Example.from_dict(doc, {"pos": ["NOUN", "VERB", "NOUN"], "tags": ["A", "A", "A"]})
    (part,) = collect(nlp, [gold], resamples=5)
    assert part.title == "Parts of speech" and part.scores[0].value == pytest.approx(2 / 3)


def test_entities_where_gold_says_nothing_are_not_judged(nlp_of_words):
    doc = nlp_of_words.make_doc("A b B A")
    gold = Example.from_dict(doc, {"entities": ["U-PER", "O", "-", "O"]})
    (part,) = collect(nlp_of_words, [gold], resamples=5)
    scores = get_ner_prf([Example(nlp_of_words("A b B A"), gold.reference)])
    assert {s.name: s.value for s in part.scores}["precision"] == scores["ents_p"] == 0.5


@pytest.fixture
def confidence_to_set():
    """`ent._.confidence` as an attribute that anyone may set, whatever `transfer_ner` has declared in this process."""
    before = Span.get_extension("confidence") if Span.has_extension("confidence") else None
    Span.set_extension("confidence", default=None, force=True)
    yield
    Span.remove_extension("confidence")
    if before is not None:
        given = zip(("default", "method", "getter", "setter"), before, strict=True)
        Span.set_extension("confidence", **{name: value for name, value in given if value is not None})


def test_confidence_of_entities(nlp_of_words, confidence_to_set):
    examples = entity_examples(nlp_of_words)

    @Language.component("confidence_of_the_test")
    def say_confidence(doc):
        for ent in doc.ents:
            ent._.confidence = {"A": 0.9, "B": 0.7}[ent.text]
        return doc

    nlp_of_words.add_pipe("confidence_of_the_test")
    ents = collect(nlp_of_words, examples, resamples=20)[0]
    assert sorted(ents.calibration.confidence) == [0.7, 0.9, 0.9]
    assert ents.mistakes[0].text == "B sees A" and "70.0% sure" in ents.mistakes[0].weight


def classifiers(tiny_bert, names):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    for name in names:
        nlp.add_pipe(name)
    examples = []
    for text in ("the cat sees a dog", "a dog sings", f"{EVIL} cat", "cat sings", ""):
        cats = {"long": float(len(text) > 12), "short": float(len(text) <= 12)}
        examples.append(Example.from_dict(nlp.make_doc(text), {"cats": cats}))
    for i, eg in enumerate(examples):
        if "transfer_regressor" in names:
            eg.reference._.score = float(i)
    nlp.initialize(lambda: examples)
    output = nlp.get_pipe(names[0]).model.get_ref("output")
    output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f") * 3)
    return nlp, examples


@pytest.mark.parametrize("name", ["transfer_textcat", "transfer_textcat_multilabel"])
def test_classifiers_are_counted(tiny_bert, name):
    nlp, examples = classifiers(tiny_bert, [name])
    (part,) = collect(nlp, examples, resamples=20)
    assert part.can_be_calibrated
    right = total = 0
    for eg in examples:
        cats, gold = eg.predicted.cats, eg.reference.cats
        if name == "transfer_textcat":
            right += max(cats, key=cats.get) == max(gold, key=gold.get)
        else:
            total += sum((cats[label] >= 0.5) == (gold[label] == 1) for label in gold)
    if name == "transfer_textcat":
        assert part.scores[0].value == pytest.approx(right / 5)
        assert part.confusion.counts.trace() == right and part.confusion.counts.sum() == 5
        assert len(part.mistakes) == 5 - right
        # Beside it, what the commonest label alone would reach.
        assert (part.scores[1].name, part.scores[1].value) == ("accuracy of always saying 'short'", 3 / 5)
        assert [score.how for score in part.scores[:2]] == ["exact", "exact"]
    else:
        assert part.confusion.counts[:, [0, 3]].sum() == total and part.confusion.counts.sum() == 10
        assert len(part.mistakes) == 10 - total
        # Three texts of five are short: right three times, wrong twice, and two long ones are missed.
        assert (part.scores[1].name, part.scores[1].value) == ("micro F1 of always saying 'short'", 6 / (6 + 2 + 2))
    for row in part.by_label:
        gold = [eg.reference.cats[row.label] == 1 for eg in examples]
        highest = [max(eg.predicted.cats, key=eg.predicted.cats.get) == row.label for eg in examples]
        said = highest if name == "transfer_textcat" else [eg.predicted.cats[row.label] >= 0.5 for eg in examples]
        hits = sum(g and s for g, s in zip(gold, said, strict=True))
        assert (row.n_gold, row.n_predicted) == (sum(gold), sum(said))
        assert row.recall == pytest.approx(hits / sum(gold))
    assert {row.label for row in part.by_label} == {"long", "short"}
    shown = [float(re.search(r"[\d.]+", mistake.weight)[0]) for mistake in part.mistakes]
    if name == "transfer_textcat":
        assert shown == sorted(shown, reverse=True)
    assert len(collect(nlp, examples, resamples=5, most=1)[0].mistakes) <= 1


@pytest.mark.parametrize(
    ("confidence", "right", "error", "says"),
    [
        (
            0.6,
            1.0,
            0.4,
            "The error is high: confidences are on the whole too low",
        ),
        (0.9, 0.5, 0.4, "confidences are on the whole too high"),
        (0.7, 0.7, 0.2, "confidences are too low for some, too high for others"),
        (0.9, 0.9, 0.05, None),
    ],
)
def test_the_calibration_error_is_explained(confidence, right, error, says):
    correct = numpy.arange(10) < 10 * right
    calibration = Calibration(numpy.full(10, confidence), correct, numpy.arange(10))
    scores = [Score(ECE, error, 0.0, 1.0)]
    part = Part("Labels", "textcat", [], "", calibration=calibration, scores=scores, can_be_calibrated=True)
    page = make_page([part], {}, resamples=5)
    assert f"{confidence:.0%} sure on average, and {right:.0%} are right" in page
    assert says in page if says else "The error is high" not in page
    assert ("spacy transfer calibrate PIPELINE DATA" in page) == bool(says)
    part.can_be_calibrated = False
    assert "<nav" not in page and "<caption" not in page  # One head; and a text over a small table is not cut to it.
    assert "transfer calibrate" not in make_page([part], {}, resamples=5)


def test_numbers_are_counted(tiny_bert):
    nlp, examples = classifiers(tiny_bert, ["transfer_regressor"])
    (part,) = collect(nlp, examples, resamples=20)
    scores = nlp.evaluate(examples)
    assert {s.name: s.value for s in part.scores} == {
        "mean absolute error": pytest.approx(scores["score_mae"]),
        # The gold values are 0 to 4.
        "mean absolute error of always saying 2": pytest.approx(6 / 5),
        "Pearson": pytest.approx(scores["score_pearson"]),
        "Spearman": pytest.approx(scores["score_spearman"]),
    }
    off = [abs(float(m.gold) - float(m.guess)) for m in part.mistakes]
    assert off == sorted(off, reverse=True) and len(part.pairs) == 5


def test_a_page_of_everything(tiny_bert):
    """Texts and names are shown as they are; none becomes an element."""
    nlp, examples = classifiers(tiny_bert, ["transfer_textcat", "transfer_regressor"])
    nlp.add_pipe("entities_of_the_test")
    nlp.add_pipe("tags_of_the_test")
    evil = Example.from_dict(nlp.make_doc(f"A {EVIL} C"), {"entities": [(0, 1, "<b>&LABEL")], "tags": None})
    examples += [evil, *entity_examples(nlp)]
    parts = collect(nlp, examples, resamples=20)
    assert [part.title.split()[0] for part in parts] == ["Labels", "Number", "Entities", "Tags"]
    parser = check_alone(make_page(parts, {"pipeline": "<x>", "date": "today"}, resamples=20))
    text = "".join(parser.text)
    assert text.count("<script>window.evil = 1</script>") >= 2 and "\U0001f600" in text
    assert "<b>&LABEL" in text and "Report on <x>" in text and "20 bootstrap draws" in text
    assert parser.tags.count("svg") == 1 + 4 + 1
    assert parser.tags.count("section") == 4


def test_long_texts_are_cut_where_the_mistake_is(nlp_of_words):
    text = "w " * 1000 + "B " + "w " * 1000
    parts = collect(nlp_of_words, entity_examples(nlp_of_words, [text]), resamples=5)
    html = make_page(parts, {}, resamples=5)
    drawn = re.findall(r'<div class="entities".*?</div>', html, re.DOTALL)
    assert len(drawn) == 2 and all("<mark" in one and len(one) < 2500 for one in drawn)


def test_pictures_keep_to_their_frames():
    groups = [(1, 5, 9, Score("F1", 0.5, 0.4, 0.6)), (6, 99, 9, Score("F1", 0.7, float("nan"), float("nan")))]
    pictures = [
        by_length(groups),
        by_length(groups[1:]),
        scatter([(0.0, 1e6), (-3.0, 0.1)], "<n>"),
        scatter([(1, 1)], "n"),
    ]
    for picture in pictures:
        parse(picture)
        for x, y in re.findall(r'cx="(\S+)" cy="(\S+)"', picture):
            assert 0 <= float(x) <= 460 and 0 <= float(y) <= 300
        assert "nan" not in re.sub(r"<title>.*?</title>", "", picture)
    assert len(re.findall("<circle", scatter([(i, i) for i in range(10_000)], "n"))) <= 1500
    assert reliability  # Drawn on the page above.


def test_nothing_to_report(nlp, nlp_of_words):
    with pytest.raises(ValueError, match="T732"):
        collect(nlp_of_words, [])
    plain = [Example(nlp.make_doc("a"), nlp.make_doc("a"))]
    with pytest.raises(ValueError, match="T733.*entities_of_the_test"):
        collect(nlp_of_words, plain)
    with pytest.raises(ValueError, match=r"T731.*\['sentencizer'\]"):
        empty = spacy.blank("en")
        empty.add_pipe("sentencizer")
        collect(empty, plain)


def test_labels_that_are_nowhere_have_no_row():
    """Of 200 labels 170 may not be in the texts of a test."""
    counts = numpy.array([[[1, 0, 0], [0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]])
    rows = label_scores(["a", "nowhere", "b"], counts)
    assert [(row.label, row.n_gold, row.n_predicted) for row in rows] == [("a", 2, 1), ("b", 0, 1)]
