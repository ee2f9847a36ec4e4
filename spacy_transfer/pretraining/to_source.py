"""A pretrained file as a source: a folder that transformers loads, or a spaCy pipeline."""

import copy
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import srsly
from spacy.language import Language
from spacy.training.pretrain import get_tok2vec_ref
from spacy.util import load_model_from_config
from thinc.api import Config
from torch import Tensor

from ..backbones.pretrained_weights import PRETRAINING, load_pretrained
from ..backbones.shims.safetensors_shim import load_state
from ..backbones.transformer.pretrained import Pretrained
from ..backbones.transformer.reading.tokenizer_checks import as_transformers
from ..backbones.transformer.transformer_shim import TransformerShim, most_pieces
from ..errors import Errors, Warnings
from ..integrity import seal_folder
from ..tuning.adapters import has_adapter, merge
from ..types import BackboneT
from ..types import Config as Block
from .objectives.language_model import LanguageModelHead
from .objectives.masked_pieces import MaskedPieces
from .objectives.masked_words import transformer_shim

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger("spacy")


def write_source(config: Config, file: Path, folder: Path) -> str:
    """Write a pretrained backbone as a source.

    A transformer becomes a folder for AutoModel, its adapter merged; with the layer of the language model, where it
    was pretrained by masked words, for AutoModelForMaskedLM too. Any other backbone becomes a spaCy pipeline.

    config (Config): The config of the pretraining.
    file (Path): What `spacy pretrain` wrote.
    folder (Path): A folder that does not exist yet.
    RETURNS (str): The architecture that takes the folder as its source.
    RAISES (ValueError): When the folder exists, or the file does not fit the config.
    """
    if folder.exists() or folder.is_symlink():
        raise ValueError(Errors.T390.format(path=folder))
    nlp, backbone = build_backbone(config)
    load_pretrained(backbone, file, "FILE")
    folder.parent.mkdir(parents=True, exist_ok=True)
    shim = transformer_shim(backbone)
    with tempfile.TemporaryDirectory(prefix=".transfer-source-", dir=folder.parent) as place:
        new = Path(place) / "new"
        if shim is not None:
            _write_transformer(shim, srsly.msgpack_loads(file.read_bytes()).get(PRETRAINING), new)
        else:
            _alone(nlp, backbone).to_disk(new)
        new.rename(folder)
    return "spacy-transfer.PipelineBackbone.v1" if shim is None else "spacy-transfer.TransformerBackbone.v1"


def build_backbone(config: Config) -> tuple[Language, BackboneT]:
    """The pipeline of a config, and the backbone that `spacy pretrain` would train, initialised. It has no tuning:
    that is the next training's.

    RAISES (ValueError): When the config has no [pretraining].
    """
    config = require_pretraining(config)
    name = config["pretraining"]["component"]
    block = config["components"].get(name, {}).get("model", {})
    if "tuning" in block:
        block["tuning"] = None
    nlp = load_model_from_config(config)
    with nlp.select_pipes(enable=[]):
        nlp.initialize()
    backbone: BackboneT = get_tok2vec_ref(nlp, config["pretraining"])
    backbone.initialize(X=[nlp.make_doc("Give it a doc to infer shapes")])
    return nlp, backbone


def require_pretraining(config: Config) -> Config:
    """RETURNS (Config): A copy, with variables filled in.

    RAISES (ValueError): When it has no [pretraining].
    """
    config = config.interpolate()
    if not config.get("pretraining"):
        raise ValueError(Errors.T863)
    return config


def _write_transformer(shim: TransformerShim, saved: Block | None, folder: Path) -> None:
    encoder, pretrained = shim.encoder.transformer.cpu(), cast(Pretrained, shim.pretrained)
    if has_adapter(encoder):
        merge(encoder)  # Of a file that none of our objectives wrote.
    if shim.encoder.mix is not None:
        logger.warning(Warnings.W861)
    if saved is not None and saved["name"] == MaskedPieces.name and saved["settings"] is not None:
        model, more = _language_model(encoder, saved["weights"])
    else:
        model, more = encoder, {}
    model.save_pretrained(folder, state_dict={**model.state_dict(), **more})
    as_transformers(pretrained, most_pieces(encoder)).save_pretrained(str(folder))
    seal_folder(folder)


def _language_model(encoder: "PreTrainedModel", weights: bytes) -> tuple["PreTrainedModel", dict[str, Tensor]]:
    """The masked language model, and the tensors of the encoder that it has no place for: a pooler.

    weights (bytes): Of the output layer in the file.
    """
    from transformers import AutoModelForMaskedLM

    head = LanguageModelHead(encoder, None)
    load_state(head, weights)
    # Loosely typed: each architecture has a class of its own.
    model: Any = AutoModelForMaskedLM.from_config(copy.deepcopy(encoder.config), trust_remote_code=False)
    prefix, decoder = f"{model.base_model_prefix}.", model.get_output_embeddings()
    state = {prefix + name: tensor for name, tensor in encoder.state_dict().items()}
    state |= {name.removeprefix("model."): tensor for name, tensor in head.state_dict().items()}
    own = model.state_dict()
    tied = {f"{name}.weight" for name, module in model.named_modules() if module is decoder}
    missing = sorted(set(own) - set(state) - tied)
    if missing:
        raise ValueError(Errors.T102.format(missing=missing, unexpected=[], shapes=[]))
    model.load_state_dict({name: state.get(name, tensor) for name, tensor in own.items()})
    learned = head.model.get_output_embeddings().bias
    if learned is not None:
        # Some architectures have it under a second name, where nothing was learned.
        decoder.bias.data.copy_(learned.data)
    return model, {name: tensor for name, tensor in state.items() if name.startswith(prefix) and name not in own}


def _alone(nlp: Language, backbone: BackboneT) -> Language:
    """RETURNS (Language): The pipeline with the backbone only.

    RAISES (ValueError): When it is a layer inside another component.
    """
    name = next((name for name, pipe in nlp.pipeline if getattr(pipe, "model", None) is backbone), None)
    if name is None:
        raise ValueError(Errors.T864)
    for other in nlp.component_names:
        if other != name:
            nlp.remove_pipe(other)
    return nlp
