"""What made the pipelines in this folder, with the code of commit 1f3444a: `python tests/saved/make.py`.

Later code must load them and predict what is in `predictions.json`. So run this with that commit's code only:

    git worktree add OLD 1f3444a && PYTHONPATH=OLD python tests/saved/make.py
"""

import json
import shutil
import tempfile
from pathlib import Path

import spacy
import torch
from thinc.api import Adam

from tests.conftest import write_bert_tokenizer
from tests.pipelines import HEADS, backbone_config, make_examples, step

HERE = Path(__file__).parent
TEXTS = ["the cat sees a dog", "a dog", "", "dogs see the big cat here. " * 12]
TRF_LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}
LORA = {"@misc": "spacy-transfer.Tuning.v1", "adapter": {"method": "lora", "r": 2}}
CNN = {"@architectures": "spacy-transfer.CNNContext.v1", "width": 16, "depth": 1}


def bert(folder):
    from transformers import BertConfig, BertModel

    size = write_bert_tokenizer(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    rest = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}
    BertModel(BertConfig(vocab_size=size, max_position_embeddings=64, **sizes, **rest)).save_pretrained(folder)
    return folder


def vectors(path):
    words = sorted({word for text in TEXTS for word in text.split()})
    rows = [[(len(word) * i + ord(word[0])) % 7 / 7 for i in range(16)] for word in words]
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(words, rows, strict=True)]
    path.write_text("\n".join(lines))
    return {"@architectures": "spacy-transfer.VectorsBackbone.v1", "source": str(path), "context": CNN}


def pipelines(room):
    """Names, components with their configs, and the listeners that are replaced in the end."""
    source = bert(room / "bert")
    backbone = backbone_config(source)
    stock = {"model": HEADS["tagger"]}
    regressor = {"attribute": "length", "source": "cats"}
    heads = {"transfer_textcat": {}, "transfer_ner": {}, "transfer_tagger": {}, "transfer_regressor": regressor}
    spans = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 8, "stride": 6}
    drop_in = {"@architectures": "spacy-transfer.TransformerModel.v1", "name": str(source), "get_spans": spans}
    yield "heads", {"transfer_backbone": backbone, **heads}, []
    yield "vectors", {"transfer_backbone": {"model": vectors(room / "words.txt")}, "transfer_textcat": {}}, []
    tagger = {"model": {**HEADS["tagger"], "tok2vec": TRF_LISTENER}}
    yield "dropin", {"transformer": {"model": drop_in}, "tagger": tagger}, []
    yield "adapter", {"transfer_backbone": backbone_config(source, tuning=LORA), "tagger": stock}, []
    replaced = {"transfer_backbone": backbone, "transfer_textcat": {}, "tagger": stock}
    yield "replaced", replaced, ["transfer_textcat", "tagger"]


def make(components, replaced):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    nlp.tokenizer.rules = {}  # Emoticons, 70 kB.
    for name, config in components.items():
        nlp.add_pipe(name, config=config)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.01)
    for _ in range(3):
        step(nlp, examples, optimizer)
    for name in replaced:
        nlp.replace_listeners("transfer_backbone", name, ["model.tok2vec"])
    if replaced:
        nlp.remove_pipe("transfer_backbone")
    return nlp


def predict(nlp):
    """What a pipeline says of `TEXTS`."""
    docs = list(nlp.pipe(TEXTS))
    said = [{"cats": d.cats, "tags": [t.tag_ for t in d], "ents": [[e.text, e.label_] for e in d.ents]} for d in docs]
    for doc, about in zip(docs, said, strict=True):
        about["length"] = doc._.length if doc.has_extension("length") else None
        about["sum"] = float(abs(doc.tensor).sum())
    return said


def main():
    shutil.rmtree(HERE / "pipelines", ignore_errors=True)
    (HERE / "pipelines").mkdir()
    predictions = {}
    with tempfile.TemporaryDirectory() as room:
        for name, components, replaced in pipelines(Path(room)):
            nlp = make(components, replaced)
            nlp.to_disk(HERE / "pipelines" / name)
            predictions[name] = predict(spacy.load(HERE / "pipelines" / name))
    (HERE / "predictions.json").write_text(json.dumps(predictions, indent=1) + "\n")


if __name__ == "__main__":
    main()
