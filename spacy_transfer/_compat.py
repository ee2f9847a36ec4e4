"""Every import of a private name of another library, in one place; each has a test in tests/test_compat.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or better); oneDNN emulates it elsewhere.

    RETURNS (bool): True where bf16 is native.
    """
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

    settings: Any = logging
    verbosity, bars = logging.get_verbosity(), settings._tqdm_active
    logging.set_verbosity_error()
    settings._tqdm_active = False
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        settings._tqdm_active = bars


def refuses_bin_files() -> str | None:
    """Whether this transformers refuses to read .bin files with this torch: from 4.50 on it asks for torch 2.6, since
    older ones run code from a file even with `weights_only`.

    RETURNS (Optional[str]): The version of torch where it does.
    """
    import torch
    from transformers.utils import import_utils

    try:
        getattr(import_utils, "check_torch_load_is_safe", lambda: None)()
    except ValueError:
        return torch.__version__
    return None


def no_initial_weights() -> Any:
    """Building an encoder without drawing random weights for it.

    RETURNS (ContextManager): Nothing where transformers has no such thing: it costs time alone.
    """
    from contextlib import nullcontext

    from transformers import modeling_utils

    return getattr(modeling_utils, "no_init_weights", nullcontext)()


def spacy_transformers_parts(model: Any) -> tuple[Any, Any] | None:
    """The encoder and tokenizer inside the model of a spacy-transformers component (1.4 and 2.0 alike).

    model (Model): Any Thinc model.
    RETURNS (Optional[Tuple[PreTrainedModel, PreTrainedTokenizerFast]]): None when there is no such node.
    """
    for node in model.walk():
        kinds = type(node).__mro__
        if any(k.__name__ == "TransformerModel" and k.__module__.startswith("spacy_transformers") for k in kinds):
            return node.transformer, node.tokenizer
    return None


def spacy_transformers_classes() -> Any:
    """What the drop-in for spacy-transformers is built on (1.4 and 2.0 alike).

    RETURNS (SimpleNamespace): `TransformerModel`, `HFShim`, `HFObjects`, `split_trf_batch` and `trfs2arrays`.
    """
    from types import SimpleNamespace

    from spacy_transformers.data_classes import HFObjects
    from spacy_transformers.layers import TransformerModel, split_trf_batch, trfs2arrays
    from spacy_transformers.layers.hf_shim import HFShim

    return SimpleNamespace(
        TransformerModel=TransformerModel,
        HFShim=HFShim,
        HFObjects=HFObjects,
        split_trf_batch=split_trf_batch,
        trfs2arrays=trfs2arrays,
    )


def spacy_cli_parts() -> Any:
    """What spaCy's own commands are made of: `debug_cli` to hang a command on, `parse_config_overrides`,
    `import_code`, `setup_gpu`, `show_validation_error`.

    RETURNS (ModuleType): The module.
    """
    from spacy.cli import _util

    return _util


def drop_gradient(node: Any, name: str) -> None:
    """Take the gradient of a parameter away from Thinc's node: `has_grad` is false then. Thinc itself only zeroes it.

    node (Model): The node.
    name (str): Name of the parameter.
    """
    node._params._grads.pop((node.id, name), None)


def send_zeros(listener: Any) -> None:
    """Tell spaCy's own tok2vec, which waits for the last of its listeners, that nothing comes from this one. Our
    backbone waits for nobody, and hears nothing.

    listener (Any): What a head reads; it may be no listener.
    """
    backprop: Any = getattr(listener, "_backprop", None)
    if getattr(backprop, "__module__", None) == "spacy.pipeline.tok2vec":
        backprop([rows * 0 for rows in listener._outputs])


def insert_component(nlp: Any, index: int, name: str, component: object) -> None:
    """Put a component into a pipeline without its config: it is there for training alone. As long as it is there, the
    pipeline can be trained, but not saved.

    nlp (Language): The pipeline.
    index (int): Its place among all components.
    name (str): Its name.
    component (object): The component.
    """
    nlp._components.insert(index, (name, component))


def remove_component(nlp: Any, component: object) -> None:
    """Take out what `insert_component` put in, at all its places.

    nlp (Language): The pipeline.
    component (object): The component; nothing happens if it is not there.
    """
    nlp._components[:] = [entry for entry in nlp._components if entry[1] is not component]


def has_hooks(module: Any) -> bool:
    """Whether somebody listens to a torch module.

    module (nn.Module): The module.
    RETURNS (bool): True where a forward hook of either kind is registered.
    """
    return bool(module._forward_hooks or module._forward_pre_hooks)


def stored_value(place: Any, attribute: str, doc: Any = None) -> Any:
    """What was written to an extension attribute. Its default does not count: that tells nothing of this doc.

    place (Union[Doc, Span]): A doc or span.
    attribute (str): Name of the attribute; it need not be declared.
    doc (Optional[Doc]): Another doc in which to look, at the same characters.
    RETURNS (Any): The value; None where none was written.
    """
    holder = place.doc if doc is None else doc
    return holder.user_data.get(place._._get_key(attribute))


def drop_parser_dropout(model: Any) -> None:
    """Take the dropout out of the model of spaCy's `ner` or `parser`, for good: its steps have one of 0.1 in training,
    whatever `update` is told. Another model is left alone.

    model (Model): Of the component.
    """
    if "resize_output" not in model.attrs or not {"tok2vec", "lower", "upper"} <= set(model.ref_names):
        return
    forward = model._func

    def without_dropout(model: Any, X: Any, is_train: bool) -> Any:
        steps, backprop = forward(model, X, is_train)
        steps.attrs["dropout_rate"] = 0.0
        return steps, backprop

    model._func = without_dropout
