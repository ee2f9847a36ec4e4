"""Calibration of pipelines: what is saved is calibrated, and training knows nothing of it."""

import random

import numpy
import pytest
import spacy
import torch
from spacy.scorer import Scorer
from spacy.tokens import DocBin
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.heads.calibration import fit_temperature
from spacy_transfer.pipeline.calibration import _fit, calibrate, create_calibrate_v1

from ..pipelines import LISTENER, backbone_config

WORDS = {"pet": ["aab", "aba", "baa", "abab"], "car": ["xyz", "zyx", "yxz", "zzy"]}
HEAD = {"@architectures": "spacy-transfer.TextCatHead.v1", "tok2vec": LISTENER}
KINDS = ["transfer_textcat", "transfer_textcat_multilabel"]


def make_docs(nlp, n=48, seed=0, noise=0.25):
    """A word decides the label, and now and then the label is another: nobody can be sure."""
    rng, docs = random.Random(seed), []
    for _ in range(n):
        label = rng.choice(sorted(WORDS))
        doc = nlp.make_doc(f"{rng.choice(WORDS[label])} {rng.choice(WORDS[label])}")
        if rng.random() < noise:
            label = "car" if label == "pet" else "pet"
        doc.cats = {other: float(other == label) for other in WORDS}
        docs.append(doc)
    return docs


def examples_of(nlp, docs):
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs]


def trained(tiny_bert, kind="transfer_textcat", steps=40, **config):
    """And then made too sure of itself."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), "frozen": True})
    head = {**HEAD, "exclusive_classes": kind == "transfer_textcat"}
    nlp.add_pipe(kind, config={"model": head, **config})
    examples = examples_of(nlp, make_docs(nlp, 24))
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.05, L2=0.0)
    for _ in range(steps):
        step(nlp, examples, optimizer)
    output = nlp.get_pipe(kind).model.get_ref("output")
    output.set_param("W", output.get_param("W") * SURER)
    output.set_param("b", output.get_param("b") * SURER)
    return nlp


SURER = 4.0


def step(nlp, examples, optimizer):
    losses = {}
    nlp.update(examples, sgd=False, losses=losses)
    for _, pipe in nlp.pipeline:
        pipe.finish_update(optimizer)
    return losses


def cats_of(nlp, texts):
    return [doc.cats for doc in nlp.pipe(texts)]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_move_decisions_do_not(tiny_bert, tmp_path, kind):
    nlp = trained(tiny_bert, kind)
    held_out = examples_of(nlp, make_docs(nlp, seed=1))
    texts = [eg.reference.text for eg in held_out]
    before, was = cats_of(nlp, texts), nlp.evaluate(held_out)
    (done,) = calibrate(nlp, held_out)
    after, now = cats_of(nlp, texts), nlp.evaluate(held_out)
    assert done.name == kind and 1.5 < done.temperature == nlp.get_pipe(kind).model.attrs["temperature"]
    assert [max(c, key=c.get) for c in before] == [max(c, key=c.get) for c in after]
    for a, b in zip(before, after, strict=True):
        logits = [numpy.log(c["pet"] / (c["car"] if kind == "transfer_textcat" else 1 - c["pet"])) for c in (a, b)]
        assert logits[1] == pytest.approx(logits[0] / done.temperature, rel=1e-2, abs=1e-3)
    assert done.nll[1] < done.nll[0] and done.ece[1] < done.ece[0]
    # The second way: the scorer, from doc.cats.
    assert was["cats_ece"] == pytest.approx(done.ece[0], abs=1e-5)
    assert now["cats_ece"] == pytest.approx(done.ece[1], abs=1e-5)
    nlp.to_disk(tmp_path)
    assert cats_of(spacy.load(tmp_path), texts) == after
    assert cats_of(spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes()), texts) == after


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_as_without_it(tiny_bert, kind):
    weights = []
    for calibrated in (False, True):
        nlp = trained(tiny_bert, kind, steps=15)
        examples = examples_of(nlp, make_docs(nlp, 10))
        if calibrated:
            calibrate(nlp, examples_of(nlp, make_docs(nlp, seed=1)))
            assert nlp.get_pipe(kind).model.attrs["temperature"] != 1.0
        optimizer = Adam(0.05, L2=0.0)
        losses = [step(nlp, examples, optimizer) for _ in range(5)]
        output = nlp.get_pipe(kind).model.get_ref("output")
        weights.append((losses, output.get_param("W").tobytes(), output.get_param("b").tobytes()))
    assert weights[0] == weights[1]


def test_calibrated_again_it_is_fitted_anew(tiny_bert):
    nlp = trained(tiny_bert)
    docs = make_docs(nlp, seed=1)
    (first,) = calibrate(nlp, examples_of(nlp, docs))
    (second,) = calibrate(nlp, examples_of(nlp, docs))
    assert second.temperature == first.temperature
    assert second.nll[0] == second.nll[1] == first.nll[1]


def with_dev(nlp, tmp_path):
    DocBin(docs=make_docs(nlp, seed=1)).to_disk(tmp_path / "dev.spacy")
    nlp.config["corpora"]["dev"]["path"] = str(tmp_path / "dev.spacy")
    return nlp


def random_numbers():
    return random.random(), numpy.random.random(), float(torch.rand(1))  # noqa: NPY002


@pytest.mark.parametrize("kind", KINDS)
def test_the_callback_leaves_training_untouched(tiny_bert, tmp_path, kind):
    nlp = with_dev(trained(tiny_bert, kind), tmp_path)
    before = nlp.to_bytes()
    spacy.util.fix_random_seed(3)
    drawn = random_numbers()
    spacy.util.fix_random_seed(3)
    seen = []
    copy = create_calibrate_v1(per_label_thresholds=True, then=lambda other: seen.append(other) or other)(nlp)
    assert random_numbers() == drawn
    assert copy is not nlp and seen == [copy]
    assert nlp.to_bytes() == before and nlp.get_pipe(kind).model.attrs["temperature"] == 1.0
    examples = examples_of(nlp, make_docs(nlp, seed=1))
    expected = fit_temperature([_decisions(nlp, kind, examples)])
    assert copy.get_pipe(kind).model.attrs["temperature"] == pytest.approx(expected, rel=1e-3)
    assert bool(copy.get_pipe(kind).cfg.get("thresholds")) == (kind != "transfer_textcat")


def _decisions(nlp, kind, examples):
    for eg in examples:
        nlp.get_pipe("transfer_backbone")(eg.predicted)
    return nlp.get_pipe(kind).decisions(examples)


def test_the_callback_reads_averages(tiny_bert, tmp_path):
    """spaCy saves within `nlp.use_params`: the copy has those weights, and is calibrated with them."""
    nlp = with_dev(trained(tiny_bert), tmp_path)
    output = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    averages = {(output.id, "W"): output.get_param("W") * 3, (output.id, "b"): output.get_param("b") * 3}
    plain = create_calibrate_v1()(nlp).get_pipe("transfer_textcat").model
    with nlp.use_params(averages):
        averaged = create_calibrate_v1()(nlp).get_pipe("transfer_textcat").model
    assert averaged.attrs["temperature"] == pytest.approx(3 * plain.attrs["temperature"], rel=1e-3)
    numpy.testing.assert_array_equal(averaged.get_ref("output").get_param("W"), averages[output.id, "W"])


def test_only_so_many_docs(tiny_bert, tmp_path):
    nlp = with_dev(trained(tiny_bert), tmp_path)
    few = create_calibrate_v1(max_docs=12)(nlp).get_pipe("transfer_textcat").model.attrs["temperature"]
    examples = examples_of(nlp, make_docs(nlp, seed=1)[:12])
    assert few == pytest.approx(fit_temperature([_decisions(nlp, "transfer_textcat", examples)]), rel=1e-3)


def f1(scores, truths, threshold):
    said = scores >= threshold
    return 2 * (said & truths).sum() / max(1, said.sum() + truths.sum())


def test_thresholds_of_labels(tiny_bert, tmp_path):
    nlp = trained(tiny_bert, "transfer_textcat_multilabel", thresholds={"car": 0.9})
    pipe = nlp.get_pipe("transfer_textcat_multilabel")
    assert pipe.thresholds == {"car": 0.9, "pet": 0.5}
    docs = make_docs(nlp, seed=1)
    for doc in docs:
        doc.cats["car"] = 0.0  # Never holds: there is nothing to fit.
    held_out = examples_of(nlp, docs)
    (done,) = calibrate(nlp, held_out, per_label_thresholds=True)
    assert set(done.thresholds) == {"pet"} and pipe.thresholds == {"car": 0.9, **done.thresholds}
    scores = numpy.array([c["pet"] for c in cats_of(nlp, [doc.text for doc in docs])])
    truths = numpy.array([doc.cats["pet"] > 0 for doc in docs])
    best = max(f1(scores, truths, t) for t in scores)
    assert f1(scores, truths, done.thresholds["pet"]) == pytest.approx(best)
    found = nlp.evaluate(held_out)
    assert found["cats_f_per_type"]["pet"]["f"] == pytest.approx(best)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert loaded.get_pipe("transfer_textcat_multilabel").thresholds == pipe.thresholds
    again = loaded.evaluate(held_out)
    assert {k: again[k] for k in again if k != "speed"} == {k: found[k] for k in found if k != "speed"}


def test_one_threshold_for_all_is_spacys_own_score(tiny_bert):
    nlp = trained(tiny_bert, "transfer_textcat_multilabel", steps=3)
    held_out = examples_of(nlp, make_docs(nlp, seed=1))
    for eg in held_out[::4]:
        del eg.reference.cats["car"]
    held_out = [Example(nlp(eg.reference.text), eg.reference) for eg in held_out]
    pipe = nlp.get_pipe("transfer_textcat_multilabel")
    for threshold in (0.0, 0.3, 0.5, 0.8):
        pipe.cfg["threshold"], pipe.cfg["thresholds"] = 0.5, dict.fromkeys(WORDS, threshold)
        ours = pipe.score(held_out)
        stock = Scorer.score_cats(held_out, "cats", labels=list(WORDS), multi_label=True, threshold=threshold)
        for key, value in stock.items():
            pairs = [(ours[key][x], value[x]) for x in WORDS] if isinstance(value, dict) else [(ours[key], value)]
            for a, b in pairs:
                assert a == (b if isinstance(b, str) else pytest.approx(b))


@pytest.mark.parametrize("kind", KINDS)
def test_the_scorer_changes_nothing(tiny_bert, kind):
    nlp = trained(tiny_bert, kind, steps=5)
    held_out = [Example(nlp(doc.text), doc) for doc in make_docs(nlp, 12, seed=1)]
    held_out[0].reference.cats = {}
    held_out[1].reference.cats = {"other": 1.0}
    held_out[2].reference.cats = {"pet": 1.0}
    pipe = nlp.get_pipe(kind)
    pipe.cfg["thresholds"] = {"pet": 0.4}

    def state():
        docs = [doc for eg in held_out for doc in (eg.predicted, eg.reference)]
        return [(doc.to_bytes(), dict(doc.cats)) for doc in docs], repr(pipe.cfg), nlp.to_bytes()

    before = state()
    first = pipe.score(held_out)
    assert state() == before
    assert pipe.score(held_out) == first
    assert 0 <= first["cats_ece"] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_gold_label_is_no_decision(tiny_bert, kind):
    nlp = trained(tiny_bert, kind, steps=5)
    known = [Example(nlp(doc.text), doc) for doc in make_docs(nlp, 12, seed=1)]
    unknown = [Example(nlp(text), nlp.make_doc(text)) for text in ("the cat", "")]
    score = nlp.get_pipe(kind).score
    assert score([*known, *unknown])["cats_ece"] == score(known)["cats_ece"]
    assert score(unknown)["cats_ece"] is None


def test_find_threshold(tiny_bert, tmp_path):
    nlp = trained(tiny_bert, "transfer_textcat_multilabel", steps=8)
    nlp.to_disk(tmp_path / "model")
    DocBin(docs=make_docs(nlp, seed=1)).to_disk(tmp_path / "dev.spacy")
    from spacy.cli.find_threshold import find_threshold

    name = "transfer_textcat_multilabel"
    best, value, each = find_threshold(tmp_path / "model", tmp_path / "dev.spacy", name, "threshold", "cats_macro_f")
    assert len(set(each.values())) > 2 and value == max(each.values())
    loaded = spacy.load(tmp_path / "model")
    loaded.get_pipe(name).cfg["threshold"] = best
    assert loaded.evaluate(examples_of(loaded, make_docs(nlp, seed=1)))["cats_macro_f"] == pytest.approx(value)


def test_a_label_without_texts_and_texts_without_labels(tiny_bert, tmp_path):
    nlp = trained(tiny_bert)
    plain = examples_of(nlp, [nlp.make_doc("the cat"), nlp.make_doc("")])
    with pytest.warns(UserWarning, match="W351.*2 texts"):
        assert calibrate(nlp, plain) == []
    with pytest.raises(ValueError, match="T744.*transfer_textcat"):
        calibrate(nlp, examples_of(nlp, [nlp.make_doc("the cat")]), components=["transfer_textcat"])
    mixed = examples_of(nlp, [*make_docs(nlp, seed=1), nlp.make_doc(""), nlp.make_doc("the dog")])
    (done,) = calibrate(nlp, mixed)
    assert done.n_decisions == 48


def test_nothing_is_learned_from_texts_that_are_all_right(tiny_bert):
    nlp = trained(tiny_bert)
    docs = make_docs(nlp, 10)
    for doc, cats in zip(docs, cats_of(nlp, [doc.text for doc in docs]), strict=True):
        doc.cats = {label: float(cats[label] == max(cats.values())) for label in WORDS}
    with pytest.warns(UserWarning, match="W350"):
        (done,) = calibrate(nlp, examples_of(nlp, docs))
    assert done.temperature == 1.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"components": ["transfer_textcta"]}, "T741.*transfer_textcat"),
        ({"components": ["transfer_backbone"]}, "T742.*transfer_textcat"),
        ({"corpus": "corpora.dve"}, "T745.*training.before_to_disk.corpus.*corpora.dve"),
        ({"corpus": "training.dropout"}, "T745"),
        ({"max_docs": 0}, "T746"),
    ],
)
def test_bad_settings(tiny_bert, tmp_path, settings, says):
    nlp = with_dev(trained(tiny_bert, steps=1), tmp_path)
    with pytest.raises(ValueError, match=says):
        create_calibrate_v1(**settings)(nlp)


def test_no_corpus_and_no_head(nlp, tiny_bert):
    with pytest.raises(ValueError, match="T745.*dev"):
        create_calibrate_v1()(trained(tiny_bert, steps=1))
    nlp.add_pipe("sentencizer")
    with pytest.raises(ValueError, match="T743.*sentencizer"):
        calibrate(nlp, [])


@pytest.mark.parametrize(
    ("kind", "config", "says"),
    [
        ("transfer_textcat", {"focal": -1.0}, "T350"),
        ("transfer_textcat_multilabel", {"focal_negative": -1.0}, "T215.*focal_negative = -1.0"),
        ("transfer_textcat_multilabel", {"margin": 1.0}, "T215.*margin = 1.0"),
        ("transfer_textcat_multilabel", {"thresholds": {"pte": 0.5}}, "T352.*pet"),
        ("transfer_textcat_multilabel", {"thresholds": {"pet": 1.5}}, "T353"),
        ("transfer_textcat", {"scorer": {"@scorers": "spacy-transfer.TextCatScorer.v1", "bins": 0}}, "T354"),
    ],
)
def test_bad_config(tiny_bert, kind, config, says):
    with pytest.raises(ValueError, match=says):
        trained(tiny_bert, kind, steps=0, **config)


@pytest.mark.parametrize("kind", KINDS)
def test_focal_loss_in_the_component(tiny_bert, kind):
    """get_loss with all of it together, against torch on the definition; and training goes down."""
    settings = {"label_smoothing": 0.1, "class_weights": {"car": 0.5, "pet": 2.0}}
    apart = {} if kind == "transfer_textcat" else {"focal_negative": 3.0, "margin": 0.05}
    nlp = trained(tiny_bert, kind, steps=0, focal=2.0, **settings, **apart)
    pipe, examples = nlp.get_pipe(kind), examples_of(nlp, make_docs(nlp, 4))
    examples[3].reference.cats = {}
    logits = torch.tensor([[1.0, -0.5], [0.2, 0.1], [-1.0, 2.0], [0.3, 0.3]], requires_grad=True)
    gold = torch.tensor([[eg.reference.cats.get(label, 0.0) for label in pipe.labels] for eg in examples])
    mask, weights = (
        torch.tensor([[1.0], [1.0], [1.0], [0.0]]),
        torch.tensor([settings["class_weights"][x] for x in pipe.labels]),
    )
    targets = gold * 0.9 + 0.05
    if kind == "transfer_textcat":
        p = torch.softmax(logits, 1)
        each = targets * (1 - p) ** 2 * p.log() * (gold @ weights)[:, None]
    else:
        p = torch.sigmoid(logits)
        each = targets * weights * (1 - p) ** 2 * p.log() + (1 - targets) * (p - 0.05) ** 3 * (1.05 - p).log()
    loss = -(mask * each).sum()
    loss.backward()
    value, gradient = pipe.get_loss(examples, p.detach().numpy())
    assert value == pytest.approx(loss.item(), rel=1e-5)
    numpy.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-6)
    optimizer = Adam(0.05, L2=0.0)
    losses = [step(nlp, examples, optimizer)[kind] for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("context", ["CNNContext", "BiLSTMContext"])
def test_context_in_a_pipeline(tiny_bert, tmp_path, context):
    layer = {"@architectures": f"spacy-transfer.{context}.v1", "width": 8}
    nlp = trained(tiny_bert, model={**HEAD, "exclusive_classes": True, "context": layer}, steps=10)
    texts = ["the cat a", "", "the van b"]
    nlp.to_disk(tmp_path)
    assert cats_of(spacy.load(tmp_path), texts) == cats_of(nlp, texts)
    calibrate(nlp, examples_of(nlp, make_docs(nlp, seed=1)))
    assert nlp.get_pipe("transfer_textcat").model.attrs["temperature"] != 1.0


def test_spacy_train_with_the_callback(tiny_bert, tmp_path, capsys):
    """And spacy evaluate on what was saved. The step before anything is learned has no best temperature."""
    from spacy.cli.evaluate import evaluate
    from spacy.cli.train import train

    from ..training import write_training

    block = {"@callbacks": "spacy-transfer.Calibrate.v1", "components": ["textcat"]}
    more = {"training.before_to_disk": {**block, "then": {"@callbacks": "spacy-transfer.MergeAdapters.v1"}}}
    config = write_training(tmp_path, tiny_bert, overrides={**more, "nlp.pipeline": ["transfer_backbone", "textcat"]})
    docs = make_docs(spacy.blank("en"), 40)
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    with pytest.warns(UserWarning, match="W350"):  # Before anything is learned.
        train(config, tmp_path / "out")
    saved = spacy.load(tmp_path / "out" / "model-last")
    temperature = saved.get_pipe("textcat").model.attrs["temperature"]
    examples = examples_of(saved, docs)
    for eg in examples:
        saved.get_pipe("transfer_backbone")(eg.predicted)
    expected = fit_temperature([saved.get_pipe("textcat").decisions(examples)])
    assert temperature == pytest.approx(expected or 1.0, rel=1e-3)
    found = evaluate(str(tmp_path / "out" / "model-last"), tmp_path / "train.spacy", output=tmp_path / "scores.json")
    assert "cats_score" in found
    capsys.readouterr()


class Valleys:
    """Decisions with a narrow valley, in which the temperature lies already, and a wide one that is not so deep."""

    def __len__(self):
        return 1

    def nll(self, temperature):
        log = numpy.log(temperature)
        return 2.0 + min((log - 2.0) ** 2, 100 * (log + 1.03) ** 2 - 1.5)

    def confidences(self, temperature):
        return numpy.array([0.5]), numpy.array([1.0])


def test_no_temperature_is_worse_than_that_of_before(tiny_bert):
    pipe = trained(tiny_bert, steps=1).get_pipe("transfer_textcat")
    pipe.model.attrs["temperature"] = before = float(numpy.exp(-1.03))
    assert Valleys().nll(fit_temperature([Valleys()])) > Valleys().nll(before)
    done = _fit(pipe, [Valleys()], False)
    assert done.temperature == pipe.model.attrs["temperature"] == before and done.nll[0] == done.nll[1]


def test_scores_that_are_not_finite(tiny_bert):
    nlp = trained(tiny_bert, steps=1)
    output = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    output.set_param("b", output.get_param("b") * numpy.nan)
    with pytest.raises(ValueError, match="T355.*transfer_textcat"):
        calibrate(nlp, examples_of(nlp, make_docs(nlp)))
