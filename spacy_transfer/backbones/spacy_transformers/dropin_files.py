"""Config and tokenizer as files in memory: slow tokenizers can only be saved as files."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from ...errors import Errors
from ...types import HFTokenizer
from ..transformer.reading.source_checks import check_counts, forget_code, read_config
from ..transformer.reading.tokenizer_checks import panics_are_errors, read_tokenizer, refuse_own_tokenizer
from .pipeline_checks import is_plain_name

if TYPE_CHECKING:
    from transformers import AutoConfig, AutoTokenizer, PretrainedConfig

_CONFIG = "config.json"
FoundT = TypeVar("FoundT")


def write_files(config: "PretrainedConfig", tokenizer: HFTokenizer, vocab_file: bytes | None) -> dict[str, bytes]:
    """The files that transformers writes.

    vocab_file (Optional[bytes]): Contents of its vocabulary file, which slow tokenizers copy.
    RETURNS (Dict[str, bytes]): Contents by name of file.
    """
    with TemporaryDirectory(prefix="spacy-transfer-") as name:
        folder = Path(name)
        where = tokenizer.vocab_files_names.get("vocab_file")
        if vocab_file is not None and where is not None:
            (folder / where).write_bytes(vocab_file)
            tokenizer.vocab_file = str(folder / where)
        tokenizer.save_pretrained(name)
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    settings = type(config).from_dict(config.to_dict())
    settings.name_or_path = ""  # Equal pipelines would differ by the folder of the source.
    return {**files, _CONFIG: settings.to_json_string(use_diff=False).encode("utf8")}


def read_files(
    files: dict[str, bytes],
    config_cls: "type[AutoConfig]",
    tokenizer_cls: "type[AutoTokenizer]",
    is_fast: bool,
    n_tensors: int,
) -> "tuple[PretrainedConfig, HFTokenizer, bytes | None]":
    """Config and tokenizer from such files.

    RETURNS (Tuple[PretrainedConfig, HFTokenizer, Optional[bytes]]): Config, tokenizer, and contents of its vocabulary
        file.
    RAISES (ValueError): When a file is damaged, or would run code.
    """
    where = "The saved backbone"
    with TemporaryDirectory(prefix="spacy-transfer-") as name:
        for file, contents in files.items():
            # A name with a path could write outside of this folder.
            if not is_plain_name(file) or not isinstance(contents, bytes):
                raise ValueError(Errors.T130.format(field=f"files.{file}", found="none", wanted="a file's contents"))
            (Path(name) / file).write_bytes(contents)
        check_counts(read_config(name, where), n_tensors, where)
        config: PretrainedConfig = _read_safely(config_cls.from_pretrained, name, where)
        forget_code(config)
        if "tokenizer.json" in files:
            with panics_are_errors(where):
                read_tokenizer(files["tokenizer.json"].decode("utf8"), where)
        tokenizer: HFTokenizer = _read_safely(tokenizer_cls.from_pretrained, name, where, use_fast=is_fast)
    return config, tokenizer, files.get(tokenizer.vocab_files_names.get("vocab_file", ""))


def _read_safely(read: Callable[..., FoundT], name: str, where: str, **settings: bool) -> FoundT:
    try:
        with panics_are_errors(where):
            return read(name, trust_remote_code=False, **settings)
    except ValueError as error:
        refuse_own_tokenizer(name, where, error)
        raise
