"""A component and its backbone as a folder that transformers loads, or a list of what is in the way."""

import warnings
from pathlib import Path
from typing import cast

from spacy.language import Language

from ..backbones.transformer.pretrained import Pretrained
from ..backbones.transformer.transformer_shim import TransformerShim, most_pieces
from ..errors import Errors, Warnings
from ..heads.layers import TemperatureAttrs
from ..heads.textcat import TextCatAttrs
from ..pipeline.heads.ner import TransferNER
from ..pipeline.heads.tokens import TokenPipe
from ..types import Config, Pipe, pipe_of, pipes_of
from .files import Export, write_checkpoint
from .state_dicts import SEQUENCE_HEADS, TOKEN_HEADS, HeadWeights, Layout, Task, find_layout, near, read_head

TASKS: dict[str, Task] = {
    "transfer_textcat": "sequence",
    "transfer_textcat_multilabel": "sequence",
    "transfer_ner": "token",
    "transfer_tagger": "token",
}
# What spaCy's own are, and what of ours does the same.
STOCK = {
    "textcat": "transfer_textcat",
    "textcat_multilabel": "transfer_textcat_multilabel",
    "ner": "transfer_ner",
    "tagger": "transfer_tagger",
}
_COMMON = {"@architectures", "tok2vec", "hidden", "activation", "dropout", "nO"}
# What may stand in the block of a head, and has no weights of its own.
_KEYS: dict[Task, set[str]] = {
    "sequence": {*_COMMON, "pooling", "exclusive_classes", "layer_norm"},
    "token": {*_COMMON, "decoder"},
}
_HEADS: dict[Task, str] = {"sequence": "spacy-transfer.TextCatHead.v1", "token": "spacy-transfer.TokenHead.v1"}
_LISTENERS: dict[Task, tuple[str, ...]] = {
    "sequence": ("spacy-transfer.DocumentListener.v1",),
    "token": ("spacy-transfer.Listener.v1", "spacy.Tok2VecListener.v1"),
}


def to_hf(nlp: Language, path: str | Path, component: str | None = None) -> Path:
    """Write a component and its backbone as transformers does: config, weights (safetensors) and tokenizer, for
    AutoModelForSequenceClassification or AutoModelForTokenClassification, and AutoTokenizer. Its logits are the
    component's own for all texts that fit one window (of a token: those at its first word piece).

    transformers' `pipeline("token-classification", aggregation_strategy="first")` finds the entities of a
    `transfer_ner` with `lenient = true` wherever its words are spaCy's tokens, and it reads the tags in the same way of
    any other, where the best tags of tokens are well-formed; see `from_hf`.

    nlp (Language): A trained pipeline.
    path (Union[str, Path]): A folder that does not exist yet.
    component (Optional[str]): Name of the component; None for the only one that can be exported.
    RETURNS (Path): The folder.
    RAISES (ValueError): When the folder exists, or transformers' classes cannot express the component.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise ValueError(Errors.T390.format(path=path))
    name = find_component(nlp, component)
    write_checkpoint(take_export(nlp, name), path)
    return path


def find_component(nlp: Language, component: str | None) -> str:
    """RETURNS (str): Name of the component that is exported."""
    ours = [name for name in nlp.component_names if nlp.get_pipe_meta(name).factory in TASKS]
    if component is None:
        if len(ours) == 1:
            return ours[0]
        stock = [name for name in nlp.component_names if nlp.get_pipe_meta(name).factory in STOCK]
        if not ours and stock:
            component = stock[0]
        else:
            problem = "there are several, so one must be named (--component)." if ours else "there is none."
            raise ValueError(Errors.T391.format(component=None, problem=problem, found=ours))
    if component not in nlp.component_names:
        problem = f"it is not in the pipeline. The nearest names: {near(component, nlp.component_names)}."
        raise ValueError(Errors.T391.format(component=component, problem=problem, found=ours))
    factory = nlp.get_pipe_meta(component).factory
    if factory in STOCK:
        raise ValueError(
            Errors.T392.format(component=component, factory=factory, ours=STOCK[factory], task=_task_of(factory))
        )
    if component not in ours:
        problem = f"it is a {factory!r}, which classifies nothing that transformers has a class for."
        raise ValueError(Errors.T391.format(component=component, problem=problem, found=ours))
    return component


def take_export(nlp: Language, name: str) -> Export:
    """Everything that is written, after a look at whether transformers can express it."""
    pipe = pipe_of(nlp, name)
    if not pipe.model.get_ref("output").has_param("W"):
        raise ValueError(Errors.T303.format(name=name))
    shim = _shim_of(nlp, name)
    encoder = shim.encoder.transformer
    kind, task = str(shim.encoder.config.model_type), TASKS[nlp.get_pipe_meta(name).factory]
    obstacles = _of_backbone(shim, task)
    known = SEQUENCE_HEADS if task == "sequence" else TOKEN_HEADS
    if kind not in known:
        obstacles.append(f"an encoder of the kind {kind} (known are {', '.join(known)})")
        raise ValueError(
            Errors.T393.format(component=name, obstacles="; ".join(obstacles), way_out="Train with another encoder.")
        )
    layout = find_layout(name, kind, task, shim.encoder.config)
    block: Config = nlp.config.interpolate()["components"][name]["model"]
    weights = read_head(pipe.model, block.get("activation"))
    # transformers divides no logits: the temperature of a calibrated head goes into its last layer.
    (W, b), temperature = weights.layers[-1], TemperatureAttrs.of(pipe.model).temperature
    weights.layers[-1] = W / temperature, b / temperature
    obstacles += _of_head(block, task, weights, layout, shim.encoder.width)
    if obstacles:
        command = f"python -m spacy transfer config --task {_task_of(nlp.get_pipe_meta(name).factory)} --exportable"
        way_out = f"Change these in the config and train again. A config that can be exported: {command}"
        raise ValueError(Errors.T393.format(component=name, obstacles="; ".join(obstacles), way_out=way_out))
    _warn_of_reading(name, pipe)
    several = task == "sequence" and bool(TextCatAttrs.of(pipe.model).multi_label)
    labels = list(pipe.tags if isinstance(pipe, TokenPipe) else pipe.labels)
    pretrained, document = cast(Pretrained, shim.pretrained), shim.settings.document
    return Export(pretrained, most_pieces(encoder), task, weights, layout, labels, several, document)


def _task_of(factory: str) -> str:
    """RETURNS (str): What `transfer config` calls the task of a classifier, by its factory."""
    return factory.removeprefix("transfer_").removeprefix("textcat_")


def _warn_of_reading(name: str, pipe: Pipe) -> None:
    """Warn of settings that are not part of the model, which transformers' pipelines do not have."""
    found = ["thresholds of its labels (they take 0.5)"] if getattr(pipe, "cfg", {}).get("thresholds") else []
    if isinstance(pipe, TransferNER):
        found += [] if pipe.lenient else ["lenient = false (they read the best tag of each token)"]
        found += [f"threshold = {pipe.threshold}"] if pipe.threshold else []
        found += ["scheme = 'biluo' (they join entities by B- and I- alone)"] if pipe.kind != "bio" else []
    if found:
        warnings.warn(Warnings.W381.format(name=name, settings="; ".join(found)), stacklevel=4)


def _shim_of(nlp: Language, name: str) -> TransformerShim:
    """What holds the encoder that a component reads."""
    found = [pipe for _, pipe in pipes_of(nlp) if name in getattr(pipe, "listening_components", ())]
    if not found:
        raise ValueError(Errors.T394.format(component=name, problem="it listens to no component that is enabled"))
    upstream = found[-1]
    shims = [shim for node in upstream.model.walk() for shim in node.shims if isinstance(shim, TransformerShim)]
    if len(shims) != 1 or len(list(upstream.model.walk())) != 1:
        problem = f"it listens to {upstream.name!r}, whose model is {upstream.model.name!r}"
        raise ValueError(Errors.T394.format(component=name, problem=problem))
    return shims[0]


def _of_backbone(shim: TransformerShim, task: Task) -> list[str]:
    """What of a backbone transformers' classes lack."""
    settings, found = shim.settings, []
    if settings.layers != "last":
        found.append(f"layers = {settings.layers!r} of the backbone (it must be 'last')")
    # Of the classes for texts, ModernBERT's alone can average.
    if task == "sequence" and settings.document != "cls" and shim.encoder.config.model_type != "modernbert":
        found.append(f"document = {settings.document!r} of the backbone (it must be 'cls')")
    if task == "token" and settings.pooling != "first":
        found.append(f"pooling = {settings.pooling!r} of the backbone (it must be 'first')")
    if shim.adapter_tensors():
        found.append("an adapter (fold it in first: nlp.get_pipe(BACKBONE).merge_adapter())")
    return found


def _of_head(block: Config, task: Task, weights: HeadWeights, layout: Layout, width: int) -> list[str]:
    """What of a head the class lacks that this encoder has."""
    if block.get("@architectures") != _HEADS[task]:
        return [f"the head {block.get('@architectures')!r} (it must be {_HEADS[task]!r})"]
    found = [f"{key} = {block[key]!r} of the head" for key in sorted(set(block) - _KEYS[task]) if block[key]]
    if task == "token" and block.get("decoder", "softmax") != "softmax":
        found.append(f"decoder = {block['decoder']!r} of the head (it must be 'softmax')")
    listener = block["tok2vec"].get("@architectures")
    if listener not in _LISTENERS[task]:
        found.append(f"rows by {listener!r} (they must come by {_LISTENERS[task][0]!r})")
    hidden = [len(bias) for _, bias in weights.layers[:-1]]
    wanted = [] if layout.dense is None else [width]
    if hidden != wanted:
        found.append(f"hidden = {hidden} of the head (this encoder's class has {wanted})")
    epsilon = None if weights.norm is None else weights.norm[2]
    if hidden == wanted and epsilon != layout.epsilon:
        found.append(f"layer_norm = {epsilon} of the head (this encoder's class has {layout.epsilon})")
    if hidden == wanted and layout.dense is not None and weights.activation != layout.activation:
        wants = f"(this encoder's class has {layout.activation!r})"
        found.append(f"activation = {weights.activation!r} of the head {wants}")
    return found
