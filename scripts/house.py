"""Counts the package: files per folder, lines, `Any`, lengths of functions, the calls of a training step.

    python scripts/house.py [--root FOLDER]

A step is `nlp.update` on one batch with two heads on a tiny BERT, the fifth of a training; what is counted are calls
of functions of the package, the files they stand in, and how often a call goes from one file to another.
"""

import argparse
import ast
import io
import os
import re
import sys
import tempfile
import tokenize
from collections import Counter
from pathlib import Path
from types import FrameType

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")


def count(package: Path) -> dict[str, object]:
    """Lines, names and lengths.

    package (Path): The folder of the package.
    RETURNS (Dict[str, object]): By what is counted.
    """
    files = sorted(package.rglob("*.py"))
    texts = {path: path.read_text(encoding="utf8") for path in files}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines = sum(text.count("\n") for text in texts.values())
    tokens = [token for text in texts.values() for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    names = sum(token.string == "Any" for token in tokens)
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lengths = sorted((n.end_lineno or n.lineno) - n.lineno + 1 for n in functions)
    riddles = [ast.get_docstring(tree) or "" for tree in trees.values()]
    return {
        "folders": dict(Counter(str(path.parent.relative_to(package)) for path in files)),
        "lines": lines,
        "Any per 1,000 lines": round(1000 * names / lines, 1),
        "function length, p95": lengths[int(0.95 * len(lengths))],
        "module docstrings that begin with a question word": sum(
            bool(re.match(r"(What|Who|Whether|When|Where|Which|How)\b", text)) for text in riddles
        ),
        "of": len([text for text in riddles if text]),
    }


def trace(package: Path) -> dict[str, int]:
    """Follow one training step.

    package (Path): The folder of the package.
    RETURNS (Dict[str, int]): Calls, files, changes of file.
    """
    import spacy
    import torch
    from spacy.training import Example
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = Path(tempfile.mkdtemp())
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(pieces), **size)).save_pretrained(folder)

    nlp = spacy.blank("en")
    block = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": str(folder)}
    nlp.add_pipe("transfer_backbone", config={"model": block})
    nlp.add_pipe("transfer_textcat")
    nlp.add_pipe("transfer_tagger")
    examples = []
    for i, text in enumerate(["anna lives in paris", "ben sings in rome"]):
        doc = nlp.make_doc(text)
        doc.cats = {"a": float(i), "b": float(1 - i)}
        for token in doc:
            token.tag_ = token.text[0].upper()
        examples.append(Example(nlp.make_doc(text), doc))
    nlp.initialize(lambda: examples)
    optimizer = spacy.registry.get("optimizers", "spacy-transfer.AdamW.v1")(learn_rate=1e-3)
    for _ in range(4):
        nlp.update(examples, sgd=optimizer)
    seen: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(package)):
            seen.append(frame.f_code.co_filename)

    sys.setprofile(note)
    nlp.update(examples, sgd=optimizer)
    sys.setprofile(None)
    changes = sum(a != b for a, b in zip(seen, seen[1:], strict=False))
    return {"calls": len(seen), "files": len(set(seen)), "changes of file": changes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent, help="a checkout")
    root = parser.parse_args().root.resolve()
    sys.path.insert(0, str(root))
    found = count(root / "spacy_transfer")
    for folder, files in found.pop("folders").items():  # type: ignore[attr-defined]
        print(f"{files:6}  files in {folder}")
    found |= {f"one training step: {name}": value for name, value in trace(root / "spacy_transfer").items()}
    for name, value in found.items():
        print(f"{value:6}  {name}")


if __name__ == "__main__":
    main()
