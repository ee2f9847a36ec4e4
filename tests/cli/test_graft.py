"""`python -m spacy transfer graft`: each head predicts what it did, bit for bit; else it says what differs.

Guards also: pipeline/labels/graft.py.
"""

import json
from types import SimpleNamespace

import pytest
import spacy
from spacy.cli import app
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.util import registry
from thinc.api import Config
from typer.testing import CliRunner

import spacy_transfer
from spacy_transfer.cli.graft import graft_cli  # noqa: F401 (hangs the command on spaCy's)

from ..pipeline.labels.test_edit import TEXTS as SHORT
from ..pipeline.labels.test_edit import gold, train
from ..pipelines import LISTENER, NER, TAGGER, TEXTCAT, backbone_config
from ..training import ADAMW, CONFIG

STOCK = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
DOCUMENT = {"@architectures": "spacy-transfer.DocumentListener.v1"}
HEAD = {"@architectures": "spacy-transfer.TextCatHead.v1", "pooling": ["mean", "attention"]}
HEADS = {
    "ner": ("ner", {**NER, "tok2vec": STOCK}),
    "tagger": ("tagger", {**TAGGER, "tok2vec": STOCK}),
    "tagger_ours": ("tagger", {**TAGGER, "tok2vec": {**LISTENER, "upstream": "transfer_backbone"}}),
    "transfer_textcat": ("transfer_textcat", {**HEAD, "tok2vec": LISTENER}),
    "document": ("transfer_textcat", {**HEAD, "tok2vec": DOCUMENT}),
    "textcat": ("textcat", {**TEXTCAT, "tok2vec": STOCK}),
}
SMALL = {
    "depth": 1,
    "embed_size": 50,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
    "pretrained_vectors": None,
}
TEXTS = [*SHORT, "", "   ", "dogs see the big cat here and a car drives on", "x " * 60, "Ünïcode\n😀 cats"]


def make(source, *heads, backbone="transfer_backbone", frozen=True, steps=4, labels="ABC", **settings):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    config = {**backbone_config(source, **settings), "frozen": frozen}
    nlp.add_pipe("transfer_backbone", name=backbone, config=config)
    for head in heads:
        factory, model = HEADS[head]
        if backbone != "transfer_backbone" and "upstream" in model.get("tok2vec", {}):
            model = {**model, "tok2vec": {**model["tok2vec"], "upstream": backbone}}
        nlp.add_pipe(factory, name=head, config={"model": model})
    examples = [Example.from_dict(nlp.make_doc(text), gold(nlp.make_doc(text), labels)) for text in SHORT]
    nlp.initialize(lambda: examples)
    train(nlp, examples, steps)
    return nlp


@pytest.fixture(scope="module")
def pipelines(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    make(tiny_bert, "ner").to_disk(folder / "base")
    make(tiny_bert, "tagger", "transfer_textcat", backbone="other", max_batch_items=512).to_disk(folder / "two")
    make(tiny_bert, "document", labels="XYZ").to_disk(folder / "three")
    make(tiny_bert, "tagger_ours", "textcat", labels="PQR").to_disk(folder / "four")
    tuned = make(tiny_bert, "tagger", steps=0)
    layer = tuned.get_pipe("transfer_backbone").model.shims[0].encoder.transformer.encoder.layer[1]
    layer.output.dense.bias.data[3] += 0.5
    tuned.to_disk(folder / "tuned")
    make(tiny_bert, "tagger", window=48, pooling="first", steps=0).to_disk(folder / "settings")
    return folder


def run(pipelines, *arguments):
    given = [str(pipelines / part) if (pipelines / part).exists() or part == "out" else part for part in arguments]
    result = CliRunner().invoke(app, ["transfer", "graft", *map(str, given)])
    # Where lines break depends on how long the paths in them are.
    return SimpleNamespace(exit_code=result.exit_code, output=" ".join(result.output.split()))


def what(doc):
    ents = [(ent.start, ent.end, ent.label_) for ent in doc.ents]
    return {"tags": [token.tag_ for token in doc], "ents": ents, "cats": doc.cats}


def test_every_head_predicts_what_it_did(pipelines, tmp_path):
    result = run(pipelines, "base", "two", "three", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "tagger" in result.output and "document" in result.output
    joined = spacy.load(tmp_path / "out")
    assert joined.pipe_names == ["transfer_backbone", "ner", "tagger", "transfer_textcat", "document"]
    listening = joined.get_pipe("transfer_backbone").listening_components
    assert listening == ["ner", "tagger", "transfer_textcat", "document"]
    alone = [spacy.load(pipelines / name) for name in ("base", "two", "three")]
    for way in (lambda nlp: list(nlp.pipe(TEXTS)), lambda nlp: [nlp(text) for text in TEXTS]):
        each = [way(nlp) for nlp in (joined, *alone)]
        for doc, base, two, three in zip(*each, strict=True):
            wanted = {**what(base), "tags": what(two)["tags"], "cats": {**two.cats, **three.cats}}
            assert what(doc) == wanted
            assert doc.tensor.tobytes() == base.tensor.tobytes()
    assert {label for doc in joined.pipe(TEXTS) for label in doc.cats} == set("ABCXYZ")


def test_rows_are_computed_once(pipelines, tmp_path, monkeypatch):
    run(pipelines, "base", "two", tmp_path / "out")
    joined = spacy.load(tmp_path / "out")
    encoder, calls = joined.get_pipe("transfer_backbone").model.shims[0].encoder, []
    encoder.register_forward_hook(lambda *args: calls.append(1))
    list(joined.pipe(SHORT))
    assert len(calls) == 1


def test_what_is_joined_trains_on(pipelines, tmp_path):
    """By spaCy's own config, with components sourced from the joined pipeline."""
    run(pipelines, "base", "two", tmp_path / "out")
    nlp = spacy.load(tmp_path / "out")
    docs = [Example.from_dict(nlp.make_doc(text), gold(nlp.make_doc(text))).reference for text in SHORT]
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    config = Config().from_str(CONFIG + ADAMW, interpolate=False)
    config["paths"]["train"] = str(tmp_path / "train.spacy")
    config["nlp"]["pipeline"] = list(nlp.pipe_names)
    config["components"] = {name: {"source": str(tmp_path / "out")} for name in nlp.pipe_names}
    again = init_nlp(config)
    assert [what(doc) for doc in again.pipe(TEXTS)] == [what(doc) for doc in nlp.pipe(TEXTS)]
    losses = {}
    examples = [Example(again.make_doc(doc.text), doc) for doc in docs]
    train(again, examples, 2)
    again.update(examples, sgd=False, losses=losses)
    assert all(losses[name] > 0 for name in ("ner", "tagger", "transfer_textcat"))
    fresh = Config().from_disk(tmp_path / "out" / "config.cfg")
    assert fresh["components"]["tagger"]["model"]["tok2vec"]["upstream"] == "transfer_backbone"


def test_names_that_clash(pipelines, tmp_path):
    result = run(pipelines, "two", "base", "tuned", "--rename", "tagger=tags", tmp_path / "out")
    assert result.exit_code == 1 and "T751" in result.output
    result = run(pipelines, "base", "base", tmp_path / "out")
    assert result.exit_code == 1 and "T752" in result.output and "--rename ner=OTHER" in result.output
    result = run(pipelines, "base", "base", "base", "--rename", "1:ner=one", "--rename", "2:ner=two", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert spacy.load(tmp_path / "out").pipe_names == ["transfer_backbone", "ner", "one", "two"]
    result = run(pipelines, "base", "two", "--take", "tagger", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert spacy.load(tmp_path / "out").pipe_names == ["transfer_backbone", "ner", "tagger"]


def test_what_differs_is_said_and_nothing_is_written(pipelines, tmp_path, tiny_bert):
    said = run(pipelines, "base", "tuned", tmp_path / "out").output
    assert "T751" in said and "layer 1 5.0e-01" in said and "layer 0" not in said and "embeddings" not in said
    said = run(pipelines, "base", "settings", tmp_path / "out").output
    assert "model.pooling: 'mean' and 'first'" in said and "model.window: 32 and 48" in said
    assert "largest difference" not in said
    assert not list(tmp_path.iterdir())


def test_widths_and_adapters_and_tokenizers(pipelines, tmp_path, tiny_bert):
    from transformers import BertConfig, BertModel, BertTokenizerFast

    BertModel(
        BertConfig(
            vocab_size=61,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=64,
        )
    ).save_pretrained(tmp_path / "narrow")
    BertTokenizerFast.from_pretrained(tiny_bert).save_pretrained(tmp_path / "narrow")
    make(str(tmp_path / "narrow"), "tagger_ours", steps=0).to_disk(tmp_path / "a")
    assert "width of the rows: 16 and 8" in run(pipelines, "base", tmp_path / "a", tmp_path / "out").output
    tuning = {"@misc": "spacy-transfer.Tuning.v1", "adapter": {"method": "lora", "r": 2, "target_modules": ["query"]}}
    make(tiny_bert, "tagger", frozen=False, steps=1, tuning=tuning).to_disk(tmp_path / "b")
    assert "adapter: none and one" in run(pipelines, "base", tmp_path / "b", tmp_path / "out").output
    nlp = make(tiny_bert, "tagger", steps=0)
    nlp.tokenizer.add_special_case("cats", [{"ORTH": "cat"}, {"ORTH": "s"}])
    nlp.to_disk(tmp_path / "c")
    assert "T757" in (said := run(pipelines, "base", tmp_path / "c", tmp_path / "out").output) and "tokenizer" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["base", "out"], "T754"),
        (["base", "no/such", "out"], "T756"),
        (["base", "two", "--rename", "tagger", "out"], "T754"),
        (["base", "two", "--rename", "tager=x", "out"], "T754"),
        (["base", "two", "--take", "tager", "out"], "T754"),
        (["blank", "two", "out"], "T753"),
        (["base", "blank", "out"], "T755"),
    ],
)
def test_errors(pipelines, tmp_path, arguments, says):
    if "blank" in arguments:
        spacy.blank("en").to_disk(pipelines / "blank")
    result = run(pipelines, *arguments[:-1], tmp_path / arguments[-1])
    is_usage = says == "T756" or (says == "T754" and "tager" not in " ".join(arguments))
    assert result.exit_code == (2 if is_usage else 1) and says in result.output, result.output
    assert not (tmp_path / "out").exists()


def test_a_head_with_its_own_encoder_comes_along(pipelines, tmp_path, tiny_bert):
    nlp = make(tiny_bert, "tagger")
    nlp.replace_listeners("transfer_backbone", "tagger", ["model.tok2vec"])
    nlp.remove_pipe("transfer_backbone")
    nlp.to_disk(tmp_path / "own")
    wanted = [[token.tag_ for token in doc] for doc in nlp.pipe(SHORT)]
    result = run(pipelines, "base", tmp_path / "own", tmp_path / "out")
    assert result.exit_code == 0 and "its own" in result.output, result.output
    assert [[token.tag_ for token in doc] for doc in spacy.load(tmp_path / "out").pipe(SHORT)] == wanted


def test_stock_tok2vec_is_a_backbone_too(tmp_path, pipelines):
    """The encoder of a pipeline without anything of ours."""

    def stock(head, seed):
        spacy.util.fix_random_seed(seed)
        nlp = spacy.blank("en")
        nlp.add_pipe("tok2vec", config={"model": {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, **SMALL}})
        nlp.add_pipe(head, config={"model": {"tok2vec": STOCK}})
        examples = [Example.from_dict(nlp.make_doc(text), gold(nlp.make_doc(text))) for text in SHORT]
        nlp.initialize(lambda: examples)
        return nlp

    one = stock("tagger", 0)
    one.to_disk(tmp_path / "one")
    two = stock("ner", 1)
    two.to_disk(tmp_path / "two")
    said = run(pipelines, tmp_path / "one", tmp_path / "two", tmp_path / "out").output
    assert "T751" in said and "weights, largest difference" in said
    two.get_pipe("tok2vec").from_bytes(one.get_pipe("tok2vec").to_bytes())
    two.to_disk(tmp_path / "two")
    wanted = [what(doc)["ents"] for doc in two.pipe(TEXTS)]
    assert run(pipelines, tmp_path / "one", tmp_path / "two", tmp_path / "out").exit_code == 0
    assert [what(doc)["ents"] for doc in spacy.load(tmp_path / "out").pipe(TEXTS)] == wanted


def test_the_command_is_found_by_spacy():
    """spaCy imports what stands in that registry."""
    assert registry.cli.get("transfer_graft").__name__ == "spacy_transfer.cli.graft"
    out = CliRunner().invoke(app, ["transfer", "graft", "--help"]).output
    assert "--rename" in out and "--take" in out


def test_initialize_blocks_come_along(pipelines, tmp_path, tiny_bert):
    nlp = make(tiny_bert, "tagger", steps=0)
    nlp.config["initialize"]["components"]["tagger"] = {"labels": ["A", "B", "C"]}
    nlp.to_disk(tmp_path / "one")
    assert run(pipelines, "base", tmp_path / "one", tmp_path / "out", "--rename", "tagger=tags").exit_code == 0
    config = Config().from_disk(tmp_path / "out" / "config.cfg")
    assert config["initialize"]["components"]["tags"] == {"labels": ["A", "B", "C"]}
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["pipeline"][-1] == "tags"


def test_in_code_and_by_another_name(pipelines, tiny_bert):
    """A head that named its backbone listens to the one of another name, at once."""
    nlp, base = make(tiny_bert, "tagger_ours", backbone="other"), spacy.load(pipelines / "base")
    wanted = [[token.tag_ for token in doc] for doc in nlp.pipe(TEXTS)]
    (joined,) = spacy_transfer.graft(base, {"x": nlp})
    assert (joined.component, joined.backbone) == ("tagger_ours", "transfer_backbone")
    assert base.get_pipe("transfer_backbone").listening_components == ["ner", "tagger_ours"]
    assert [[token.tag_ for token in doc] for doc in base.pipe(TEXTS)] == wanted
