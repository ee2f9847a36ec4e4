"""Candidates: which architecture reads a source, and files of blocks."""

import numpy
import pytest
import spacy
from spacy.util import registry

from spacy_transfer.selection.candidates import (
    PIPELINE,
    TRANSFORMER,
    VECTORS,
    Candidate,
    distinct,
    from_file,
    from_sources,
    own_candidate,
)

from ..pipelines import backbone_config

ENCODER = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 4,
    "depth": 1,
    "embed_size": 10,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
    "pretrained_vectors": None,
}
OWN = {"@architectures": VECTORS, "source": "x", "case": "exact"}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """Folder with a pipeline that has an encoder, one that has vectors, and one that has both."""
    folder = tmp_path_factory.mktemp("pipelines")
    for name, has_vectors, has_encoder in (("enc", False, True), ("vec", True, False), ("both", True, True)):
        nlp = spacy.blank("en")
        if has_vectors:
            nlp.vocab.set_vector("cat", numpy.ones(4, "f"))
        if has_encoder:
            nlp.add_pipe("tok2vec", config={"model": ENCODER})
        nlp.initialize()
        nlp.to_disk(folder / name)
    return folder


def architectures(source, own=OWN):
    found, unread = from_sources([str(source)], own)
    assert not unread
    for candidate in found:
        assert registry.resolve({"model": candidate.block})["model"].name  # Each block builds.
    return [candidate.block["@architectures"] for candidate in found]


def test_the_architecture_is_found_from_the_source(tiny_bert, pipelines, tmp_path):
    (tmp_path / "glove.txt").write_text("cat 1 2\ndog 3 4\n", encoding="utf8")
    assert architectures(tiny_bert) == [TRANSFORMER]
    assert architectures(tmp_path / "glove.txt") == [VECTORS]
    assert architectures(pipelines / "enc") == [PIPELINE]
    assert architectures(pipelines / "vec") == [VECTORS]
    assert architectures(pipelines / "both") == [PIPELINE, VECTORS]


def test_a_pipeline_of_ours_and_model2vec(tiny_bert, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    nlp.initialize(lambda: [spacy.training.Example.from_dict(nlp.make_doc("a"), {})])
    nlp.to_disk(tmp_path / "ours")
    assert architectures(tmp_path / "ours") == [TRANSFORMER]
    (tmp_path / "m2v").mkdir()
    (tmp_path / "m2v" / "config.json").write_text('{"model_type": "model2vec"}', encoding="utf8")
    assert architectures(tmp_path / "m2v") == [VECTORS]


def test_settings_of_the_same_architecture_are_kept(tiny_bert, tmp_path):
    (tmp_path / "glove.txt").write_text("cat 1 2\n", encoding="utf8")
    (vectors,), _ = from_sources([str(tmp_path / "glove.txt")], OWN)
    assert vectors.block == {**OWN, "source": str(tmp_path / "glove.txt")} and not vectors.sweeps
    own = {"@architectures": TRANSFORMER, "source": "x", "depth": 1, "layers": "last", "window": 32}
    (transformer,), _ = from_sources([tiny_bert], own)
    assert transformer.sweeps and "depth" not in transformer.block and transformer.block["window"] == 32
    assert not from_sources([tiny_bert], {**own, "layers": "mix"})[0][0].sweeps


def test_sources_that_cannot_be_read_are_named(tiny_bert):
    found, unread = from_sources(["no/such", tiny_bert, tiny_bert, "package:no_such_package/x"], OWN)
    assert [candidate.name for candidate in found] == [tiny_bert]
    assert [one.name for one in unread] == ["no/such", "package:no_such_package/x"]
    assert "T106" in unread[0].reason and "T103" in unread[1].reason


def test_own_candidates():
    block = {"@architectures": TRANSFORMER, "source": "x", "depth": None, "layers": "last"}
    assert own_candidate(block).sweeps and own_candidate(block).is_own
    assert not own_candidate({**block, "depth": 2}).sweeps and not own_candidate({**block, "layers": "mix"}).sweeps
    assert not own_candidate(OWN).sweeps
    assert own_candidate(block).at(2)["depth"] == 2 and own_candidate(block).at(None) == block


def test_the_top_layers_of_each_depth(tiny_bert):
    block = {"@architectures": TRANSFORMER, "source": "x", "depth": None, "layers": 3}
    own = own_candidate(block)
    assert own.sweeps and own.at(None) == block and from_sources([tiny_bert], block)[0][0].sweeps
    assert [own.at(depth)["layers"] for depth in (1, 2, 3, 4)] == ["last", 2, 3, 3]
    assert [own.at(depth)["depth"] for depth in (1, 4)] == [1, 4] and own.block == block


def test_a_file_of_blocks(tmp_path):
    path = tmp_path / "candidates.cfg"
    path.write_text(f'[a]\n@architectures = "{VECTORS}"\nsource = "x"\n[b]\n@architectures = "y"\n', encoding="utf8")
    found = from_file(path)
    assert [(one.name, one.block["@architectures"], one.sweeps) for one in found] == [
        ("a", VECTORS, False),
        ("b", "y", False),
    ]
    path.write_text("[a]\nsource = 1\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"T886.*\[a\]"):
        from_file(path)
    path.write_text("", encoding="utf8")
    with pytest.raises(ValueError, match="T885.*no section"):
        from_file(path)
    path.write_text("no config", encoding="utf8")
    for broken in (path, tmp_path / "none.cfg", tmp_path):
        with pytest.raises(ValueError, match=rf"T948.*{broken}.*\[NAME\]"):
            from_file(broken)


def test_equal_blocks_and_equal_names():
    one, same = Candidate("a", {"x": 1}), Candidate("b", {"x": 1})
    found = distinct([one, same, Candidate("a", {"x": 2}), Candidate("a", {"x": 3})])
    assert [(candidate.name, candidate.block["x"]) for candidate in found] == [("a", 1), ("a (2)", 2), ("a (3)", 3)]
