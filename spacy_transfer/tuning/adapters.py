"""Adapters: small trainable parts that peft puts into a frozen encoder.

There are two sets of names. *Plain* names are those of the encoder without adapter; peft moves wrapped weights down a
level (`query.weight` becomes `query.base_layer.weight`) and puts its own beside them. A saved pipeline has the
encoder under its plain names, so that it can be read with and without peft, and the adapter's tensors apart.
"""

import inspect
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import Errors
from ..extras import import_extra
from ..integrity import read_checked, write_checked, write_whole
from ..types import Config

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn

BIAS = "bias"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
# In the metadata of a file that has a checksum.
_CHECKSUMS = "checksums"
# The prefix of names in a folder for peft's PeftModel.from_pretrained.
_PEFT_PREFIX = "base_model.model."
_WRAPPED = ".base_layer."
# Keys of the block that are not options of the method.
_OURS = ("method", "source")
# Methods for other modules than linear layers.
_NOT_FOR_LINEAR = ("ln_tuning", "trainable_tokens")
# Options by which peft imports modules and opens pickles that they name.
_RUN = ("megatron_config", "corda_config", "lora_ga_config", "eva_config", "loftq_config")
# Options that are a size, by peft's names, and what is allowed in any encoder.
_SIZE = re.compile(r"r|init_r|target_r|\w*rank\w*|num_vectors|vector_length|\w*block_(size|num)")
_MOST_SIZE = 4096
_STAMPS = ("task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "megatron_core")


def inject(transformer: "nn.Module", adapter: Config, default: Sequence[str] = ()) -> Config:
    """Put an adapter into an encoder, in place. "bias" adds nothing: it trains the encoder's biases.

    adapter (Config): `method` and the method's options, by peft's names.
    default (Sequence[str]): The target_modules where none are given, and peft has none for this family.
    RETURNS (Config): The same with the modules that were found, so that it can be injected again.
    RAISES (ImportError): When peft is missing.
    RAISES (ValueError): When the method or an option is unknown, or no module fits.
    """
    method = str(adapter["method"]).lower()
    if method == BIAS:
        return {"method": BIAS}
    options = {key: value for key, value in adapter.items() if key not in _OURS}
    for key in _RUN:
        if options.get(key):
            raise ValueError(Errors.T136.format(where="tuning.adapter", key=key, found=options[key]))
    peft, known = _peft(method)
    if method not in known:
        raise ValueError(Errors.T643.format(method=adapter["method"], known=sorted(known)))
    if options.get("modules_to_save"):
        error = "modules_to_save would copy parts of the encoder into the adapter; train those with another method"
        raise ValueError(Errors.T644.format(method=method, error=error))
    options = {key: _plain_value(value) for key, value in options.items()}
    _check_sizes(options, method, transformer)
    config = _config(known[method], method, options)
    try:
        peft.inject_adapter_in_model(config, transformer)
    except Exception as error:  # peft raises many kinds of errors for modules that it does not find.
        filled = _fill_targets(options, [] if method in _NOT_FOR_LINEAR else default, known[method])
        try:
            config = _config(known[method], method, filled)
            peft.inject_adapter_in_model(config, transformer)
        except Exception:  # The first error is about the user's settings.
            candidates = sorted({name.rsplit(".", 1)[-1] for name in _linear(transformer)})
            raise ValueError(Errors.T645.format(method=method, error=error, candidates=candidates)) from error
        options = filled
    options["target_modules"] = _targets(config, options)
    return {"method": method, **{key: value for key, value in options.items() if value is not None}}


def _check_sizes(options: Config, method: str, transformer: "nn.Module") -> None:
    """Refuse sizes far beyond those of the encoder, before peft takes memory for them."""
    largest = max(
        (max(p.shape, default=0) for name, p in transformer.named_parameters() if "embed" not in name), default=0
    )
    most = max(_MOST_SIZE, largest)
    for key, value in options.items():
        for size in value.values() if isinstance(value, dict) else [value]:
            if _SIZE.fullmatch(key) and isinstance(size, int) and size > most:
                error = f"{key} = {value}, and a size must be at most {most} in this encoder"
                raise ValueError(Errors.T644.format(method=method, error=error))


def _config(kind: "type[PeftConfig]", method: str, options: Config) -> "PeftConfig":
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(Errors.T644.format(method=method, error=error)) from error


def _fill_targets(options: Config, default: Sequence[str], kind: "type[PeftConfig]") -> Config:
    """Options for families that are not in peft's tables."""
    filled = {"target_modules": list(default), **{k: value for k, value in options.items() if value is not None}}
    if "feedforward_modules" in inspect.signature(kind).parameters:  # IA3 wants both.
        filled.setdefault("feedforward_modules", [])
    return filled


def trainable_names(names: Iterable[str], plain: Collection[str], adapter: Config) -> set[str]:
    """The parameters that are trained with an adapter.

    names (Iterable[str]): Names of all parameters, the adapter's among them.
    RETURNS (Set[str]): The adapter's own; biases for the method "bias".
    """
    biases = adapter["method"] == BIAS
    return {name for name in names if plain_name(name) not in plain or (biases and name.endswith(".bias"))}


def plain_name(name: str) -> str:
    """RETURNS (str): The name that a weight had before peft wrapped its module."""
    return name.replace(_WRAPPED, ".")


def has_adapter(module: "nn.Module") -> bool:
    """RETURNS (bool): Whether peft has put something into this module."""
    return any(hasattr(part, "merged_adapters") for part in module.modules())


def merge(module: "nn.Module") -> None:
    """Merge the adapter into the encoder's weights, in place, and remove it.

    RAISES (ValueError): When the method cannot be merged; the module is then not changed.
    """
    # Typed loosely: peft's layers share no class with these methods.
    wrapped: list[tuple[str, Any]] = [
        (n, part) for n, part in module.named_modules() if hasattr(part, "merged_adapters")
    ]
    for _, part in wrapped:
        try:
            part.merge(safe_merge=True)
        except (NotImplementedError, ValueError) as error:
            for _, other in wrapped:
                if other.merged:
                    other.unmerge()
            raise ValueError(Errors.T644.format(method=type(part).__name__, error=f"merge: {error}")) from error
    for name, part in wrapped:
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, part.get_base_layer())


def save_adapter(folder: Path, adapter: Config, tensors: dict[str, "Tensor"], fingerprint: str) -> None:
    """Write an adapter as peft does, with the fingerprint of the weights that it belongs to.

    tensors (Dict[str, Tensor]): The adapter's own, by their names in the encoder.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    options = {key: value for key, value in adapter.items() if key != "method"}
    config = {"peft_type": adapter["method"].upper(), "task_type": None, **options}
    text = json.dumps(config, indent=2, sort_keys=True, default=str)
    write_whole(folder / ADAPTER_CONFIG, text.encode("utf8"))
    named = {_PEFT_PREFIX + name.replace(".default", ""): tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pt", "base": fingerprint, _CHECKSUMS: "sha256"}
    write_checked(folder / ADAPTER_WEIGHTS, save(named, metadata=metadata))


def read_adapter(source: str, adapter: Config, fingerprint: str) -> tuple[Config, dict[str, "Tensor"]]:
    """Read a saved adapter; options in the config override those in the folder.

    source (str): Folder that `save_adapter` or peft wrote.
    RETURNS (Tuple[Config, Dict[str, Tensor]]): The adapter, and its tensors by names without ".default".
    RAISES (ValueError): When it is no folder of an adapter, is of another method, or belongs to other weights.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(source)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).exists():
            raise ValueError(Errors.T647.format(source=source, problem=f"has no {name}"))
    # peft and old versions of this package write no checksum.
    read_checked(folder / ADAPTER_WEIGHTS, may_lack=True)
    try:
        saved = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf8"))
        if not isinstance(saved, dict):
            raise ValueError("it is no mapping")
    except ValueError as error:
        raise ValueError(
            Errors.T647.format(source=source, problem=f"has a broken {ADAPTER_CONFIG}: {error}")
        ) from error
    method = str(saved.get("peft_type", "")).lower()
    if method != adapter["method"].lower():
        raise ValueError(Errors.T647.format(source=source, problem=f"holds a {method} adapter"))
    _, known = _peft(method)
    takes = set(inspect.signature(known[method]).parameters) if method in known else set()
    # Some keys in peft's files are not options of the method.
    options = {key: value for key, value in saved.items() if key in takes and value not in (None, {}, [])}
    for stamp in _STAMPS:
        options.pop(stamp, None)
    try:
        with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name.removeprefix(_PEFT_PREFIX): file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(Errors.T101.format(error=error)) from error
    if _CHECKSUMS in about:
        read_checked(folder / ADAPTER_WEIGHTS)
    base = about.get("base", "")
    if base and base != fingerprint:
        raise ValueError(Errors.T646.format(source=source, found=base[:12], wanted=fingerprint[:12]))
    return {**options, **adapter}, tensors


def _peft(method: str) -> tuple[ModuleType, dict[str, "type[PeftConfig]"]]:
    """peft, and its methods that can be injected, by name in lower case."""
    missing = Errors.T642.format(method=method)
    peft, mapping = import_extra("peft", missing), import_extra("peft.mapping", missing)
    known: dict[str, type[PeftConfig]] = {}
    for kind in mapping.PEFT_TYPE_TO_TUNER_MAPPING:
        config = mapping.PEFT_TYPE_TO_CONFIG_MAPPING.get(kind)
        if config is not None and not issubclass(config, peft.PromptLearningConfig):
            known[str(getattr(kind, "value", kind)).lower()] = config
    return peft, known


def _targets(config: "PeftConfig", options: Config) -> object:
    """The modules by name; from peft's table for this family where none were given."""
    found = getattr(config, "target_modules", None)
    return options.get("target_modules") or (sorted(found) if isinstance(found, (set, list)) else found)


def _plain_value(value: object) -> object:
    """Config blocks have their own types, which peft does not accept."""
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item) for key, item in value.items()}
    return [_plain_value(item) for item in value] if isinstance(value, (list, tuple)) else value


def _linear(transformer: "nn.Module") -> list[str]:
    """RETURNS (List[str]): Names of all linear layers."""
    return [name for name, part in transformer.named_modules() if name and type(part).__name__.endswith("Linear")]
