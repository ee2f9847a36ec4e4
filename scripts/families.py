"""What each family of encoders can do: tiny random models of all that the installed transformers has, measured.

Usage: python scripts/families.py [FAMILY ...] [--write docs/families.md]
"""

import argparse
import os
import re
import warnings
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from spacy_transfer.backbones.shims.torch_tuning import TuningShim
from spacy_transfer.backbones.transformer.layers.layer_split import can_split
from spacy_transfer.backbones.transformer.layers.module_tree import attention_layers
from spacy_transfer.backbones.transformer.packing.trial_pass import find_way
from spacy_transfer.backbones.transformer.probes import (
    check_autocast,
    check_input,
    rows_depend_on_neighbours,
    rows_depend_on_padding,
    run,
    sample,
    switch_on_checkpointing,
)
from spacy_transfer.tuning.adapters import inject
from spacy_transfer.tuning.optimizers import adamw_v1
from spacy_transfer.tuning.policy import build_tuning_v1

VOCABULARY = 40
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 48,
    "embedding_size": 16,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "cls_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
}
ROBERTA = {"pad_token_id": 1, "max_position_embeddings": 66}
ONE_GROUP = {f"{part}_groups": 1 for part in ("q", "k", "v", "post_attention", "intermediate", "output")}
# What a family's config takes beside the sizes, by transformers' model_type.
FAMILIES: dict[str, dict[str, Any]] = {
    "albert": {},
    "bert": {},
    "bert-generation": {},
    "big_bird": {},
    "biogpt": {},
    "bloom": {},
    "camembert": ROBERTA,
    "canine": {},
    "codegen": {"rotary_dim": 4, "num_attention_heads": 4},
    "cohere": {},
    "convbert": {},
    "data2vec-text": ROBERTA,
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "norm_rel_ebd": "layer_norm"},
    "distilbert": {"hidden_dim": 48},
    "electra": {},
    "ernie": {},
    "ernie_m": {},
    "esm": {},
    "eurobert": {},
    "falcon": {},
    "flaubert": {"pad_index": 0},
    "fnet": {},
    "funnel": {"block_sizes": [2, 1], "num_decoder_layers": 1, "d_head": 16, "d_inner": 48},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {"sliding_window": 4},
    "glm": {},
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"num_layers": 3, "attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 4},
    "gpt_neox": {},
    "gptj": {"rotary_dim": 8},
    "granite": {},
    "gte": {},
    "ibert": ROBERTA,
    "jina_embeddings_v3": {},
    "layoutlm": {"max_2d_position_embeddings": 16},
    "llama": {},
    "longformer": {**ROBERTA, "attention_window": [4, 4, 4]},
    "luke": {**ROBERTA, "entity_vocab_size": 10, "entity_emb_size": 16},
    "mega": {},
    "megatron-bert": {},
    "mistral": {"sliding_window": 4},
    "mobilebert": {"intra_bottleneck_size": 16, "true_hidden_size": 16},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 4},
    "mpnet": ROBERTA,
    "mpt": {},
    "mra": {},
    "nezha": {},
    "nomic_bert": {},
    "nystromformer": {},
    "olmo2": {},
    "openai-gpt": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 16},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen3": {},
    "reformer": {
        "axial_pos_embds": False,
        "attention_head_size": 16,
        "attn_layers": ["local", "lsh", "local"],
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
        "feed_forward_size": 48,
    },
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": ROBERTA,
    "roberta-prelayernorm": ROBERTA,
    "roc_bert": {"pronunciation_vocab_size": 10, "shape_vocab_size": 10},
    "roformer": {},
    "smollm3": {},
    "squeezebert": {"embedding_size": 32, **ONE_GROUP},
    "stablelm": {},
    "starcoder2": {},
    "xglm": {"ffn_dim": 48},
    "xlm": {"pad_index": 0},
    "xlm-roberta": ROBERTA,
    "xlm-roberta-xl": ROBERTA,
    "xlnet": {"d_model": 32, "n_head": 2, "d_inner": 48},
    "xmod": {**ROBERTA, "languages": ["en_XX", "de_DE"], "default_language": "en_XX"},
    "yoso": {},
}
INSTALLED = [name for name in FAMILIES if name in MODEL_MAPPING_NAMES]
COLUMNS = ("family", "freeze, layer_decay", "LoRA by default", "checkpointing", "bf16", "states kept", "packed", "rows")


def build(family: str, **settings: Any) -> Any:
    """RETURNS (nn.Module): A random encoder with 3 layers of width 32, without dropout.

    family (str): A model_type of transformers.
    settings (Any): Of its config.
    """
    plain = transformers.AutoConfig.for_model(family)
    known = {*plain.to_dict(), *getattr(plain, "attribute_map", {})}
    drops = {key: 0.0 for key, value in plain.to_dict().items() if "drop" in key and type(value) in (int, float)}
    sizes = {key: value for key, value in SIZES.items() if key in known}
    config: Any = transformers.AutoConfig.for_model(family, **{**sizes, **drops, **FAMILIES[family], **settings})
    kinds = MODEL_MAPPING_NAMES[family]
    torch.manual_seed(0)
    return getattr(transformers, kinds if isinstance(kinds, str) else kinds[0])(config).eval()


def train(family: str, n_steps: int = 3, **tuning: Any) -> tuple[TuningShim, set[str]]:
    """Train a random encoder for some steps, toward nothing in particular.

    family (str): A model_type of transformers.
    n_steps (int): Steps.
    tuning (Any): Settings of `spacy-transfer.Tuning.v1`.
    RETURNS (Tuple[TuningShim, Set[str]]): What tunes it, and names of the parameters that are other numbers now.
    """
    encoder, optimizer = build(family), adamw_v1(learn_rate=0.01)
    shim = TuningShim(build_tuning_v1(**tuning), encoder)
    shim.prepare_encoder(encoder, None)
    shim.apply_tuning()
    shim.check_layers()
    before = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}
    inputs = sample(encoder, [13])
    for _ in range(n_steps):
        shim.prepare_step(1)
        states = run(encoder, inputs)
        if states.requires_grad:
            (states * torch.linspace(-1, 1, states.shape[-1])).square().sum().backward()
        shim.finish_update(optimizer)
    return shim, {name for name, p in encoder.named_parameters() if not torch.equal(p, before[name])}


def can_freeze(family: str) -> str:
    """RETURNS (str): Whether what is frozen stays as it is and the rest moves: "yes", "as one" where all layers share
    their weights, or "no"."""
    _, movable = train(family)
    try:
        shim, moved = train(family, freeze=1)
    except ValueError:
        return "no"
    policy = shim.policy
    assert policy is not None
    table = next(name for name, p in shim._model.named_parameters() if p is shim._model.get_input_embeddings().weight)
    if table not in policy.frozen or moved != movable - policy.frozen:
        return "no"
    return "yes" if policy.n_layers > 1 else "as one"


def lora_targets(family: str) -> str:
    """RETURNS (str): Which modules an adapter goes into if none are named, or "no"."""
    encoder = build(family)
    try:
        found = inject(encoder, {"method": "lora", "r": 2}, attention_layers(encoder))["target_modules"]
    except ValueError:
        return "no"
    return ", ".join(sorted({name.rpartition(".")[2] for name in found}))


def can_checkpoint(family: str) -> str:
    """RETURNS (str): Whether layers are computed twice in training, and give the same gradients."""
    encoder = build(family)
    try:
        switch_on_checkpointing(encoder)
    except ValueError:
        return "no"
    return "yes"


def computes_bf16(family: str) -> str:
    """RETURNS (str): Whether the encoder's own code knows autocast to bfloat16."""
    try:
        check_autocast(build(family), torch.autocast("cpu", dtype=torch.bfloat16), "bf16")
    except ValueError:
        return "no"
    return "yes"


def rows(family: str) -> str:
    """RETURNS (str): Of which batches a text's rows are independent: "any batch", "equal lengths", or "no"."""
    encoder = build(family)
    if not rows_depend_on_padding(encoder):
        return "any batch"
    return "no" if rows_depend_on_neighbours(encoder) else "equal lengths"


def is_usable(family: str) -> bool:
    """RETURNS (bool): Whether the encoder can be run on word pieces alone."""
    try:
        check_input(build(family))
    except ValueError:
        return False
    return True


def measure(family: str) -> tuple[str, ...]:
    """RETURNS (Tuple[str, ...]): One line of the table, by COLUMNS.

    family (str): A model_type of transformers.
    """
    refused = None if is_usable(family) else "T140"
    found = "" if refused else rows(family)
    if refused or found == "no":
        return (family, *["-"] * (len(COLUMNS) - 2), f"refused ({refused or 'T143'})")
    encoder = build(family)
    kept, packed = ("yes" if is_so else "no" for is_so in (can_split(encoder), find_way(encoder) is not None))
    abilities = (can_freeze(family), lora_targets(family), can_checkpoint(family), computes_bf16(family), kept, packed)
    return (family, *abilities, found)


def table(families: list[str]) -> str:
    """RETURNS (str): The table in Markdown.

    families (List[str]): Its lines.
    """
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(measure(family) for family in families)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help="model_type of transformers; all if none is given")
    parser.add_argument("--write", type=Path, help="the page whose table is to be made anew")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    found = table(arguments.families or INSTALLED)
    if arguments.write is None:
        print(found)
        return
    page = arguments.write.read_text(encoding="utf8")
    head, rest = page.split("<!-- table -->\n")[0], page.split("<!-- end of table -->")[1]
    head = re.sub(r"transformers \d+\.\d+\.\d+", f"transformers {transformers.__version__}", head)
    arguments.write.write_text(f"{head}<!-- table -->\n{found}\n<!-- end of table -->{rest}", encoding="utf8")


if __name__ == "__main__":
    main()
