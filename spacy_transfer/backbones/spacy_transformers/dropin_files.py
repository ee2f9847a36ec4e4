"""Config and tokenizer as files in memory: slow tokenizers know no other way to be saved."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...errors import Errors
from ..transformer.source_checks import check_counts, forget_code, read_config
from ..transformer.tokenizer_checks import panics_are_errors, read_tokenizer, refuse_own_tokenizer
from .pipeline_checks import is_plain_name

_CONFIG = "config.json"


def write_files(config: Any, tokenizer: Any, vocab_file: bytes | None) -> dict[str, bytes]:
    """What transformers writes into a folder.

    vocab_file (Optional[bytes]): Contents of its vocabulary file, which slow tokenizers copy from where it lay.
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
    # Where the weights once lay is nobody's business, and would make equal pipelines differ.
    settings.name_or_path = ""
    return {**files, _CONFIG: settings.to_json_string(use_diff=False).encode("utf8")}


def read_files(
    files: dict[str, bytes], config_cls: Any, tokenizer_cls: Any, is_fast: bool, n_tensors: int
) -> tuple[Any, Any, bytes | None]:
    """Config and tokenizer from what `write_files` gave.

    is_fast (bool): Whether the tokenizer is a fast one.
    RETURNS (Tuple[PretrainedConfig, PreTrainedTokenizerBase, Optional[bytes]]): Config, tokenizer, and contents of its
        vocabulary file.
    RAISES (ValueError): When a file is damaged, or would run code.
    """
    where = "The saved backbone"
    with TemporaryDirectory(prefix="spacy-transfer-") as name:
        for file, contents in files.items():
            # Names only: a file from elsewhere must not write outside of this folder.
            if not is_plain_name(file) or not isinstance(contents, bytes):
                raise ValueError(Errors.T130.format(field=f"files.{file}", found="none", wanted="a file's contents"))
            (Path(name) / file).write_bytes(contents)
        check_counts(read_config(name, where), n_tensors, where)
        config = _read_safely(config_cls, name, where)
        forget_code(config)
        if "tokenizer.json" in files:
            with panics_are_errors(where):
                read_tokenizer(files["tokenizer.json"].decode("utf8"), where)
        tokenizer = _read_safely(tokenizer_cls, name, where, use_fast=is_fast)
    return config, tokenizer, files.get(tokenizer.vocab_files_names.get("vocab_file", ""))


def _read_safely(cls: Any, name: str, where: str, **settings: Any) -> Any:
    try:
        with panics_are_errors(where):
            return cls.from_pretrained(name, trust_remote_code=False, **settings)
    except ValueError as error:
        refuse_own_tokenizer(name, where, error)
        raise
