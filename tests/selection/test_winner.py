"""The config with a candidate in it."""

from spacy.util import load_config, load_model_from_config
from thinc.api import Config

from spacy_transfer.selection.candidates import own_candidate
from spacy_transfer.selection.winner import with_candidate, write_config

from .tasks import config_of

NAME = "transfer_backbone"
VECTORS = {"@architectures": "spacy-transfer.VectorsBackbone.v1", "source": "x"}


def config():
    found = Config(config_of(["transfer_textcat", "tagger"], "x"))
    found["paths"]["source"] = "given"
    found["components"][NAME]["model"]["source"] = "${paths.source}"
    found["initialize"]["components"] = {NAME: {"pretrained": "file.bin"}}
    return found


def test_the_own_backbone_keeps_its_variables(tmp_path):
    block = {**config().interpolate()["components"][NAME]["model"], "depth": 1}
    found = with_candidate(config(), NAME, block, True, {"transfer_textcat": ("max", "mean"), "tagger": ("tokens",)})
    write_config(found, tmp_path / "best.cfg")
    written = load_config(tmp_path / "best.cfg")
    model = written["components"][NAME]["model"]
    assert model["source"] == "${paths.source}" and model["depth"] == 1 and model["document"] == "mean"
    assert written["components"]["transfer_textcat"]["model"]["pooling"] == ["max", "mean"]
    assert written["initialize"]["components"][NAME]["pretrained"] == "file.bin"
    nlp = load_model_from_config(written.interpolate(), auto_fill=False)
    assert nlp.pipe_names == [NAME, "transfer_textcat", "tagger"]


def test_the_top_layers_of_the_own_backbone():
    before = config()
    before["components"][NAME]["model"]["layers"] = 3
    own = own_candidate({**before.interpolate()["components"][NAME]["model"], "depth": None})
    layers = [with_candidate(before, NAME, own.at(at), True, {})["components"][NAME]["model"] for at in (None, 2, 1)]
    assert [model["layers"] for model in layers] == [3, 2, "last"]


def test_another_backbone_takes_the_place_of_the_block():
    before = config()
    found = with_candidate(before, NAME, VECTORS, False, {"transfer_textcat": ("mean",), "tagger": ("tokens",)})
    assert found["components"][NAME]["model"] == VECTORS
    assert "pretrained" not in found["initialize"]["components"][NAME]
    assert before["components"][NAME]["model"] != VECTORS


def test_document_rows():
    block = config().interpolate()["components"][NAME]["model"]
    found = with_candidate(config(), NAME, block, True, {"transfer_textcat": ("document cls",)})
    assert found["components"][NAME]["model"]["document"] == "cls"
    listener = found["components"]["transfer_textcat"]["model"]["tok2vec"]
    assert listener["@architectures"] == "spacy-transfer.DocumentListener.v1" and listener["upstream"] == "*"
    back = with_candidate(found, NAME, block, True, {"transfer_textcat": ("first",)})
    listener = back["components"]["transfer_textcat"]["model"]["tok2vec"]
    assert listener["@architectures"] == "spacy-transfer.Listener.v1"
