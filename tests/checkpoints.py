"""Tiny classifiers as transformers saves them, with random weights."""

import json

import torch

from .tiny_tokenizers import write_bert_tokenizer, write_byte_tokenizer

LABELS = ["sport", "trade", "art"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
POSITIONS = 64
# By the name in front of transformers' classes: what its config takes beside the sizes.
KINDS = {
    "Bert": {},
    "Roberta": {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1, "type_vocab_size": 1},
    "DistilBert": {},
    "Electra": {"embedding_size": 8},
    "Albert": {"embedding_size": 8},
    "ModernBert": {
        "pad_token_id": 0,
        "global_attn_every_n_layers": 2,
        "local_attention": 8,
        "classifier_pooling": "mean",
    },
    "MPNet": {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1},
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["c2p"], "pooler_hidden_size": 16},
}


def write_checkpoint(folder, kind="Bert", task="SequenceClassification", labels=LABELS, lowercase=True, **settings):
    """Save a classifier.

    folder (Path): Where to.
    kind (str): One of KINDS.
    task (str): End of the class's name, after "For".
    labels (Sequence[str]): Its labels.
    lowercase (bool): Of the tokenizer.
    settings (Any): Of its config.
    RETURNS (str): The folder.
    """
    import transformers

    if kind == "Roberta":
        size = write_byte_tokenizer(folder)
    else:
        size = write_bert_tokenizer(folder, lowercase)
    if kind in ("DistilBert", "ModernBert", "MPNet"):
        edit_config(folder, "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    common = {"vocab_size": size, "max_position_embeddings": POSITIONS, "initializer_range": 0.3}
    sizes = SIZES
    if kind == "DistilBert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    config = getattr(transformers, f"{kind}Config")(**{**common, **sizes, **names, **KINDS[kind], **settings})
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}For{task}")(config)
    with torch.no_grad():
        # What begins at zero would hide that it is not carried.
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
    model.save_pretrained(folder)
    return str(folder)


def edit_config(folder, file="config.json", **settings):
    """Set keys of a file of JSON; None removes them."""
    path = folder / file
    config = json.loads(path.read_text(encoding="utf8")) | settings
    config = {key: value for key, value in config.items() if value is not None}
    path.write_text(json.dumps(config), encoding="utf8")


def to_bin(folder):
    """Put the weights of a folder into a pytorch_model.bin. transformers 4 does so when asked, version 5 never."""
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
