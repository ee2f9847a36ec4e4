"""Next word: the loss, and that no prediction sees its word."""

import numpy
import pytest
import srsly
import torch
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import fix_random_seed

from spacy_transfer.backbones.context import build_bilstm_context_v1, build_cnn_context_v1
from spacy_transfer.backbones.hash_embed import build_hash_embed_backbone_v1
from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.backbones.vectors.vectors import build_vectors_backbone_v1
from spacy_transfer.pretraining.objectives import next_word
from spacy_transfer.pretraining.objectives.next_word import NextWord

from ..pretrain import run, write_vectors

TEXTS = ["the cat sings of a dog", "a", "", "  ", "a dog , a cat .", "big words in a long line of words . " * 3]
WORDS = ["the", "a", "cat", "dog", "words", "of", "long", "line"]
VOCAB = Vocab()
CONTEXTS = {
    "causal": lambda: build_cnn_context_v1(width=12, depth=2, causal=True),
    "shallow": lambda: build_bilstm_context_v1(width=12),
    "deep": lambda: build_bilstm_context_v1(width=12, depth=2, mix_directions=False),
}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Vectors of width 8 for some words."""
    return write_vectors(tmp_path_factory.mktemp("vectors") / "words.txt", WORDS)


def build(context, vectors=None):
    """Objective and softmax, over vectors or over hash embeddings."""
    fix_random_seed(0)
    if vectors is None:
        backbone = build_hash_embed_backbone_v1(width=8, attrs=["ORTH", "SPACY"], rows=[50, 10], context=context)
    else:
        backbone = build_vectors_backbone_v1(source=str(vectors), context=context)
    backbone.initialize()
    objective = NextWord(backbone, 50, 5000)
    return objective, objective.make_output({"words": WORDS})


def measure(objective, output, docs, is_train=False):
    return objective.measure(docs, output, numpy.random.default_rng(0), is_train)


@pytest.mark.parametrize("name", CONTEXTS)
def test_loss_against_numpy(name, vectors, nlp, monkeypatch):
    monkeypatch.setattr(next_word, "_CHUNK", 5)
    docs = [nlp.make_doc(text) for text in TEXTS]
    objective, output = build(CONTEXTS[name](), vectors)
    weights, bias = (p.detach().numpy() for p in output.linear.parameters())
    total, count = 0.0, 0
    for doc, rows in zip(docs, objective.backbone.predict(docs), strict=True):
        for i in range(len(doc)):
            sides = [(i + 1, rows[i])] if name == "causal" else [(i + 1, rows[i, :6]), (i - 1, rows[i, 6:])]
            for j, row in sides:
                if 0 <= j < len(doc) and doc[j].text in WORDS:
                    logits = weights @ row + bias
                    total -= logits[WORDS.index(doc[j].text)] - numpy.log(numpy.exp(logits).sum())
                    count += 1
    found = measure(objective, output, docs)
    assert found.count == count > 10
    assert abs(found.total - total) <= 1e-4


@pytest.mark.parametrize("name", CONTEXTS)
def test_gradients_against_differences(name, vectors, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    objective, output = build(CONTEXTS[name](), vectors)
    measure(objective, output, docs, is_train=True).backprop()
    if name == "causal":
        node = next(n for n in objective.backbone.walk() if n.has_param("W") and n.has_grad("W"))
        weights, gradient = node.get_param("W"), node.get_grad("W").copy()
    else:
        weight = next(objective.backbone.layers[-1].shims[0]._model.parameters())
        weights, gradient = weight.detach().numpy(), weight.grad.numpy().copy()
    at = numpy.unravel_index(numpy.abs(gradient).argmax(), gradient.shape)
    losses = []
    for step in (1e-2, -2e-2):
        weights[at] += step
        losses.append(measure(objective, output, docs).mean)
    assert abs((losses[0] - losses[1]) / 2e-2 - gradient[at]) <= 2e-2 * abs(gradient[at]) + 1e-4


def logits_by_word(objective, output, words):
    """For each direction, step and then the logits that predict word 0, 1, ...; NaN where there are none."""
    seen = []
    hook = output.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    measure(objective, output, [Doc(VOCAB, words=words)])
    hook.remove()
    logits = output.linear(torch.cat(seen)).detach().numpy()
    nothing = numpy.full((1, logits.shape[1]), numpy.nan)
    n = len(words) - 1
    ahead, back = logits[:n], logits[n:]
    return [numpy.concatenate([nothing, ahead])] + [numpy.concatenate([back, nothing])] * bool(len(back))


def seen_words(objective, output):
    """For each direction the pairs (i, j): the logits that predict word i change with word j."""
    draw = numpy.random.default_rng(0)
    words = [WORDS[i] for i in draw.integers(len(WORDS), size=9)]
    before, found = logits_by_word(objective, output, words), [set(), set()]
    for j in range(len(words)):
        other = words.copy()
        other[j] = next(word for word in WORDS if word != words[j])
        for pairs, was, now in zip(found, before, logits_by_word(objective, output, other), strict=False):
            moved = numpy.nan_to_num(numpy.abs(now - was)).max(axis=1)
            assert ((moved == 0) | (moved > 1e-7)).all()
            pairs |= {(int(i), j) for i in numpy.flatnonzero(moved)}
    return found


@pytest.mark.parametrize("on_vectors", [True, False])
@pytest.mark.parametrize("name", CONTEXTS)
def test_no_prediction_sees_its_word(name, on_vectors, vectors):
    ahead, back = seen_words(*build(CONTEXTS[name](), vectors if on_vectors else None))
    assert all(j < i for i, j in ahead) and all(j > i for i, j in back)
    assert {(i, i - 1) for i in range(1, 9)} <= ahead
    assert bool(back) == (name != "causal") and (not back or {(i, i + 1) for i in range(8)} <= back)


def test_a_context_that_sees_the_future_would_be_noticed(vectors):
    leaky = build_cnn_context_v1(width=12, depth=1)
    leaky.attrs["causal"] = True
    ahead, _ = seen_words(*build(leaky, vectors))
    assert (3, 3) in ahead


def test_other_backbones_are_refused(vectors, tiny_bert):
    from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec

    shape = {"width": 12, "depth": 1, "embed_size": 50, "window_size": 1, "maxout_pieces": 2}
    for backbone, found in (
        (build_vectors_backbone_v1(source=str(vectors), context=build_cnn_context_v1()), "'causal': False"),
        (build_hash_embed_backbone_v1(context=build_bilstm_context_v1(depth=2)), "'mix_directions': True"),
        (build_vectors_backbone_v1(source=str(vectors)), "transfer_vector_lookup"),
        (build_transformer_backbone_v1(source=tiny_bert), "transfer_transformer"),
        (build_hash_embed_cnn_tok2vec(pretrained_vectors=None, subword_features=True, **shape), "ragged"),
    ):
        with pytest.raises(ValueError, match=rf"T851.*{found}.*causal = true.*mix_directions = false"):
            NextWord(backbone, 50, 5000)


def test_evaluation_leaves_no_trace(vectors, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    objective, output = build(build_bilstm_context_v1(width=12, depth=2, mix_directions=False, dropout=0.5), vectors)
    state = torch.get_rng_state()
    assert measure(objective, output, docs).total == measure(objective, output, docs).total
    assert torch.equal(torch.get_rng_state(), state)
    modules = [output, objective.backbone.layers[-1].shims[0]._model]
    assert all(p.grad is None for module in modules for p in module.parameters())
    for texts in ([], [""], ["cat", "unknown things"]):
        assert measure(objective, output, [nlp.make_doc(text) for text in texts]).count == 0


CNN = """[components.transfer_backbone.model.context]
@architectures = "spacy-transfer.CNNContext.v1"
width = 12
causal = true"""
BILSTM = """[components.transfer_backbone.model.context]
@architectures = "spacy-transfer.BiLSTMContext.v1"
width = 16
depth = 2
mix_directions = false"""


@pytest.mark.parametrize("context", [CNN, BILSTM])
def test_it_learns_by_spacy_pretrain(context, vectors, tmp_path):
    texts = [f"{a} {b} of {a} {b}" for a in ("the", "a", "big") for b in ("cat", "dog", "line", "long")] * 12
    (tmp_path / "raw.txt").write_text("\n".join(f"{text} {i}" for i, text in enumerate(texts)))
    log, lines = tmp_path / "log.jsonl", '@architectures = "spacy-transfer.NextWord.v1"\nn_words = 8'
    if context is CNN:
        backbone = f'@architectures = "spacy-transfer.VectorsBackbone.v1"\nsource = "{vectors}"\n{context}'
    else:
        backbone = f'@architectures = "spacy-transfer.HashEmbedBackbone.v1"\nwidth = 8\n{context}'
    raw, objective = tmp_path / "raw.txt", f'{lines}\nlog = "{log}"'
    run(tmp_path / "out", raw, backbone, objective, epochs=8, rate=0.05)
    losses = [line["held_out_loss"] for line in srsly.read_jsonl(log)]
    assert losses[8] < 0.7 * losses[0]
    files = [run(tmp_path / name, raw, backbone, objective, epochs=1) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
