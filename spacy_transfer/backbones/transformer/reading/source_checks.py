"""Checks of sources and saved pipelines: none of their code runs, and damaged ones are refused."""

import math
import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ...._compat import no_initial_weights
from ....errors import Errors, Warnings
from ....types import Config

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

Fields: TypeAlias = Mapping[str, "type | tuple[type, ...] | Fields"]
"""Types by field; a mapping for a field that has fields itself."""

ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2")
_QUANTISED = ("quantization_config", "compression_config")
_SLACK = 1 << 26  # Numbers that an encoder may have besides its weights, such as masks and positions: 256 MB.
_MOST_LABELS, _MOST_POSITIONS = 1_000_000, 1 << 24


def check_folder(path: Path, where: str, cls: "type[PreTrainedModel] | None" = None) -> Config:
    """Check a folder of transformers before anything in it is loaded.

    cls (Optional[Type[PreTrainedModel]]): The class it is read with; None for that of AutoModel.
    RAISES (ValueError): When it would run code, is quantised, or promises more than its weights hold.
    """
    import transformers

    if (path / "adapter_config.json").exists():
        raise ValueError(Errors.T135.format(source=where, path=path))
    values = read_config(str(path), where)
    shapes = {str(i): shape for i, shape in enumerate(_shapes(path, where))}
    check_counts(values, len(shapes), where)
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # Configs accept any value, and raise any error.
        raise ValueError(Errors.T107.format(source=where, path=path, error=error)) from error
    if cls is None and type(config) in transformers.MODEL_MAPPING:
        found = transformers.MODEL_MAPPING[type(config)]
        cls = found[0] if isinstance(found, tuple) else found
    if cls is not None:
        check_size(cls, config, shapes, where, strict=False)
    return values


def read_config(name: str, where: str, **options: object) -> Config:
    """Config of a folder or hub id, as transformers finds it, with `options` such as `revision`. It is checked."""
    import transformers

    try:
        config, _ = transformers.PretrainedConfig.get_config_dict(name, **options)
    except OSError as error:
        raise ValueError(Errors.T107.format(source=where, path=name, error=error)) from error
    except (ValueError, TypeError) as error:
        raise _unusable(where, error) from error
    check_config(config, where)
    if config.get("auto_map"):
        warnings.warn(Warnings.W124.format(where=where, kind=config["model_type"]), stacklevel=2)
    return config


def check_config(config: Mapping[str, object], where: str) -> None:
    """Refuse a config that names code, or quantised weights."""
    import transformers

    for path, key, value in _walk(config):
        if key.endswith("auto_map") and value and not (path == key and _is_known(config.get("model_type"))):
            raise ValueError(Errors.T124.format(where=where, found=value, version=transformers.__version__))
        if key in _QUANTISED and value is not None:
            raise ValueError(Errors.T127.format(where=where, key=path, found=_short(value)))
        # transformers 4.48 writes the mark that it chose one: a bool, and no name of code.
        is_mark = key == "_attn_implementation_autoset" and isinstance(value, bool)
        if not is_mark and (key.lstrip("_").endswith("_implementation") or "attn_implementation" in key):
            _check_attention(path, value, where)


def _check_attention(key: str, value: object, where: str) -> None:
    from transformers.utils import is_flash_attn_2_available

    for name in value.values() if isinstance(value, Mapping) else [value]:
        known = name is None or isinstance(name, str) and name in ATTENTION
        if not known or (name == "flash_attention_2" and not is_flash_attn_2_available()):
            known_here = [a for a in ATTENTION if a != "flash_attention_2" or is_flash_attn_2_available()]
            raise ValueError(Errors.T125.format(where=where, key=key, found=name, known=", ".join(known_here)))


def forget_code(config: "PretrainedConfig") -> None:
    """Remove the names of code from a config: the code is not saved with the encoder."""
    config.__dict__.pop("auto_map", None)


def check_counts(config: Mapping[str, object], n_tensors: int, where: str) -> None:
    """Refuse numbers of layers, labels and positions that would take unbounded memory, before anything is built. A
    layer has at least one of the `n_tensors` tensors."""
    most = {r"(layers?|groups?|group_num|blocks)$": max(100, n_tensors), r"labels$": _MOST_LABELS}
    for path, key, value in _walk(config):
        for pattern, bound in {**most, r"position|n_ctx$": _MOST_POSITIONS}.items():
            if isinstance(value, (int, float)) and value > bound and re.search(pattern, key):
                found = f"{n_tensors} tensors"
                raise ValueError(Errors.T128.format(where=where, promised=f"{path} = {value}", found=found))


def make_config(values: Mapping[str, object], n_tensors: int, where: str) -> "PretrainedConfig":
    """The config of a saved encoder.

    RAISES (ValueError): When it is no config, or not safe.
    """
    import transformers

    check_config(values, where)
    check_counts(values, n_tensors, where)
    own: Config = {key: value for key, value in values.items() if key != "auto_map"}
    try:
        default = transformers.AutoConfig.for_model(str(own.get("model_type"))).to_dict()
        odd = [key for key, value in own.items() if not _is_alike(key, value, default.get(key))]
        if odd:
            raise TypeError(f"{odd[0]} = {_short(own[odd[0]])}, where {default[odd[0]]!r} would be usual")
        # transformers 5 looks at it no earlier than when it builds the encoder.
        if not isinstance(own.get("dtype"), (str, dict, type(None))):
            raise TypeError(f"dtype = {_short(own['dtype'])}, where a name such as 'float32' would be usual")
        config: PretrainedConfig = transformers.AutoConfig.for_model(**own)
        return config
    except Exception as error:  # Configs accept any value, and raise any error.
        raise _unusable(where, error) from error


def check_size(
    cls: "type[PreTrainedModel]",
    config: "PretrainedConfig",
    shapes: Mapping[str, Collection[int]],
    where: str,
    strict: bool,
) -> None:
    """Compare the sizes in a config with those of the weights, before memory is allocated for them.

    strict (bool): The names in `shapes` are the encoder's own: every shape must be the same.
    """
    import copy

    import torch

    try:
        with torch.device("meta"), no_initial_weights():
            empty = cls(copy.deepcopy(config))
    except Exception as error:  # Any error.
        if "meta tensor" in str(error):
            return  # The constructor of this class computes with its weights.
        raise _unusable(where, error) from error
    promised = sum(tensor.numel() for tensor in [*empty.parameters(), *empty.buffers()])
    found = sum(math.prod(shape) for shape in shapes.values())
    if promised > 2 * found + _SLACK:
        numbers = f"{promised:,} numbers"
        raise ValueError(Errors.T128.format(where=where, promised=numbers, found=f"{found:,}"))
    own = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    wrong = sorted(name for name in own if strict and name in shapes and own[name] != tuple(shapes[name]))
    if wrong:
        raise ValueError(Errors.T102.format(missing=[], unexpected=[], shapes=wrong))


def check_forward(transformer: "PreTrainedModel", ids: list[int], where: str) -> None:
    """Run an encoder once: some wrong values of a config show only in the forward pass."""
    import torch

    try:
        with torch.inference_mode():
            transformer(input_ids=torch.tensor([ids], device=transformer.device))
    except Exception as error:  # Any error.
        raise _unusable(where, error) from error


def check_finite(tensors: "Iterable[tuple[str, Tensor]]", where: str) -> None:
    """Refuse weights that are not numbers."""
    for name, tensor in tensors:
        if not tensor.is_floating_point():
            raise ValueError(Errors.T133.format(where=where, name=name, what=f"{tensor.dtype}, not floats"))
        # The sum is ten times as fast, and only finite if all numbers are. (It may also overflow.)
        if not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise ValueError(Errors.T133.format(where=where, name=name, what="values that are NaN or infinite"))


def check_header(parts: object, wanted: Fields, where: str = "") -> None:
    """Refuse a saved header that lacks a field, or has one of another type."""
    if not isinstance(parts, Mapping):
        raise ValueError(Errors.T130.format(field=where or "its header", found=_short(parts), wanted="a mapping"))
    for key, kind in wanted.items():
        field = f"{where}.{key}" if where else key
        if key not in parts:
            raise ValueError(Errors.T130.format(field=field, found="missing", wanted="there"))
        value = parts[key]
        if isinstance(kind, Mapping):
            check_header(value, kind, field)
        elif kind == list[int]:
            if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
                raise ValueError(Errors.T130.format(field=field, found=_short(value), wanted="a list of ids"))
        elif not isinstance(value, kind) or (isinstance(value, int) and kind is int and value < 0):
            name = getattr(kind, "__name__", str(kind))
            raise ValueError(Errors.T130.format(field=field, found=_short(value), wanted=f"of type {name}"))


def _shapes(path: Path, where: str) -> Iterable[Collection[int]]:
    """Shapes of the weights in a folder. Pickles are not opened: their size (2 bytes a number or more) is a bound."""
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors"))
    try:
        for file in files:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():
                    yield opened.get_slice(name).get_shape()
    except (SafetensorError, OSError) as error:
        raise ValueError(Errors.T107.format(source=where, path=path, error=error)) from error
    if not files:
        for file in path.glob("*.bin"):
            # The tensors are not known: a thousand is an upper bound.
            yield from [(file.stat().st_size // 2000,)] * 1000


def _walk(config: Mapping[str, object], above: str = "") -> Iterable[tuple[str, str, object]]:
    """YIELDS (Tuple[str, str, object]): Path, key and value of everything in a config, at any depth."""
    for key, value in config.items():
        path = f"{above}{key}"
        yield path, str(key), value
        for inner in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(inner, Mapping):
                yield from _walk(inner, f"{path}.")


def _is_known(kind: object) -> bool:
    """Whether transformers has a config and an encoder of its own for a kind."""
    import transformers

    if not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING:
        return False
    return transformers.CONFIG_MAPPING[kind] in transformers.MODEL_MAPPING


def _is_alike(key: str, value: object, usual: object) -> bool:
    """Whether a value has the type of the default: true or false, a number, text, a list, a mapping."""
    if isinstance(usual, bool):
        return value is None or isinstance(value, (bool, int)) and value in (0, 1)
    kinds: list[tuple[type, ...]] = [(bool, int, float), (str,), (list, tuple), (Mapping,)]
    kind = next((kind for kind in kinds if isinstance(usual, kind)), (object,))
    return value is None or "token_id" in key or isinstance(value, kind)


def _unusable(where: str, error: Exception) -> ValueError:
    import transformers

    return ValueError(Errors.T129.format(where=where, error=error, version=transformers.__version__))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
