"""Denoising: loss and gradient against plain torch, one text after the other; long texts, unknown words, runs.

Guards also: denoising_objective.py.
"""

import numpy
import pytest
import torch
from thinc.api import Adam
from transformers import AutoTokenizer, BertModel

from spacy_transfer.pretraining.objective import NOTHING, pretraining_of
from spacy_transfer.pretraining.objectives.denoising import build_denoising_v1
from spacy_transfer.pretraining.objectives.denoising_objective import DenoisedPieces, DenoisedWords
from spacy_transfer.pretraining.objectives.views import delete_words

from ..runs import (
    WORDS,
    bilstm,
    build,
    check_moved,
    make_texts,
    pipeline,
    run,
    torch_state,
    transformer,
    vectors,
)

BLOCK = {"@architectures": "spacy-transfer.Denoising.v1"}


def draw(seed=0):
    return numpy.random.default_rng(seed)


def pieces_objective(model, max_pieces=64):
    torch.manual_seed(1)
    ours = DenoisedPieces(model, model.shims[0], 0.5, max_pieces)
    return ours, ours.make_output({})


def words_objective(model, words=WORDS, max_pieces=64):
    torch.manual_seed(1)
    ours = DenoisedWords(model, 0.5, max_pieces, 100)
    return ours, ours.make_output({"words": words})


def test_loss_and_gradient_of_a_transformer_against_plain_torch(tiny_bert):
    nlp, model = build(transformer(tiny_bert))
    ours, decoder = pieces_objective(model)
    docs = [nlp.make_doc(text) for text in make_texts(4, size=4)]
    measured = ours.measure(docs, decoder, draw(), is_train=True)
    measured.backprop()
    found = {n: p.grad for n, p in model.shims[0].encoder.transformer.named_parameters() if p.grad is not None}

    plain, tokenizer, rng = BertModel.from_pretrained(tiny_bert), AutoTokenizer.from_pretrained(tiny_bert), draw()
    total, count = 0.0, 0
    for doc in docs:
        noisy = tokenizer(delete_words(doc, 0.5, rng).text, return_tensors="pt")
        row = plain(**noisy).last_hidden_state.mean(1)
        ids = torch.tensor([tokenizer(doc.text, add_special_tokens=False).input_ids])
        # test_decoder.py compares this with a loop over pieces.
        scores = decoder.logits(decoder.states(row, ids)[0])
        total = total + torch.nn.functional.cross_entropy(scores, ids[0], reduction="sum")
        count += ids.shape[1]
    (total / count).backward()
    assert measured.count == count and measured.total == pytest.approx(total.item(), rel=1e-5)
    expected = {n: p.grad for n, p in plain.named_parameters() if p.grad is not None}
    assert set(found) == set(expected)
    for name, grad in expected.items():
        numpy.testing.assert_allclose(found[name], grad, atol=1e-5 * max(1.0, float(grad.abs().max())), err_msg=name)


@pytest.mark.parametrize("make", [vectors, bilstm])
def test_gradient_of_layers_after_vectors_against_differences(make, tmp_path):
    nlp, model = build(make(tmp_path))
    ours, decoder = words_objective(model)
    docs = [nlp.make_doc(text) for text in make_texts(4)]
    ours.measure(docs, decoder, draw(), is_train=True).backprop()
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
            losses.append(ours.measure(docs, decoder, draw(), is_train=False).mean)
        values[place] += 2e-3
        assert float(gradient[place]) == pytest.approx((losses[0] - losses[1]) / 4e-3, rel=0.05, abs=1e-3), name


def test_a_pipelines_encoder_gets_a_gradient():
    nlp, model = build(pipeline())
    ours, decoder = words_objective(model)
    ours.measure([nlp.make_doc(text) for text in make_texts(4)], decoder, draw(), is_train=True).backprop()
    encoder = model.shims[0].encoder
    grads = [node.get_grad(name) for node in encoder.walk() for name in node.param_names if node.has_grad(name)]
    assert grads and all(numpy.isfinite(grad).all() for grad in grads) and any(grad.any() for grad in grads)


@pytest.mark.parametrize("kind", ["transformer", "vectors"])
def test_held_out_is_deterministic_and_leaves_nothing_behind(kind, tiny_bert, tmp_path):
    nlp, model = build(transformer(tiny_bert) if kind == "transformer" else vectors(tmp_path))
    ours, decoder = pieces_objective(model) if kind == "transformer" else words_objective(model)
    docs = [nlp.make_doc(text) for text in make_texts(4)]
    before = torch_state()
    losses = {ours.measure(docs, decoder, draw(), is_train=False).total for _ in range(2)}
    assert len(losses) == 1 and torch_state() == before
    assert not any(parameter.grad is not None for parameter in decoder.parameters())
    assert not any(node.has_grad(name) for node in model.walk() for name in node.grad_names)


def words(doc):
    return [token.text for token in doc if not token.is_space]


@pytest.mark.parametrize("max_pieces", [1, 3, 7, 100])
def test_all_of_a_long_text_is_written(tiny_bert, max_pieces):
    nlp, model = build(transformer(tiny_bert))
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    text = "the cat sees, the dog  \n sings. " * 3
    parts = pieces_objective(model, max_pieces)[0].cut([nlp.make_doc(text), nlp.make_doc(" \n ")])
    assert all(len(ids) <= max_pieces for _, ids in parts)
    for doc, ids in parts:
        whole = tokenizer(doc.text, add_special_tokens=False).input_ids
        # One word alone may have more pieces.
        assert list(ids) == whole[:max_pieces] and (len(whole) <= max_pieces or len(words(doc)) == 1)
    assert sorted(word for doc, _ in parts for word in words(doc)) == sorted(words(nlp.make_doc(text)))
    assert len(parts) == 1 or max_pieces < 100


def test_long_texts_in_words_are_cut_evenly(tmp_path):
    nlp, model = build(vectors(tmp_path))
    ours, _ = words_objective(model, max_pieces=4)
    parts = ours.cut([nlp.make_doc(" ".join(WORDS[:10]))])
    assert [len(doc) for doc, _ in parts] == [3, 3, 4]
    assert [WORDS[i] for _, ids in parts for i in ids] == WORDS[:10]


def test_unknown_words_are_read_and_not_predicted(tmp_path):
    nlp, model = build(vectors(tmp_path))
    ours, decoder = words_objective(model, words=["cat", "dog"])
    docs = [nlp.make_doc("cat cow dog"), nlp.make_doc("cow hen"), nlp.make_doc("")]
    assert [ids.tolist() for ids in ours.pieces(docs)] == [[0, 2, 1], [2, 2], []]
    assert ours.measure(docs, decoder, draw(), is_train=True).count == 2
    assert ours.measure(docs[1:], decoder, draw(), is_train=True) is NOTHING
    assert ours.measure([], decoder, draw(), is_train=True) is NOTHING


def test_the_decoder_comes_back_with_the_file(tiny_bert):
    def start():
        nlp, backbone = build(transformer(tiny_bert))
        model = build_denoising_v1(progress=False)(nlp.vocab, backbone)
        return model, [nlp.make_doc(text) for text in make_texts(4)]

    (model, docs), (other, _) = start(), start()
    _, backprop = model.begin_update(docs)
    backprop(None)
    model.finish_update(Adam(0.01))
    data = model.get_ref("tok2vec").to_bytes()
    other.get_ref("tok2vec").from_bytes(data)
    losses = [pretraining_of(each).held_out(docs).total for each in (model, other)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", ["cnn", "bilstm"])
def test_it_learns_by_spacy_pretrain(kind, tmp_path):
    block = vectors(tmp_path) if kind == "cnn" else bilstm(tmp_path)
    losses, data = run(tmp_path, block, {**BLOCK, "deletion": 0.5}, texts=make_texts(60), epochs=5)
    assert losses[-1] < 0.85 * losses[0]
    assert data != build(block)[1].to_bytes()


def test_the_same_seed_gives_the_same_bytes(tiny_bert, tmp_path):
    block = transformer(tiny_bert, tuning={"@misc": "spacy-transfer.Tuning.v1", "freeze": "embeddings"})
    first, second, other = (
        run(tmp_path / "run", block, BLOCK, texts=make_texts(20), epochs=2, seed=seed) for seed in (0, 0, 1)
    )
    assert first == second and first[1] != other[1] and first[0][-1] < first[0][0]
    check_moved(block, first[1])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"deletion": 0.0}, "deletion"),
        ({"deletion": 1.0}, "deletion"),
        ({"max_pieces": 0}, "max_pieces"),
        ({"n_words": 1}, "n_words"),
    ],
)
def test_bad_settings(settings, key):
    with pytest.raises(ValueError, match=rf"T215.*pretraining.objective.{key}"):
        build_denoising_v1(**settings)
