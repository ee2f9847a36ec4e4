"""InfoNCE against a NumPy loop, its gradient against plain torch and differences; views, duplicates, runs.

Guards also: contrastive_objective.py.
"""

import logging
import math

import numpy
import pytest
import torch
from spacy.util import registry
from transformers import AutoTokenizer, BertModel

from spacy_transfer.pretraining.objective import NOTHING
from spacy_transfer.pretraining.objectives.contrastive import build_contrastive_v1
from spacy_transfer.pretraining.objectives.contrastive_objective import Contrastive, InfoNCE
from spacy_transfer.pretraining.objectives.views import Views

from ..runs import (
    bilstm,
    build,
    check_moved,
    document_row,
    loaded,
    make_texts,
    pipeline,
    run,
    torch_state,
    transformer,
    vectors,
)

BLOCK = {"@architectures": "spacy-transfer.Contrastive.v1"}


def numpy_loss(first, second, is_negative, temperature, symmetric):
    """InfoNCE, one text after the other."""
    losses = []
    for a, b in [(first, second), (second, first)][: 1 + symmetric]:
        for i, row in enumerate(a):
            if not is_negative[i].any():
                continue
            scores = {}
            for j, other in enumerate(b):
                if j == i or is_negative[i, j]:
                    length = math.sqrt(sum(x * x for x in row)) * math.sqrt(sum(x * x for x in other))
                    scores[j] = sum(x * y for x, y in zip(row, other, strict=True)) / length / temperature
            losses.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[i])
    return sum(losses) / len(losses)


def objective(model, kind="delete", *, row_dropout=0.1, projection=None, symmetric=True, temperature=0.3):
    views = Views(kind, deletion=0.3, crop=0.5, neighbours_from=6)
    return Contrastive(model, views, InfoNCE(temperature, symmetric), row_dropout, projection)


def draw(seed=0):
    return numpy.random.default_rng(seed)


@pytest.fixture(scope="module", params=["transformer", "cnn", "bilstm", "pipeline"])
def backbone(request, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    blocks = {
        "transformer": lambda: transformer(tiny_bert),
        "cnn": lambda: vectors(folder),
        "bilstm": lambda: bilstm(folder),
        "pipeline": pipeline,
    }
    return build(blocks[request.param]())


@pytest.mark.parametrize("symmetric", [True, False])
def test_loss_and_gradient_against_a_numpy_loop(symmetric):
    rows = draw().normal(size=(2, 5, 3))
    is_negative = ~numpy.eye(5, dtype=bool)
    is_negative[0, 1] = is_negative[1, 0] = False
    is_negative[4] = is_negative[:, 4] = False
    leaves = torch.tensor(rows, requires_grad=True)
    loss = InfoNCE(0.1, symmetric)(leaves[0], leaves[1], torch.tensor(is_negative))
    loss.backward()

    def at(values):
        return numpy_loss(values[0], values[1], is_negative, 0.1, symmetric)

    assert loss.item() == pytest.approx(at(rows), abs=1e-9)
    for place in numpy.ndindex(rows.shape):
        step = numpy.zeros_like(rows)
        step[place] = 1e-5
        assert float(leaves.grad[place]) == pytest.approx((at(rows + step) - at(rows - step)) / 2e-5, abs=1e-6)
    assert not leaves.grad[:, 4].any()


def test_a_batch_is_measured_on_the_mean_rows_of_its_views(backbone):
    nlp, model = backbone
    docs = [nlp.make_doc(text) for text in make_texts(4)]
    measured = objective(model).measure(docs, None, draw(), is_train=False)
    pairs = [Views("delete", 0.3, 0.5, 6).pair(doc, rng, False) for rng in [draw()] for doc in docs]
    rows = numpy.array([[document_row(model, pair[i]) for pair in pairs] for i in range(2)])
    expected = numpy_loss(*rows, ~numpy.eye(4, dtype=bool), 0.3, True)
    assert (measured.count, measured.mean) == (4, pytest.approx(expected, rel=1e-5))


def test_gradient_of_a_transformer_against_plain_torch(tiny_bert):
    nlp, model = build(transformer(tiny_bert))
    docs = [nlp.make_doc(text) for text in make_texts(4, size=3)]
    objective(model).measure(docs, None, draw(), is_train=True).backprop()
    found = {n: p.grad for n, p in model.shims[0].encoder.transformer.named_parameters() if p.grad is not None}

    plain, tokenizer, rng = BertModel.from_pretrained(tiny_bert), AutoTokenizer.from_pretrained(tiny_bert), draw()
    pairs = [Views("delete", 0.3, 0.5, 6).pair(doc, rng, True) for doc in docs]
    rows = [
        torch.stack(
            [plain(**tokenizer(pair[i].text, return_tensors="pt")).last_hidden_state[0].mean(0) for pair in pairs]
        )
        for i in range(2)
    ]
    cosines = torch.cosine_similarity(rows[0][:, None], rows[1][None], dim=2) / 0.3
    own = cosines.diagonal()
    loss = (torch.logsumexp(cosines, 0) - own).mean() / 2 + (torch.logsumexp(cosines, 1) - own).mean() / 2
    loss.backward()
    expected = {n: p.grad for n, p in plain.named_parameters() if p.grad is not None}
    assert set(found) == set(expected)
    for name, grad in expected.items():
        numpy.testing.assert_allclose(found[name], grad, atol=1e-5 * max(1.0, float(grad.abs().max())), err_msg=name)


@pytest.mark.parametrize("make", [vectors, bilstm])
def test_gradient_of_layers_after_vectors_against_differences(make, tmp_path):
    nlp, model = build(make(tmp_path))
    docs = [nlp.make_doc(text) for text in make_texts(4)]
    measured = objective(model).measure(docs, None, draw(), is_train=True)
    measured.backprop()
    model.shims[0].bind(model)
    weights = {n: w for n, w in model.shims[0].weights.items() if w.parameter.raw_gradient is not None}
    assert weights
    for name, weight in weights.items():
        gradient = numpy.array(weight.parameter.raw_gradient)
        place = numpy.unravel_index(numpy.abs(gradient).argmax(), gradient.shape)
        values = weight.parameter.value
        losses = []
        for step in (2e-3, -4e-3):
            values[place] += step
            losses.append(objective(model).measure(docs, None, draw(), is_train=False).mean)
        values[place] += 2e-3
        assert float(gradient[place]) == pytest.approx((losses[0] - losses[1]) / 4e-3, rel=0.05, abs=1e-3), name


def test_gradient_of_the_projection(tiny_bert):
    nlp, model = build(transformer(tiny_bert))
    ours = objective(model, projection=5)
    output = ours.make_output({})
    docs = [nlp.make_doc(text) for text in make_texts(4)]
    ours.measure(docs, output, draw(), is_train=True).backprop()
    weight = output[2].weight
    place = numpy.unravel_index(int(weight.grad.abs().argmax()), weight.shape)
    losses = []
    for step in (1e-2, -2e-2):
        weight.data[place] += step
        losses.append(ours.measure(docs, output, draw(), is_train=False).mean)
    assert weight.shape == (5, 16)
    assert float(weight.grad[place]) == pytest.approx((losses[0] - losses[1]) / 2e-2, rel=0.02)


def test_held_out_is_deterministic_and_leaves_nothing_behind(backbone):
    nlp, model = backbone
    docs = [nlp.make_doc(text) for text in make_texts(4)]
    for kind in ("dropout", "crop", "delete", "neighbours"):
        before = torch_state()
        losses = {objective(model, kind).measure(docs, None, draw(), is_train=False).total for _ in range(2)}
        assert len(losses) == 1 and torch_state() == before
    grads = [p.grad for shim in model.shims if hasattr(shim._model, "parameters") for p in shim._model.parameters()]
    assert not any(grad is not None for grad in grads)
    assert not any(node.has_grad(name) for node in model.walk() for name in node.grad_names)


def test_rows_get_dropout_where_the_backbone_has_none(backbone):
    nlp, model = backbone
    docs = [nlp.make_doc(text) for text in make_texts(4)]
    ours = objective(model, "dropout", row_dropout=0.5)
    rng = draw()
    mean = ours.measure(docs, None, rng, is_train=True).mean
    documents = draw().random((8, model.get_dim("nO"))) >= 0.5
    rows = numpy.array([document_row(model, doc) for doc in docs])
    rows = numpy.concatenate([rows, rows]) * documents
    assert mean == pytest.approx(numpy_loss(rows[:4], rows[4:], ~numpy.eye(4, dtype=bool), 0.3, True), rel=1e-5)
    with pytest.raises(ValueError, match=r"T841.*row_dropout"):
        objective(model, "dropout", row_dropout=0.0).measure(docs, None, draw(), is_train=True)


def test_a_backbone_with_dropout_needs_no_other(tiny_bert):
    nlp, model = build(transformer(tiny_bert))
    for module in model.shims[0].encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2
    docs = [nlp.make_doc(text) for text in make_texts(4)]
    ours, rng = objective(model, "dropout", row_dropout=0.0), draw()
    measured = [ours.measure(docs, None, rng, is_train=True).mean for _ in range(2)]
    assert measured[0] != measured[1] and rng.random() == draw().random()
    # [pretraining] dropout is the encoder's own in a pipeline.
    nlp, model = build(pipeline())
    model.attrs["dropout_rate"] = 0.2
    ours = objective(model, "dropout", row_dropout=0.0)
    assert ours.measure(docs, None, draw(), is_train=True).count == 4


def test_duplicates_are_no_negatives_of_each_other(tmp_path):
    nlp, model = build(vectors(tmp_path))
    texts = ["cat dog cow", "car bus van", "cat dog cow", "red blue"]
    docs = [nlp.make_doc(text) for text in texts]
    measured = objective(model).measure(docs, None, draw(), is_train=False)
    rng = draw()
    pairs = [Views("delete", 0.3, 0.5, 6).pair(doc, rng, False) for doc in docs]
    rows = numpy.array([[document_row(model, pair[i]) for pair in pairs] for i in range(2)])
    is_negative = numpy.array([[one != other for other in texts] for one in texts])
    assert measured.mean == pytest.approx(numpy_loss(*rows, is_negative, 0.3, True), rel=1e-5)
    assert measured.count == 4


def test_nothing_to_tell_apart(tmp_path, caplog):
    nlp, model = build(vectors(tmp_path))
    ours = objective(model)
    with caplog.at_level(logging.WARNING):
        for texts in ([], ["cat dog"], ["cat dog"] * 3, ["cat dog", "", " \n "], ["cat dog", "nowhere known"]):
            assert ours.measure([nlp.make_doc(text) for text in texts], None, draw(), is_train=True) is NOTHING
    assert caplog.text.count("W841") == 1 and "batcher.size" in caplog.text


def test_a_text_without_a_row_is_left_out(tmp_path):
    nlp, model = build(vectors(tmp_path, context=None, finetune=True))
    docs = [nlp.make_doc(text) for text in ["cat dog cow", "nowhere known at", "car bus van"]]
    measured = objective(model).measure(docs, None, draw(), is_train=True)
    measured.backprop()
    alone = objective(model).measure([docs[0], docs[2]], None, draw(), is_train=False)
    assert measured.count == alone.count == 2
    assert numpy.isfinite(model.layers[0].get_grad("E")).all() and model.layers[0].get_grad("E").any()


@pytest.mark.parametrize("views", ["dropout", "crop", "delete", "neighbours"])
def test_it_learns_by_spacy_pretrain(views, tmp_path):
    settings = {"views": views, "temperature": 0.3, "deletion": 0.4, "neighbours_from": 8, "projection": 6}
    losses, data = run(tmp_path, vectors(tmp_path), {**BLOCK, **settings}, texts=make_texts(60))
    assert losses[-1] < 0.9 * losses[0]
    start, end = build(vectors(tmp_path))[1], loaded(vectors(tmp_path), data)
    weights = [model.layers[1].layers[0].layers[0].layers[0].get_param("W") for model in (start, end)]
    assert not numpy.array_equal(*weights)


def test_the_same_seed_gives_the_same_bytes(tiny_bert, tmp_path):
    block = transformer(tiny_bert, tuning={"@misc": "spacy-transfer.Tuning.v1", "freeze": "embeddings"})
    settings = {"objective": {**BLOCK, "views": "crop", "temperature": 0.3, "projection": 4}, "learn_rate": 0.002}
    first, second, other = (
        run(tmp_path / "run", block, texts=make_texts(20), epochs=2, seed=seed, **settings) for seed in (0, 0, 1)
    )
    assert first == second and first[1] != other[1] and first[0][-1] < first[0][0]
    check_moved(block, first[1])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"deletion": 0.0}, "deletion"),
        ({"deletion": 1.0}, "deletion"),
        ({"crop": 0.0}, "crop"),
        ({"crop": 1.5}, "crop"),
        ({"neighbours_from": 1}, "neighbours_from"),
        ({"row_dropout": 1.0}, "row_dropout"),
        ({"projection": 0}, "projection"),
    ],
)
def test_bad_settings(settings, key):
    with pytest.raises(ValueError, match=rf"T215.*pretraining.objective.{key}"):
        build_contrastive_v1(**settings)


def test_unknown_views():
    with pytest.raises(Exception, match="views"):
        registry.resolve({"x": {**BLOCK, "views": "mirror"}})
