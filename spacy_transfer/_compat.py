"""Every import of a private name of another library, in one place; each has a test in tests/test_compat.py."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from spacy.language import Language
from spacy.tokens import Doc, Span

from .errors import Errors
from .types import AnyModel, HFTokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


@cache
def has_packed_linear() -> bool:
    """RETURNS (bool): Whether torch has oneDNN's products with packed weights in bfloat16, and this CPU can do them:
    without AVX512 torch refuses."""
    import torch

    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(1, 1, dtype=torch.bfloat16))
        return hasattr(torch.ops.mkldnn, "_linear_pointwise")
    except (AttributeError, RuntimeError):
        return False


def cpu_has_bf16() -> bool:
    """RETURNS (bool): Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or better). oneDNN emulates it
    elsewhere."""
    import torch

    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    if native is None:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(native()) or bool(amx is not None and amx())


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Within, transformers logs errors alone and draws no progress bars. What it would warn of is raised by us, with
    what to do. The user's settings are back afterwards, those of huggingface_hub are never touched."""
    from transformers.utils import logging

    settings = cast(Any, logging)
    verbosity, bars = settings.get_verbosity(), settings._tqdm_active
    settings.set_verbosity_error()
    settings._tqdm_active = False
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        settings._tqdm_active = bars


@contextmanager
def bar_of_model2vec(bar: Callable[[int], object]) -> Iterator[None]:
    """Within, model2vec shows this progress bar, not one of its own, which is shown in any case.

    bar (Callable[[int], tqdm]): Gets the number of tokens.
    """
    from model2vec.distill import inference

    module: Any = inference
    kept, module.tqdm = module.tqdm, lambda **settings: bar(settings["total"])
    try:
        yield
    finally:
        module.tqdm = kept


def no_initial_weights() -> AbstractContextManager[None]:
    """Build an encoder without drawing random weights, where transformers can: this saves time."""
    from transformers import modeling_utils

    found: AbstractContextManager[None] = getattr(modeling_utils, "no_init_weights", nullcontext)()
    return found


def spacy_transformers_parts(model: AnyModel) -> "tuple[PreTrainedModel, HFTokenizer] | None":
    """The encoder and tokenizer inside the model of a spacy-transformers component (1.4 and 2.0).

    RETURNS (Optional[Tuple[PreTrainedModel, HFTokenizer]]): None when there is no such node.
    """
    for node in model.walk():
        kinds = type(node).__mro__
        if any(k.__name__ == "TransformerModel" and k.__module__.startswith("spacy_transformers") for k in kinds):
            found: Any = node
            return found.transformer, found.tokenizer
    return None


def spacy_transformers_classes() -> SimpleNamespace:
    """RETURNS (SimpleNamespace): Parts of spacy-transformers for the drop-in: `TransformerModel`, `HFShim`,
    `HFObjects`, `split_trf_batch` and `trfs2arrays`.

    RAISES (ImportError): When spacy-transformers is not installed, does not import beside this transformers, or is a
        version without one of these names.
    """
    try:
        from spacy_transformers.data_classes import HFObjects
        from spacy_transformers.layers import TransformerModel, split_trf_batch, trfs2arrays
        from spacy_transformers.layers.hf_shim import HFShim
    except Exception as error:  # Versions that do not go together raise anything.
        try:
            found = f"is installed as {version('spacy-transformers')} and cannot be imported"
        except PackageNotFoundError:
            found = "is not installed"
        cause = f"{type(error).__name__}: {error}"
        raise ImportError(Errors.T161.format(found=found, error=cause), name=getattr(error, "name", None)) from error
    return SimpleNamespace(
        TransformerModel=TransformerModel,
        HFShim=HFShim,
        HFObjects=HFObjects,
        split_trf_batch=split_trf_batch,
        trfs2arrays=trfs2arrays,
    )


def spacy_cli_parts() -> ModuleType:
    """RETURNS (ModuleType): Parts of spaCy's own commands: `debug_cli` to add a command to, `parse_config_overrides`,
    `import_code`, `setup_gpu`, `show_validation_error`."""
    from spacy.cli import _util

    return _util


def drop_gradient(node: AnyModel, name: str) -> None:
    """Remove the gradient of a parameter from Thinc's node, so that `has_grad` is false. Thinc only sets it to zero."""
    node._params._grads.pop((node.id, name), None)


def send_zeros(listener: object) -> None:
    """Send a gradient of zeros to spaCy's own tok2vec, which waits for all its listeners. Our backbone does not.

    listener (object): The tok2vec layer of a head; it may be no listener.
    """
    backprop = getattr(listener, "_backprop", None)
    if backprop is not None and getattr(backprop, "__module__", None) == "spacy.pipeline.tok2vec":
        backprop([rows * 0 for rows in cast(Any, listener)._outputs])


def insert_component(nlp: Language, index: int, name: str, component: object) -> None:
    """Put a component into a pipeline without its config: it is there for training alone. As long as it is there, the
    pipeline can be trained, but not saved.
    """
    nlp._components.insert(index, (name, cast(Callable[[Doc], Doc], component)))


def remove_component(nlp: Language, component: object) -> None:
    """Remove a component that `insert_component` put in, wherever it is."""
    nlp._components[:] = [entry for entry in nlp._components if entry[1] is not component]


def replace_next_training(nlp: Language, instead: Callable[..., Any]) -> None:
    """Have the command `spacy train` call something else in place of spaCy's training loop, once, for a pipeline.

    instead (Callable): Gets the loop, and then its arguments.
    """
    from spacy.cli import train as _  # noqa: F401  The name is that of the command's module and of its function.

    command = cast(Any, sys.modules["spacy.cli.train"])
    loop = command.train_nlp

    def train(trained: Language, *args: Any, **kwargs: Any) -> Any:
        command.train_nlp = loop
        return loop(trained, *args, **kwargs) if trained is not nlp else instead(loop, trained, *args, **kwargs)

    command.train_nlp = train


def has_hooks(module: "nn.Module") -> bool:
    """RETURNS (bool): Whether a torch module has forward hooks of either kind."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def stored_value(place: Doc | Span, attribute: str, doc: Doc | None = None) -> Any:
    """The value that was set for an extension attribute, without its default.

    attribute (str): Name of the attribute; it need not be declared.
    doc (Optional[Doc]): Another doc in which to look, at the same characters.
    RETURNS (Any): The value; None where none was set.
    """
    holder = place.doc if doc is None else doc
    return cast(dict[object, object], holder.user_data).get(place._._get_key(attribute))


def drop_parser_dropout(model: AnyModel) -> None:
    """Remove the dropout from the model of spaCy's `ner` or `parser`, which is 0.1 in training whatever `update` is
    given. Other models are not changed."""
    if "resize_output" not in model.attrs or not {"tok2vec", "lower", "upper"} <= set(model.ref_names):
        return
    forward = model._func

    def without_dropout(model: AnyModel, X: object, is_train: bool) -> tuple[object, object]:
        steps, backprop = forward(model, X, is_train)
        steps.attrs["dropout_rate"] = 0.0
        return steps, backprop

    model._func = without_dropout


def intercept_output(
    clean: Callable[[Path | None], None], rmtree: Callable[..., None], copytree: Callable[..., object]
) -> Callable[[], None]:
    """Have `spacy train` call these for its output folder: what clears it before a training, and what it removes and
    copies when it saves the best pipeline. spaCy removes the old one before it copies the new one, file by file.

    clean (Callable[[Optional[Path]], None]): Gets the output folder, before the first step.
    RETURNS (Callable[[], None]): Restores spaCy's own functions.
    """
    from spacy.training import loop

    found: Any = loop
    before = found.clean_output_dir, found.shutil
    found.clean_output_dir, found.shutil = clean, SimpleNamespace(rmtree=rmtree, copytree=copytree)

    def restore() -> None:
        found.clean_output_dir, found.shutil = before

    return restore


def clean_output(path: Path | None) -> None:
    """Remove the pipelines of an earlier training from an output folder, as `spacy train` does."""
    from spacy.training.loop import clean_output_dir

    clean_output_dir(path)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step, where the system can (Linux).

    RETURNS (bool): Whether it was done.
    """
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), swap) == 0)


def grad_scaler_state(shim: object) -> "dict[str, torch.Tensor]":
    """RETURNS (Dict[str, Tensor]): The loss scale of Thinc's own shim for torch; empty before the first step on a
    GPU."""
    scaler = getattr(shim, "_grad_scaler", None)
    return {name: getattr(scaler, name) for name in ("_scale", "_growth_tracker") if hasattr(scaler, name)}


def set_grad_scaler_state(shim: object, state: "Mapping[str, torch.Tensor]") -> None:
    """Set what `grad_scaler_state` gave."""
    scaler: Any = getattr(shim, "_grad_scaler", None)
    for name, value in state.items():
        setattr(scaler, name, value)
