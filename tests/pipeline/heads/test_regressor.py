"""transfer_regressor: learning, masks, carriers of gold values, spans, saving, scores, errors.

Guards also: targets.py.
"""

import math
import warnings

import numpy
import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus, Example
from thinc.api import Adam

from spacy_transfer.corpora.example_info import note_origin
from spacy_transfer.pipeline.heads.targets import Targets, score_regression

from ...pipelines import LISTENER, backbone_config, gradients

NAME = "transfer_regressor"
DATA = [("a cat sings", 1.0), ("the dog sings", 2.0), ("a car drives", 4.0), ("the car stops", 5.0)]
HEAD = {"@architectures": "spacy-transfer.RegressionHead.v1", "tok2vec": LISTENER}
BOUNDED = {"bounds": [0.0, 5.0], "model": {**HEAD, "bounded": True}}


@pytest.fixture(autouse=True)
def extensions():
    """What one test declares is unknown to the next."""
    yield
    for kind in (Doc, Span):
        for name in ("score", "mood", "taken"):
            if kind.has_extension(name):
                kind.remove_extension(name)


def pipeline(tiny_bert, golds=None, *, frozen=True, nlp=None, **config):
    spacy.util.fix_random_seed(0)
    nlp = nlp or spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": frozen})
    nlp.add_pipe(NAME, config=config)
    golds = [number for _, number in DATA] if golds is None else golds
    return nlp, [example(nlp, text, gold) for (text, _), gold in zip(DATA, golds, strict=True)]


def example(nlp, text, gold, attribute="score"):
    doc = nlp.make_doc(text)
    if gold is not None:
        doc._.set(attribute, gold)
    return Example(nlp.make_doc(text), doc)


def train(nlp, examples, steps=60, rate=0.05):
    nlp.initialize(lambda: examples)
    optimizer = Adam(rate, L2=0.0)
    losses = []
    for _ in range(steps):
        now = {}
        nlp.update(examples, sgd=False, losses=now)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        losses.append(now[NAME])
    return losses


@pytest.mark.parametrize(
    "config", [{}, {"loss": "huber", "delta": 0.5}, BOUNDED, {"model": {**HEAD, "hidden": [8], "pooling": ["max"]}}]
)
@pytest.mark.parametrize("frozen", [True, False])
def test_it_learns_and_is_saved(tiny_bert, tmp_path, config, frozen):
    nlp, examples = pipeline(tiny_bert, frozen=frozen, **config)
    losses = train(nlp, examples, rate=0.05 if frozen else 0.01)
    assert losses[-1] < 0.1 * losses[0]
    scores = nlp.evaluate(examples)
    assert scores["score_pearson"] > 0.95 and scores["score_mae"] < 0.5
    texts = [*(text for text, _ in DATA), ""]
    wanted = [doc._.score for doc in nlp.pipe(texts)]
    assert all(isinstance(number, float) for number in wanted)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert [doc._.score for doc in loaded.pipe(texts)] == wanted
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert [doc._.score for doc in again.pipe(texts)] == wanted
    assert loaded.get_pipe(NAME).labels == ("score",)


def test_pearson_learns_the_order(tiny_bert):
    nlp, examples = pipeline(tiny_bert, loss="pearson")
    losses = train(nlp, examples)
    assert losses[0] == pytest.approx(4.0) and losses[-1] < 0.4
    assert nlp.evaluate(examples)["score_spearman"] == pytest.approx(1.0)


def test_the_first_loss_is_that_of_saying_the_mean(tiny_bert):
    """In standard deviations: every number of texts has a sum of squares of its own size, whatever the unit."""
    for unit in (1.0, 1000.0):
        nlp, examples = pipeline(tiny_bert, [number * unit for _, number in DATA])
        assert train(nlp, examples, steps=1)[0] == pytest.approx(4.0, rel=1e-4)
        assert nlp.get_pipe(NAME).model.attrs["mean"] == pytest.approx([3.0 * unit])
        assert nlp.get_pipe(NAME).model.attrs["scale"] == pytest.approx([math.sqrt(2.5) * unit])


def streamed(nlp, examples, **init):
    """As `spacy train` initialises on a streamed corpus, of whose 100 examples few are the regressor's."""
    others = [Example(nlp.make_doc("a dog"), nlp.make_doc("a dog")) for _ in range(100 - len(examples))]
    for other in others:
        note_origin(other.reference, "others", trains=["somebody_else"])
    nlp.config["training"]["max_epochs"] = -1
    nlp.config["initialize"]["components"][NAME] = init
    nlp.initialize(lambda: [*examples, *others])
    return nlp.get_pipe(NAME).model.attrs


@pytest.mark.parametrize("config", [{}, BOUNDED])
def test_mean_and_scale_of_a_streamed_corpus(tiny_bert, config):
    """They are those of the examples that spaCy shows, one of which has no spread: that is said, and can be mended."""
    nlp, examples = pipeline(tiny_bert, **config)
    with pytest.warns(UserWarning, match=r"W412.*transfer_regressor.*'score': 1.*first 100.*units"):
        assert streamed(nlp, examples[:1])["scale"] == [1.0]
    nlp, examples = pipeline(tiny_bert, **config)
    mean, scale = numpy.mean([number for _, number in DATA]), numpy.std([number for _, number in DATA])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        attrs = streamed(nlp, examples[:1], units={"score": [mean, scale]})
    assert (attrs["mean"], attrs["scale"]) == ([mean], [scale])
    losses = {}
    nlp.update(examples, sgd=False, losses=losses)
    assert losses[NAME] == pytest.approx(4.0, rel=1e-4), "that of saying the mean"


def test_no_warning_where_a_corpus_is_read_whole(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        nlp.initialize(lambda: examples * 25)
        nlp.config["training"]["max_epochs"] = -1
        nlp.initialize(lambda: examples * 24)


def test_units_of_some_targets(tiny_bert, tmp_path):
    """The others have those of the examples; what is carried keeps its own, without a warning."""
    golds = [{"joy": 1.0, "fear": 2.0}, {"joy": 3.0}, {"fear": 4.0}, None]
    nlp, examples = pipeline(tiny_bert, golds)
    with pytest.warns(UserWarning, match=r"W412.*{'fear': 2}"):
        attrs = streamed(nlp, examples, units={"joy": [10.0, 5.0]})
    assert (attrs["mean"], attrs["scale"]) == ([10.0, 3.0], [5.0, 1.0])
    nlp.to_disk(tmp_path)
    nlp, examples = pipeline(tiny_bert, [{"joy": 1.0, "fear": 2.0, "anger": 3.0}, *golds[1:]])
    with pytest.warns(UserWarning, match=r"W412.*{'anger': 1}"):
        attrs = streamed(nlp, examples, carry_from=str(tmp_path))
    assert (attrs["mean"], attrs["scale"]) == ([10.0, 3.0, 3.0], [5.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("units", "says"),
    [
        ({"scroe": [0.0, 1.0]}, r"T426.*'scroe'.*\['score'\]"),
        ({"score": [0.0]}, r"T426.*'score'.*\[0\.0\]"),
        ({"score": [0.0, 0.0]}, "T426"),
        ({"score": [math.nan, 1.0]}, "T426"),
        ({"score": [0.0, math.inf]}, "T426"),
    ],
)
def test_units_that_are_none(tiny_bert, units, says):
    nlp, examples = pipeline(tiny_bert)
    nlp.get_pipe("transfer_backbone").initialize(lambda: examples, nlp=nlp)
    with pytest.raises(ValueError, match=says):
        nlp.get_pipe(NAME).initialize(lambda: examples, nlp=nlp, units=units)
    assert not nlp.get_pipe(NAME).model.get_ref("output").has_param("W")


def gold_loss(nlp, examples, scores):
    return nlp.get_pipe(NAME).get_loss(examples, numpy.array(scores, dtype="f"))


def test_what_is_missing_teaches_nothing(tiny_bert):
    golds = [{"joy": 1.0, "fear": 2.0}, {"joy": 3.0, "fear": None}, {"fear": 4.0}, None]
    nlp, examples = pipeline(tiny_bert, golds)
    nlp.initialize(lambda: examples)
    model = nlp.get_pipe(NAME).model
    assert nlp.get_pipe(NAME).labels == ("joy", "fear")
    assert (model.attrs["mean"], model.attrs["scale"]) == ([2.0, 3.0], [1.0, 1.0])
    loss, gradient = gold_loss(nlp, examples, [[2.0, 2.0]] * 4)
    numpy.testing.assert_allclose(gradient, [[2.0, 0.0], [-2.0, 0.0], [0.0, -4.0], [0.0, 0.0]], atol=1e-6)
    assert loss == pytest.approx(1 + 1 + 4)
    before = model.to_bytes()
    assert train_once(nlp, examples[3:])[NAME] == 0.0
    assert model.to_bytes() == before


def train_once(nlp, examples):
    losses = {}
    nlp.update(examples, sgd=Adam(0.1, L2=0.0), losses=losses)
    return losses


@pytest.mark.parametrize("config", [{}, {"loss": "huber"}, BOUNDED])
def test_gradients_of_parts_add_up(tiny_bert, config):
    found = []
    for parts in ([[0, 1, 2, 3]], [[0, 1], [2, 3]], [[3], [1, 0], [2]]):
        nlp, examples = pipeline(tiny_bert, frozen=False, **config)
        train(nlp, examples, steps=2)
        losses = {}
        for part in parts:
            nlp.update([examples[i] for i in part], sgd=False, losses=losses)
        nlp.get_pipe("transfer_backbone").steps.flush()
        output = nlp.get_pipe(NAME).model.get_ref("output")
        found.append((losses[NAME], output.get_grad("W").copy(), gradients(nlp)))
    for loss, *vectors in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for vector, whole in zip(vectors, found[0][1:], strict=True):
            assert numpy.linalg.norm(vector - whole) <= 1e-5 * numpy.linalg.norm(whole)
    assert numpy.abs(found[0][2]).max() > 0


def test_predictions_do_not_hang_on_the_batch(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    train(nlp, examples, steps=5)
    alone = nlp("")._.score
    assert alone == pytest.approx(list(nlp.pipe([DATA[0][0], ""]))[1]._.score, abs=1e-6)
    assert list(nlp.pipe([])) == []
    output, attrs = nlp.get_pipe(NAME).model.get_ref("output"), nlp.get_pipe(NAME).model.attrs
    assert alone == pytest.approx(output.get_param("b")[0] * attrs["scale"][0] + attrs["mean"][0], abs=1e-5)


def test_document_rows(tiny_bert):
    listener = {"@architectures": "spacy-transfer.DocumentListener.v1"}
    nlp, examples = pipeline(tiny_bert, model={**HEAD, "tok2vec": listener})
    losses = train(nlp, examples)
    assert losses[-1] < 0.2 * losses[0]
    with pytest.raises(ValueError, match="T424.*'sc'"):
        pipeline_of_spans(tiny_bert, model={**HEAD, "tok2vec": listener})[0].initialize(
            lambda: [example(nlp, *DATA[0])]
        )


# Carriers


@pytest.mark.parametrize(
    "golds", [[1.5, 2.5, None, 4.0], [{"joy": 1.0}, {"joy": 2.0, "fear": 3.0}, None, {"fear": 0.0}]]
)
def test_a_corpus_file_keeps_the_extension(tiny_bert, tmp_path, golds):
    """As in `spacy train`: DocBin, spacy.Corpus.v1, and an Example made anew."""
    nlp, examples = pipeline(tiny_bert, golds)
    DocBin(docs=[eg.reference for eg in examples], store_user_data=True).to_disk(tmp_path / "a.spacy")
    targets = nlp.get_pipe(NAME).targets
    found = [targets.read(eg.reference) for eg in Corpus(tmp_path / "a.spacy")(nlp)]
    wanted = [{} if gold is None else gold if isinstance(gold, dict) else {"score": gold} for gold in golds]
    assert found == wanted
    assert all(targets.read(eg.predicted) == {} for eg in Corpus(tmp_path / "a.spacy")(nlp))


def test_a_corpus_file_without_user_data_is_said(tiny_bert, tmp_path):
    nlp, examples = pipeline(tiny_bert)
    DocBin(docs=[eg.reference for eg in examples]).to_disk(tmp_path / "a.spacy")
    with pytest.raises(ValueError, match=r"T417.*doc\._\.score.*store_user_data=True"):
        nlp.initialize(lambda: Corpus(tmp_path / "a.spacy")(nlp))


def test_categories_as_carrier(tiny_bert, tmp_path):
    """They live in every .spacy file and in Example.from_dict; others than the labels are left alone."""
    nlp, _ = pipeline(tiny_bert, [None] * 4, source="cats")
    docs = []
    for text, number in DATA:
        docs.append(Example.from_dict(nlp.make_doc(text), {"cats": {"score": number, "sport": 1.0}}).reference)
    DocBin(docs=docs).to_disk(tmp_path / "a.spacy")
    examples = list(Corpus(tmp_path / "a.spacy")(nlp))
    for name, pipe in nlp.pipeline:
        pipe.initialize(lambda: examples, nlp=nlp, **({"labels": ["score"]} if name == NAME else {}))
    optimizer = Adam(0.05, L2=0.0)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    scores = nlp.evaluate(examples)
    assert scores["score_pearson"] > 0.95 and list(scores["score_per_target"]) == ["score"]
    assert nlp("a cat").cats == {} and isinstance(nlp("a cat")._.score, float)


def test_defaults_of_a_user_are_no_gold_values(tiny_bert):
    Doc.set_extension("score", default=0.0)
    nlp, examples = pipeline(tiny_bert, [1.0, 2.0, None, 3.0])
    nlp.initialize(lambda: examples)
    assert nlp.get_pipe(NAME).model.attrs["mean"] == [2.0]


# Spans


def pipeline_of_spans(tiny_bert, **config):
    """The group is set from the words: animals."""
    nlp = spacy.blank("en")
    nlp.add_pipe("span_ruler", config={"spans_key": "sc"})
    return pipeline(tiny_bert, [None] * 4, nlp=nlp, spans_key="sc", **config)


def span_examples(nlp, texts):
    """Every animal has a number."""
    found = []
    for text in texts:
        doc = nlp.make_doc(text)
        doc.spans["sc"] = [doc[i : i + 1] for i, token in enumerate(doc) if token.text in ("cat", "dog", "cow")]
        for span in doc.spans["sc"]:
            span._.score = {"cat": 1.0, "dog": 3.0, "cow": 5.0}[span.text]
        found.append(Example(nlp.make_doc(text), doc))
    return found


def initialize_spans(nlp, examples, words=("cat", "dog", "cow")):
    """spaCy's ruler forgets its patterns when it is initialised."""
    nlp.initialize(lambda: examples)
    nlp.get_pipe("span_ruler").add_patterns([{"label": "ANIMAL", "pattern": word} for word in words])


TEXTS = ["a cat sees the dog", "no animal here", "", "the cow and the cat", "dog"]


def test_spans_learn_and_are_saved(tiny_bert, tmp_path):
    nlp, _ = pipeline_of_spans(tiny_bert, frozen=False)
    docs = [eg.reference for eg in span_examples(nlp, TEXTS)]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "a.spacy")
    examples = list(Corpus(tmp_path / "a.spacy")(nlp))
    initialize_spans(nlp, examples)
    optimizer = Adam(0.01, L2=0.0)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    scores = nlp.evaluate(examples)
    assert scores["score_pearson"] > 0.95
    assert scores["score_per_target"]["score"]["n"] == 5
    doc = nlp("the dog sees a cat")
    found = [(span.text, span._.score) for span in doc.spans["sc"]]
    assert [text for text, _ in found] == ["dog", "cat"] and found[0][1] > found[1][1] + 1
    nlp.to_disk(tmp_path / "out")
    doc = spacy.load(tmp_path / "out")("the dog sees a cat")
    assert [(span.text, span._.score) for span in doc.spans["sc"]] == found


def test_spans_fall_on_the_tokens_of_the_predicted_doc(tiny_bert):
    nlp, _ = pipeline_of_spans(tiny_bert)
    reference = nlp.make_doc("a catdog sings")
    reference.spans["sc"] = [reference[1:2], reference[2:3]]
    for span in reference.spans["sc"]:
        span._.score = 1.0
    split = Doc(nlp.vocab, words=["a", "cat", "dog", "sings"], spaces=[True, False, True, False])
    found = nlp.get_pipe(NAME).targets.of_example(Example(split, reference))
    assert found == [((1, 3), {"score": 1.0}), ((3, 4), {"score": 1.0})]


def test_spans_that_were_not_found_are_counted(tiny_bert):
    nlp, _ = pipeline_of_spans(tiny_bert)
    examples = span_examples(nlp, TEXTS)
    initialize_spans(nlp, examples, words=["cat"])
    score = nlp.evaluate(examples)["score_per_target"]["score"]
    assert (score["n"], score["missed"]) == (2, 3)


# Scores


def test_scores_against_numpy(nlp):
    Doc.set_extension("score", default=None)
    golds = [{"a": 1.0, "b": 2.0}, {"a": 2.0}, {"a": 4.0, "b": None}, {"b": 1.0}, {"a": 0.0, "b": 5.0}]
    guesses = [{"a": 2.0, "b": 2.0}, {"a": 2.0, "b": 0.0}, {"a": 3.0, "b": 0.0}, {"a": 9.0, "b": 0.0}, None]
    examples = []
    for gold, guess in zip(golds, guesses, strict=True):
        examples.append(example(nlp, "x", gold))
        if guess is not None:
            examples[-1].predicted._.score = guess
    scores = score_regression(examples, targets=Targets("r", "score"), labels=["a", "b", "c"])
    a, b = scores["score_per_target"]["a"], scores["score_per_target"]["b"]
    assert a["pearson"] == pytest.approx(numpy.corrcoef([1, 2, 4], [2, 2, 3])[0, 1])
    assert a["spearman"] == pytest.approx(numpy.corrcoef([1, 2, 3], [1.5, 1.5, 3])[0, 1])
    assert (a["mae"], a["n"], a["missed"], b["n"], b["missed"]) == (pytest.approx(2 / 3), 3, 1, 2, 1)
    assert scores["score_pearson"] == pytest.approx((a["pearson"] + b["pearson"]) / 2)
    assert scores["score_per_target"]["c"] == {"pearson": None, "spearman": None, "mae": None, "n": 0, "missed": 0}
    srsly.json_dumps(scores)
    assert score_regression([], targets=Targets("r", "mood"), labels=["a"])["mood_mae"] is None


# Labels


def test_a_prediction_that_is_not_a_number_has_no_score(nlp):
    """A NaN would be the highest of the ranks, and other targets alone would make a better mean."""
    Doc.set_extension("score", default=None)
    golds = [1.0, 2.0, 3.0]
    examples = []
    for gold in golds:
        eg = example(nlp, "a b", {"one": gold, "two": gold})
        eg.predicted._.score = {"one": gold, "two": gold}
        examples.append(eg)
    targets = Targets("x", "score")
    assert score_regression(examples, targets=targets, labels=["one", "two"])["score_spearman"] == pytest.approx(1.0)
    examples[2].predicted._.score = {"one": 3.0, "two": math.nan}
    found = score_regression(examples, targets=targets, labels=["one", "two"])
    assert [found[f"score_{name}"] for name in ("pearson", "spearman", "mae")] == [None] * 3
    two = found["score_per_target"]["two"]
    assert (two["pearson"], two["spearman"], two["mae"], two["n"]) == (None, None, None, 3)
    assert found["score_per_target"]["one"]["pearson"] == pytest.approx(1.0)


def test_labels_from_a_list_and_a_target_more(tiny_bert):
    nlp, examples = pipeline(tiny_bert, [{"joy": 1.0}, {"joy": 2.0}, {"joy": 3.0}, None])
    pipe = nlp.get_pipe(NAME)
    nlp.get_pipe("transfer_backbone").initialize(lambda: examples, nlp=nlp)
    with pytest.warns(UserWarning, match=r"W411.*\['anger'\]"):
        pipe.initialize(lambda: examples, nlp=nlp, labels=["anger", "joy"])
    assert pipe.label_data == ["anger", "joy"]
    before = nlp("a cat")._.score
    assert list(before) == ["anger", "joy"]
    assert (pipe.add_label("fear"), pipe.add_label("joy")) == (1, 0)
    assert nlp("a cat")._.score == {**before, "fear": 0.0}
    with pytest.raises(ValueError, match="T423"):
        pipe.add_label(3)


# Errors


@pytest.mark.parametrize(
    ("golds", "config", "says"),
    [
        ([1.0, math.nan, 2.0, 3.0], {}, "T415.*'the dog sings' is nan"),
        ([1.0, math.inf, 2.0, 3.0], {}, "T415.*inf"),
        ([1.0, "much", 2.0, 3.0], {}, "T415.*'much'"),
        ([1.0, {"joy": "x"}, 2.0, 3.0], {}, "T415.*'joy'"),
        ([1.0, 5.5, 2.0, 3.0], {"bounds": [0.0, 5.0]}, r"T416.*\[0.0, 5.0\].*'the dog sings' is 5.5"),
        ([None] * 4, {}, "T417"),
        (None, {"bounds": [5.0, 0.0]}, "T412"),
        (None, {"bounds": [1.0]}, "T412"),
        (None, {"model": {**HEAD, "bounded": True}}, "T413"),
        (None, {"model": {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER}}, "T413"),
        (None, {"source": "cats", "spans_key": "sc"}, "T414.*'sc'"),
        (None, {"delta": 0.0}, "T422"),
    ],
)
def test_bad_input(tiny_bert, golds, config, says):
    with pytest.raises(ValueError, match=says):
        nlp, examples = pipeline(tiny_bert, golds, **config)
        nlp.initialize(lambda: examples)


def test_bad_values_in_update_touch_nothing(tiny_bert):
    nlp, examples = pipeline(tiny_bert)
    nlp.initialize(lambda: examples)
    before = nlp.to_bytes()
    with pytest.raises(ValueError, match="T415"):
        nlp.update([example(nlp, "x", math.nan)], sgd=Adam(0.1))
    assert nlp.to_bytes() == before


def test_the_users_own_extension_stays(nlp, tiny_bert):
    Doc.set_extension("taken", getter=len)
    with pytest.raises(ValueError, match=r"T411.*Doc\._\.taken"):
        pipeline(tiny_bert, attribute="taken")
    assert nlp("a b")._.taken == 2


def test_labels_that_disagree_and_two_that_write_the_same(tiny_bert):
    nlp, examples = pipeline(tiny_bert, [{"joy": 1.0}, {"jog": 2.0}, None, None])
    nlp.get_pipe("transfer_backbone").initialize(lambda: examples, nlp=nlp)
    with pytest.raises(ValueError, match=r"T420.*\['jog'\].*\['joy', 'fear'\].*\['fear'\]"):
        nlp.get_pipe(NAME).initialize(lambda: examples, nlp=nlp, labels=["joy", "fear"])
    nlp.add_pipe(NAME, name="other")
    with pytest.raises(ValueError, match="T421.*'score'"):
        nlp.initialize(lambda: examples)


def test_predicting_before_initialize(nlp):
    pipe = nlp.add_pipe(NAME)
    with pytest.raises(ValueError, match="T418"):
        pipe(nlp.make_doc("a"))


# Pairs of texts


@pytest.mark.parametrize("special", [True, False])
def test_a_separator_in_the_text(tiny_bert, special):
    """spaCy cuts "[SEP]" into three tokens; the encoder sees one special piece, which all three take their row from."""
    from transformers import BertModel, BertTokenizerFast

    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert, special_tokens=special))
    nlp.initialize(lambda: [Example(nlp.make_doc("a"), nlp.make_doc("a"))])
    doc = nlp("a cat [SEP] the dog")
    assert [token.text for token in doc] == ["a", "cat", "[", "SEP", "]", "the", "dog"]
    tokenizer, encoder = BertTokenizerFast.from_pretrained(tiny_bert), BertModel.from_pretrained(tiny_bert).eval()
    pair = tokenizer("a cat", "the dog", return_tensors="pt")
    assert pair["input_ids"][0].tolist().count(tokenizer.sep_token_id) == 2
    # One segment, as in a text.
    states = encoder(pair["input_ids"]).last_hidden_state[0].detach().numpy()[1:-1]
    pieces = tokenizer.convert_ids_to_tokens(pair["input_ids"][0])[1:-1]
    where = pieces.index("[SEP]")
    rows = doc.tensor
    same = [numpy.allclose(rows[i], states[where], atol=1e-4) for i in (2, 3, 4)]
    assert same == [special] * 3
    assert numpy.allclose(rows[0], states[0], atol=1e-4) == special
    assert numpy.allclose(rows[5], states[where + 1], atol=1e-4) == special
