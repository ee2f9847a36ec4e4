"""Masked words at the rows of any backbone."""

import numpy
import pytest
import spacy
import srsly
import torch
from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec
from thinc.api import Model

from spacy_transfer.backbones.context import build_cnn_context_v1
from spacy_transfer.backbones.vectors.vectors import build_vectors_backbone_v1
from spacy_transfer.corpora.raw_text import create_raw_text_v1
from spacy_transfer.pretraining.objectives.masked_rows import MASK, MaskedRows, WordSoftmax, frequent_words
from spacy_transfer.pretraining.objectives.word_masks import Masking

from ..pretrain import run, write_vectors

TEXTS = ["the cat sings of a dog", "a dog , a cat .", "", "  ", "big words in a long line of words . " * 3]
WORDS = ["the", "a", "cat", "dog", "words", "of", "long", "line"]
OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"\nn_words = 50'


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Vectors of width 8 for some words."""
    return write_vectors(tmp_path_factory.mktemp("vectors") / "words.txt", WORDS)


def build(vectors, masking=None):
    torch.manual_seed(0)
    backbone = build_vectors_backbone_v1(source=str(vectors), context=build_cnn_context_v1(width=12, depth=1))
    backbone.initialize()
    objective = MaskedRows(backbone, masking or Masking(0.3, 0.1, 0.1), 50, 20000)
    return objective, objective.make_output({"words": WORDS})


def test_loss_against_numpy(vectors, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    objective, output = build(vectors)
    measured = objective.measure(docs, output, numpy.random.default_rng(0), is_train=False)
    masked, at, targets = objective.mask(docs, output, numpy.random.default_rng(0))
    rows = numpy.concatenate(objective.backbone.predict(masked))
    weights, bias = (p.detach().numpy() for p in output.linear.parameters())
    total = 0.0
    for i, word in zip(at, targets, strict=True):
        logits = weights @ rows[i] + bias
        total -= logits[word] - numpy.log(numpy.exp(logits).sum())
    assert measured.count == len(at) > 3
    assert abs(measured.total - total) <= 1e-4


def test_gradients_against_differences(vectors, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    objective, output = build(vectors)
    objective.measure(docs, output, numpy.random.default_rng(0), is_train=True).backprop()
    node = next(n for n in objective.backbone.walk() if n.has_param("W") and n.has_grad("W"))
    weights, gradient = node.get_param("W"), node.get_grad("W").copy()
    at = numpy.unravel_index(numpy.abs(gradient).argmax(), gradient.shape)
    losses = []
    for step in (1e-3, -2e-3):
        weights[at] += step
        losses.append(objective.measure(docs, output, numpy.random.default_rng(0), is_train=False).mean)
    assert abs((losses[0] - losses[1]) / 2e-3 - gradient[at]) <= 1e-2 * abs(gradient[at]) + 1e-4


def test_a_masked_word_is_hidden(vectors, nlp):
    """Docs that differ in what is masked alone give the same rows."""
    objective, output = build(vectors, Masking(1.0, 0.0, 0.0))
    docs, others = [nlp.make_doc("the cat sings")], [nlp.make_doc("a dog sings")]
    masked, at, _ = objective.mask(docs, output, numpy.random.default_rng(0))
    other, _, _ = objective.mask(others, output, numpy.random.default_rng(0))
    assert numpy.array_equal(*(objective.backbone.predict(found)[0] for found in (masked, other)))
    assert [t.text for t in masked[0]] == [MASK, MASK, "sings"] and list(at) == [0, 1]
    assert [t.text for t in docs[0]] == ["the", "cat", "sings"]


def test_frequent_words(tmp_path):
    (tmp_path / "raw.txt").write_text("b a a c c c\nc a b\nd")
    reader = create_raw_text_v1(path=tmp_path / "raw.txt", held_out=0.0)
    list(reader(spacy.blank("en")))
    assert frequent_words(reader, 3, "x") == ["c", "a", "b"]
    with pytest.raises(ValueError, match="T829"):
        frequent_words(None, 3, "x")
    with pytest.raises(ValueError, match="T831"):
        frequent_words(reader, 1, "x")


def test_adaptive_softmax_learns_as_well():
    torch.manual_seed(0)
    softmax = WordSoftmax(8, [str(i) for i in range(100)], adaptive_from=100)
    assert softmax.linear is None
    targets = torch.arange(200) % 100
    rows = torch.randn(100, 8)[targets]
    optimizer, losses = torch.optim.Adam(softmax.parameters(), 0.1), []
    for _ in range(30):
        loss = softmax(rows, targets)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_it_learns_by_spacy_pretrain(vectors, tmp_path):
    (tmp_path / "raw.txt").write_text("\n".join(f"the cat sings of a dog {i % 9}" for i in range(200)))
    backbone = f'''@architectures = "spacy-transfer.VectorsBackbone.v1"
source = "{vectors}"
[components.transfer_backbone.model.context]
@architectures = "spacy-transfer.CNNContext.v1"
width = 12
depth = 2'''
    log = tmp_path / "log.jsonl"
    files = [
        run(tmp_path / name, tmp_path / "raw.txt", backbone, f'{OBJECTIVE}\nlog = "{log}"', epochs=6) for name in "ab"
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    losses = [line["held_out_loss"] for line in srsly.read_jsonl(log)]
    assert losses[6] < 0.7 * losses[0]


def test_spacys_own_encoder_can_be_pretrained(tmp_path):
    """A tok2vec that is none of ours, and a file that spaCy loads."""
    (tmp_path / "raw.txt").write_text("\n".join(f"the cat sings of a dog {i % 9}" for i in range(60)))
    backbone = """@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 12
depth = 1
embed_size = 50
window_size = 1
maxout_pieces = 2
subword_features = true"""
    file = run(tmp_path / "out", tmp_path / "raw.txt", backbone, OBJECTIVE)
    shape = {"width": 12, "depth": 1, "embed_size": 50, "window_size": 1, "maxout_pieces": 2}
    model: Model = build_hash_embed_cnn_tok2vec(pretrained_vectors=None, subword_features=True, **shape)
    model.initialize(X=[spacy.blank("en")("a doc")])
    doc = spacy.blank("en")("the cat")
    before = model.predict([doc])[0]
    model.from_bytes(file.read_bytes())
    assert not numpy.allclose(model.predict([doc])[0], before)
