"""Folders of transformers' classifiers: read whole and checked, and written whole or not at all."""

import inspect
import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast, get_args

from .._compat import quiet_loading
from ..backbones.sources import resolve_source
from ..backbones.transformer.reading.source_checks import check_finite, check_folder, read_config
from ..backbones.transformer.reading.tokenizer_checks import as_transformers
from ..errors import Errors, Warnings
from ..integrity import seal_folder
from ..types import Config, Floats, Ints
from .state_dicts import SUFFIXES, HeadWeights, Layout, Task, find_layout, put_head, row_names, take_head
from .tags import TagRows, TokenTask, read_tags

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..backbones.transformer.pretrained import Pretrained

_OUTPUT = r"classifier(\.out_proj)?\.(weight|bias)"


@dataclass
class Checkpoint:
    """A classifier as transformers loads it.

    task (str): "sequence" or "token".
    labels (List[str]): Names of the rows of its output layer.
    several (bool): Whether several labels may hold at once.
    tags (Optional[TagRows]): What the labels of a token classifier are.
    document (str): What a head for texts reads: "cls" or "mean".
    """

    source: str
    path: Path
    task: Task
    model: "PreTrainedModel"
    head: HeadWeights
    labels: list[str]
    several: bool
    tags: TagRows | None = None
    document: str = "cls"

    def logits(self, texts: Sequence[str], most: int) -> list[Floats]:
        """Logits of transformers for texts, with its own tokenizer.

        most (int): Where they are cut, in pieces.
        RETURNS (List[Floats1d]): For every text, shape (n_labels,); of a token classifier (n_pieces, n_labels).
        """
        return [logits for logits, _ in self.outputs(texts, most)]

    def outputs(self, texts: Sequence[str], most: int) -> list[tuple[Floats, Ints]]:
        """The same, and where the pieces are.

        most (int): Where they are cut, in pieces.
        RETURNS (List[Tuple[FloatsXd, Ints2d]]): For every text logits, and the characters where each piece begins and
            ends, shape (n_pieces, 2).
        """
        import torch
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            self.path, use_fast=True, local_files_only=True, trust_remote_code=False
        )
        how = {"truncation": True, "max_length": most, "return_tensors": "pt", "return_offsets_mapping": True}
        # Some checkpoints come with the tokenizer of another kind, which gives more than their model takes.
        takes = inspect.signature(self.model.forward).parameters
        found: list[tuple[Floats, Ints]] = []
        for text in texts:
            inputs = tokenizer(text, **how)
            with torch.inference_mode():
                logits = self.model(**{key: inputs[key] for key in inputs if key in takes}).logits[0]
            found.append((logits.float().cpu().numpy(), inputs["offset_mapping"][0].numpy()))
        return found


def read_checkpoint(source: str, labels: Sequence[str] | None = None, token_task: str | None = None) -> Checkpoint:
    """Read a classifier and check it: kind, head, labels.

    source (str): A folder, `package:NAME/path`, or a hub id.
    labels (Optional[Sequence[str]]): Names of the rows, in place of those in its config.
    token_task (Optional[str]): What a token classifier becomes, "ner" or "tagger"; None to tell by its labels.
    RAISES (ValueError): When it has no head that is known here, a part of it is missing, or its labels have gaps.
    """
    tasks = get_args(TokenTask)
    if token_task is not None and token_task not in tasks:
        raise ValueError(Errors.T396.format(task=token_task, tasks=", ".join(tasks)))
    found = resolve_source(source)
    if found.kind == "pipeline":
        raise ValueError(Errors.T386.format(source=source))
    config = read_config(str(found.path), source)
    kind = next(iter(config.get("architectures") or [""]))
    task = next((task for suffix, task in SUFFIXES.items() if kind.endswith(suffix)), None)
    if task is None:
        raise ValueError(Errors.T380.format(source=source, found=config.get("architectures")))
    if task == "sequence" and token_task is not None:
        raise ValueError(Errors.T388.format(source=source, kind=kind, task=token_task))
    if task == "sequence" and config.get("problem_type") == "regression":
        raise ValueError(Errors.T385.format(source=source, found='"problem_type": "regression"'))
    find_layout_early(source, config, task)
    check_folder(found.path, source)
    model = _load(source, found.path, kind)
    layout = find_layout(source, model.config.model_type, task, model.config)
    head = take_head(model.state_dict(), layout)
    rows = len(head.layers[-1][0])
    if task == "sequence" and rows == 1:
        raise ValueError(Errors.T385.format(source=source, found="an output layer of one row"))
    names, chosen = row_names(source, config.get("id2label"), labels, rows)
    if not chosen:
        warnings.warn(Warnings.W380.format(source=source, labels=", ".join(names[:3])), stacklevel=3)
    several = task == "sequence" and config.get("problem_type") == "multi_label_classification"
    tags = read_tags(source, names, cast(TokenTask | None, token_task)) if task == "token" else None
    return Checkpoint(source, found.path, task, model, head, names, several, tags, layout.document)


def find_layout_early(source: str, config: Config, task: Task) -> None:
    """Refuse an unknown kind of model before any weight is read. Values of the full config are not checked yet."""
    activations = {"pooler_hidden_act": "gelu", "classifier_activation": "gelu"}
    values = SimpleNamespace(**activations, classifier_pooling="cls", norm_eps=0.0)
    find_layout(source, str(config.get("model_type")), task, values)


def _load(source: str, path: Path, kind: str) -> "PreTrainedModel":
    """The model, with as many rows as its weights have, whatever its config says of labels."""
    import torch
    import transformers
    from safetensors import SafetensorError

    cls = getattr(transformers, kind, None)
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        error = f"transformers {transformers.__version__} has no {kind}"
        raise ValueError(Errors.T387.format(source=source, error=error))
    settings: Config = {"output_loading_info": True, "torch_dtype": torch.float32, "local_files_only": True}
    try:
        with quiet_loading():
            model, info = cls.from_pretrained(path, ignore_mismatched_sizes=True, **settings)
            # Names alone in transformers 4.5x; elsewhere (name, shape in the file, shape in the model).
            shapes = sorted(item if isinstance(item, str) else item[0] for item in info["mismatched_keys"])
            if shapes and all(re.fullmatch(_OUTPUT, name) for name in shapes):
                model, info = cls.from_pretrained(path, num_labels=_rows_of(path, shapes[0]), **settings)
                shapes = []
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as failure:
        raise ValueError(Errors.T387.format(source=source, error=failure)) from failure
    missing = sorted(info["missing_keys"])
    if missing or shapes:
        raise ValueError(Errors.T381.format(source=source, kind=kind, missing=missing, shapes=shapes))
    check_finite(model.named_parameters(), source)
    return model.eval()


def _rows_of(path: Path, name: str) -> int:
    """How many rows a tensor has in the weights of a folder. transformers 4.5x does not say it."""
    from safetensors import safe_open
    from transformers.modeling_utils import load_state_dict

    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            if name in opened.keys():
                return int(opened.get_slice(name).get_shape()[0])
    for file in sorted(path.glob("pytorch_model*.bin")):
        state = load_state_dict(str(file), map_location="meta")
        if name in state:
            return len(state[name])
    raise KeyError(name)


@dataclass(frozen=True)
class Export:
    """What a folder is written from.

    most (Optional[int]): Pieces that the encoder has positions for.
    task (str): "sequence" or "token".
    labels (List[str]): Names of the rows of its output layer.
    several (bool): Whether several labels may hold at once.
    document (str): What a head for texts reads: "cls" or "mean".
    """

    pretrained: "Pretrained"
    most: int | None
    task: Task
    head: HeadWeights
    layout: Layout
    labels: list[str]
    several: bool
    document: str = "cls"


def write_checkpoint(export: Export, path: Path) -> None:
    """Write a folder that transformers' AutoModelFor... and AutoTokenizer load."""
    model = _model_of(export)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".transfer-hf-", dir=path.parent) as folder:
        new = Path(folder) / "new"
        model.save_pretrained(new)
        as_transformers(export.pretrained, export.most).save_pretrained(new)
        seal_folder(new)
        new.rename(path)


def _model_of(export: Export) -> "PreTrainedModel":
    import copy

    import torch
    import transformers

    encoder = export.pretrained.transformer
    suffix = next(suffix for suffix, task in SUFFIXES.items() if task == export.task)
    cls = getattr(transformers, type(encoder).__name__.removesuffix("Model") + suffix)
    config = copy.deepcopy(encoder.config)
    config.id2label = dict(enumerate(export.labels))
    config.label2id = {label: i for i, label in enumerate(export.labels)}
    config.problem_type = None
    if export.layout.norm is not None:
        # Theirs has no bias in the hidden layer unless its config says so.
        config.classifier_bias, config.classifier_pooling = True, export.document
    if export.task == "sequence":
        config.problem_type = "multi_label_classification" if export.several else "single_label_classification"
    state = {f"{cls.base_model_prefix}.{name}": tensor for name, tensor in encoder.state_dict().items()}
    state |= {name: torch.from_numpy(array) for name, array in put_head(export.head, export.layout).items()}
    with quiet_loading():
        model, info = cls.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    # The encoder may hold a pooler that this class has no use for.
    unexpected = [name for name in info["unexpected_keys"] if ".pooler." not in name]
    missing, shapes = sorted(info["missing_keys"]), info["mismatched_keys"]
    if missing or unexpected or shapes:
        raise ValueError(Errors.T102.format(missing=missing, unexpected=unexpected, shapes=shapes))
    return model.cpu()
