"""Config and tokenizer as files in memory: slow tokenizers know no other way to be saved."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_CONFIG = "config.json"


def write_files(config: Any, tokenizer: Any, vocab_file: bytes | None) -> dict[str, bytes]:
    """What transformers writes into a folder.

    config (PretrainedConfig): The encoder's.
    tokenizer (PreTrainedTokenizerBase): The tokenizer, fast or slow.
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
    files: dict[str, bytes], config_cls: Any, tokenizer_cls: Any, is_fast: bool
) -> tuple[Any, Any, bytes | None]:
    """Config and tokenizer from what `write_files` gave.

    files (Dict[str, bytes]): Contents by name of file.
    config_cls (Type[AutoConfig]), tokenizer_cls (Type[AutoTokenizer]): Read them.
    is_fast (bool): Whether the tokenizer is a fast one.
    RETURNS (Tuple[PretrainedConfig, PreTrainedTokenizerBase, Optional[bytes]]): Config, tokenizer, and contents of its
        vocabulary file.
    """
    with TemporaryDirectory(prefix="spacy-transfer-") as name:
        for file, contents in files.items():
            # Names only: a file from elsewhere must not write outside of this folder.
            (Path(name) / Path(file).name).write_bytes(contents)
        config = config_cls.from_pretrained(name)
        tokenizer = tokenizer_cls.from_pretrained(name, use_fast=is_fast)
    where = tokenizer.vocab_files_names.get("vocab_file", "")
    return config, tokenizer, files.get(where)
