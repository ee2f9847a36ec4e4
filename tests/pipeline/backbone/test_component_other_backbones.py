"""Stock heads on word vectors, another pipeline's encoder and a fresh one: in worker processes, and after saving."""

import numpy
import pytest
import spacy
from spacy.training import Example
from thinc.api import Adam

from ...pipelines import HEADS, TEXTS, make_examples, step

WORDS = sorted({word for text in TEXTS for word in text.split()})


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A file of vectors and a pipeline with a tok2vec, both of width 16."""
    folder = tmp_path_factory.mktemp("sources")
    rows = numpy.random.default_rng(0).normal(size=(len(WORDS), 16))
    lines = [" ".join([word, *map(str, row)]) for word, row in zip(WORDS, rows, strict=True)]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "tok2vec",
        config={
            "model": {
                "@architectures": "spacy.HashEmbedCNN.v2",
                "width": 16,
                "depth": 2,
                "embed_size": 50,
                "window_size": 1,
                "maxout_pieces": 2,
                "subword_features": True,
                "pretrained_vectors": None,
            }
        },
    )
    nlp.initialize(lambda: [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in TEXTS])
    nlp.to_disk(folder / "pipeline")
    return folder


CONTEXT = {"@architectures": "spacy-transfer.BiLSTMContext.v1", "width": 16}
BACKBONES = {
    "vectors": ("spacy-transfer.VectorsBackbone.v1", "vectors.txt", {"finetune": True}),
    "bilstm": ("spacy-transfer.VectorsBackbone.v1", "vectors.txt", {"context": CONTEXT}),
    "pipeline": ("spacy-transfer.PipelineBackbone.v1", "pipeline", {}),
    "hash": ("spacy-transfer.HashEmbedBackbone.v1", None, {"width": 16, "rows": [50] * 4, "context": CONTEXT}),
}


def build(sources, kind, heads):
    spacy.util.fix_random_seed(0)
    name, source, more = BACKBONES[kind]
    nlp = spacy.blank("en")
    model = {"@architectures": name, **({} if source is None else {"source": str(sources / source)}), **more}
    nlp.add_pipe("transfer_backbone", config={"model": model})
    for head in heads:
        config = {"min_action_freq": 1} if head == "parser" else {}
        nlp.add_pipe(head, config={**config, "model": HEADS[head]})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp, examples, Adam(0.01, L2=0.0)


def probe(nlp):
    """The rows of a text: they change when the backbone has learned."""
    return nlp.get_pipe("transfer_backbone").predict([nlp.make_doc(TEXTS[2])]).rows[0].copy()


@pytest.mark.parametrize("kind", sorted(BACKBONES))
@pytest.mark.parametrize("head", sorted(HEADS))
def test_stock_heads_learn_and_reach_the_backbone(sources, kind, head):
    nlp, examples, optimizer = build(sources, kind, [head])
    before = probe(nlp)
    losses = [step(nlp, examples, optimizer)[head] for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    assert numpy.abs(probe(nlp) - before).max() > 1e-3


@pytest.mark.parametrize("kind", sorted(BACKBONES))
def test_saved_copied_and_in_two_processes(sources, kind, tmp_path):
    nlp, examples, optimizer = build(sources, kind, ["tagger", "textcat"])
    for _ in range(3):
        step(nlp, examples, optimizer)
    texts = [*TEXTS * 4, "", "unheard words"]
    expected = list(nlp.pipe(texts))
    nlp.to_disk(tmp_path)
    for other in (spacy.load(tmp_path), spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())):
        for doc, wanted in zip(other.pipe(texts), expected, strict=True):
            assert doc.tensor.tobytes() == wanted.tensor.tobytes()
            assert doc.cats == wanted.cats
    for doc, wanted in zip(nlp.pipe(texts, n_process=2, batch_size=5), expected, strict=True):
        assert [t.tag_ for t in doc] == [t.tag_ for t in wanted]
        numpy.testing.assert_allclose(list(doc.cats.values()), list(wanted.cats.values()), atol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "pipeline"])
def test_a_backbone_inside_a_head_gives_the_same_rows_before_and_after_loading(sources, kind, tmp_path, monkeypatch):
    """A copy of a Thinc model, and one that comes back from a GPU, has Thinc's own ops."""
    # So wide that the last bits depend on who multiplies.
    cnn = {"@architectures": "spacy-transfer.CNNContext.v1", "width": 128}
    monkeypatch.setitem(BACKBONES, "cnn", (*BACKBONES["vectors"][:2], {"context": cnn}))
    nlp, examples, optimizer = build(sources, kind, ["textcat"])
    for _ in range(3):
        step(nlp, examples, optimizer)
    text = " ".join(TEXTS * 8)
    before = nlp(text).cats
    nlp.get_pipe("transfer_backbone").model.to_cpu()
    assert nlp(text).cats == before
    nlp.replace_listeners("transfer_backbone", "textcat", ["model.tok2vec"])
    nlp.remove_pipe("transfer_backbone")
    assert nlp(text).cats == before
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path)(text).cats == before
