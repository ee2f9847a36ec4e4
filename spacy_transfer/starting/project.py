"""The folder that `transfer init` writes: a spaCy project with data, config, workflow and README."""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spacy.tokens import Doc
from thinc.api import Config

from ..errors import Errors
from .annotation_exports import LeftOut
from .choice import Choice, in_words, range_in_words
from .config_blocks import make_config
from .labelled_rows import Row
from .make_docs import write_docs

FOLDS = 5
MARK = "Made by `python -m spacy transfer init`"

PROJECT = """# {mark}: python -m spacy project run all
title: "{title}"
description: "{description}"

vars:
  name: "{name}"
  version: "0.0.1"
  gpu_id: {gpu_id}
  seed: {seed}

directories: ["data", "training", "metrics", "packages"]

workflows:
  all:
    - train
    - evaluate
    - report
    - package
    - try

commands:
  - name: train
    help: "Train by config.cfg (about {time})"
    script:
      - "python -m spacy train config.cfg --output training --paths.train data/train.spacy --paths.dev data/dev.spacy \
--system.seed ${{vars.seed}} --gpu-id ${{vars.gpu_id}}"
    deps: [config.cfg, data/train.spacy, data/dev.spacy]
    outputs: [training/model-best]

  - name: evaluate
    help: "Score the best pipeline on the test texts, which it has never seen"
    script:
      - "python -m spacy evaluate training/model-best data/test.spacy --output metrics/test.json \
--gpu-id ${{vars.gpu_id}}"
    deps: [training/model-best, data/test.spacy]
    outputs: [metrics/test.json]

  - name: report
    help: "One page on what it gets right and wrong: metrics/report.html"
    script:
      - "python -m spacy transfer report training/model-best data/test.spacy metrics/report.html \
--gpu-id ${{vars.gpu_id}}"
    deps: [training/model-best, data/test.spacy]
    outputs: [metrics/report.html]

  - name: package
    help: "Turn the best pipeline into a wheel, for pip install"
    script:
      - "python make_wheel.py --name ${{vars.name}} --version ${{vars.version}}"
    deps: [training/model-best, make_wheel.py]
    outputs: ["packages/{lang}_${{vars.name}}-${{vars.version}}/dist"]

  - name: try
    help: "Let the best pipeline read three test texts. For your own: python try.py \\"A text.\\""
    script:
      - "python try.py"
    deps: [training/model-best, try.py]

  - name: tune
    help: "Search better settings, in about {tune_help} (pip install optuna filelock)"
    script:
      - "python -m spacy transfer tune config.cfg space.cfg --output tuning --trials {tune_trials} \
--paths.train data/train.spacy --paths.dev data/dev.spacy --gpu-id ${{vars.gpu_id}}"
    deps: [config.cfg, space.cfg, data/train.spacy, data/dev.spacy]
"""

WHEEL = '''"""Make a wheel of the trained pipeline. What the build prints is in packages/build.log."""

import json
import subprocess
import sys
from pathlib import Path

from spacy.tokens import DocBin

HERE = Path(__file__).parent
model, packages, test = HERE / "training" / "model-best", HERE / "packages", HERE / "metrics" / "test.json"
packages.mkdir(exist_ok=True)


def read(path):
    return json.loads(path.read_text(encoding="utf8"))


# The README of the wheel says on which texts each score was measured.
meta = {**read(model / "meta.json"), "description": {description}}
# Losses are of the training, and no scores.
meta["performance"] = {name: score for name, score in meta["performance"].items() if not name.endswith("_loss")}
n = {split: len(DocBin().from_disk(HERE / "data" / f"{split}.spacy")) for split in ("dev", "test")}
notes = [f"These scores are those of the {n['dev']} dev texts, by which the best pipeline of the training was chosen."]
if test.exists():
    found = {name: score for name, score in read(test).items() if name in meta["performance"] and name != "speed"}
    rows = [f"| `{name.upper()}` | {score * 100:.2f} |" for name, score in found.items() if isinstance(score, float)]
    notes += [f"### Test\\n\\nOn {n['test']} texts that were not used before:", "\\n".join(
        ["| Type | Score |", "| --- | --- |", *rows]
    )]
given = packages / "meta.json"
given.write_text(json.dumps({**meta, "notes": "\\n\\n".join(notes)}), encoding="utf8")
for old in packages.glob("*/README.md"):
    old.unlink()  # spaCy would keep it, with its old scores.

command = [sys.executable, "-m", "spacy", "package", str(model), str(packages), "--build", "wheel", "--force"]
log = packages / "build.log"
with log.open("w", encoding="utf8") as file:
    command += ["--meta-path", str(given), *sys.argv[1:]]
    done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
if done.returncode:
    sys.exit(log.read_text(encoding="utf8", errors="replace"))
newest = max(packages.glob("*/dist/*.whl"), key=lambda path: path.stat().st_mtime)
print(f"Made {newest.relative_to(HERE)}")
'''

TRY = '''"""Let the trained pipeline read texts: python try.py "A text." "Another one." """

import json
import sys
from pathlib import Path

import spacy

HERE = Path(__file__).parent
nlp = spacy.load(HERE / "training" / "model-best")
examples = json.loads((HERE / "data" / "examples.json").read_text(encoding="utf8"))
for doc in nlp.pipe(sys.argv[1:] or examples):
    print(f"\\n{doc.text[:200]}")
    {show}
if not sys.argv[1:]:
    page, wheels = HERE / "metrics" / "report.html", list(HERE.glob("packages/*/dist/*.whl"))
    print(f"\\nThe best pipeline: {HERE / 'training' / 'model-best'}")
    if page.exists():
        print(f"What it gets right and wrong: {page}")
    if wheels:
        newest = max(wheels, key=lambda path: path.stat().st_mtime)
        name = newest.name.split("-")[0]
        print(f"Where spacy-transfer is installed: pip install {newest}, then spacy.load({name!r})")
'''
_SHOW = {
    "textcat": """for label, score in sorted(doc.cats.items(), key=lambda cat: -cat[1])[:3]:
        print(f"  {score:.2f} {label}")""",
    "ner": 'print("  ->", *(f"{ent.text} [{ent.label_}]" for ent in doc.ents))',
    "spancat": 'print("  ->", *(f"{span.text} [{span.label_}]" for span in doc.spans["sc"]), sep="  ")',
    "tagger": 'print("  ->", *(f"{token.text}/{token.tag_}" for token in doc))',
    "regression": 'print(f"  -> {doc._.score:.3f}")',
}

README = """# {title}

{mark}. {description}

```bash
python -m spacy project run all
```

This trains, scores the test texts, writes the page `metrics/report.html`, and builds a wheel in `packages/`.
All of it takes {whole} on this machine, the training alone about {time}. The log of the training shows scores
of the {n_dev} dev texts; `metrics/test.json` and the page show those of the {n_test} test texts. To do one step:
`python -m spacy project run train` (`evaluate`, `report`, `package`, `try`, `tune`).

| file | what it is |
|---|---|
| `config.cfg` | all settings of the training. Its first lines say why they were chosen |
| `data/train.spacy`, `data/dev.spacy`, `data/test.spacy` | {n_train}, {n_dev} and {n_test} texts, none in two files |
| `data/left_out.jsonl` | rows that were left out ({n_left_out}), each with the reason |
| `data/found.txt` | what was found in the data |
| `training/model-best` | the trained pipeline: `spacy.load("training/model-best")` |

To use the wheel elsewhere: `pip install CLONE packages/*/dist/*.whl`, where CLONE is the folder of spacy-transfer's
clone, then `spacy.load("{package}")`.

Train differently: `python -m spacy transfer config --help` prints other configs. Labels are few? Let
`python -m spacy transfer suggest training/model-best TEXTS` choose the texts to label next.
"""

_RATE = "[training.optimizer.learn_rate{inner}]\nlow = {low}\nhigh = {high}\nlog = true\n"
SPACE = "# What `transfer tune` may change.\n\n{rate}\n[training.batcher.size]\nchoices = [16, 32, 64]\n"


@dataclass(frozen=True)
class Project:
    """What is written.

    docs (Dict[str, List[Doc]]): By split.
    examples (List[str]): Some texts of the test split.
    table (str): What was found, for people.
    """

    name: str
    source: str
    task: str
    choice: Choice
    docs: dict[str, list[Doc]]
    left_out: Sequence[LeftOut]
    examples: Sequence[str]
    table: str
    seed: int
    gpu_id: int


def check_out(folder: Path, *, is_forced: bool = False) -> None:
    """RAISES (ValueError): When a folder holds something that this command has not written; or that it has, and that
    somebody may have changed since.

    is_forced (bool): A project of this command may be written anew.
    """
    marked = folder / "project.yml"
    if _is_ours(marked) and not is_forced:
        raise ValueError(Errors.T958.format(path=folder))
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not _is_ours(marked)):
        raise ValueError(Errors.T994.format(path=folder))


def _is_ours(path: Path) -> bool:
    return path.is_file() and MARK in path.read_text(encoding="utf8", errors="replace")


def package_name(path: Path) -> str:
    """RETURNS (str): A name for a package, out of that of a file."""
    name = re.sub(r"\W+", "_", path.stem.lower(), flags=re.ASCII).strip("_")
    return name if name and not name[0].isdigit() else f"data_{name}".rstrip("_")


def write_project(project: Project, folder: Path) -> None:
    """Write all files beside the folder, then move them in: what was trained there before stays until the next
    training. Nothing is half-written."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".transfer-init-", dir=folder.parent) as place:
        new = Path(place)
        for name, text in files_of(project).items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf8")
        for split, docs in project.docs.items():
            write_docs(docs, new / "data" / f"{split}.spacy")
        for path in sorted(new.rglob("*")):
            target = folder / path.relative_to(new)
            if path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
    for name in ("training", "metrics", "packages"):
        (folder / name).mkdir(exist_ok=True)


def files_of(project: Project) -> dict[str, str]:
    """RETURNS (Dict[str, str]): The text files of a project, by their names."""
    recipe = project.choice.recipe
    counts = {f"n_{split}": f"{len(docs):,}" for split, docs in project.docs.items()}
    what = {"ner": "entities", "spancat": "spans", "tagger": "tags", "regression": "numbers"}.get(
        project.task, "labels of texts"
    )
    source = project.source.replace('"', "'").replace("\\", "/")  # It stands between quotes of YAML.
    words: dict[str, object] = {
        "mark": MARK,
        "title": f"{project.name}: {what}",
        "description": f"Learns {what} from {source}.",
        "name": project.name,
        "lang": recipe.lang,
        "package": f"{recipe.lang}_{project.name}",
        "time": in_words(project.choice.seconds),
        "whole": range_in_words(project.choice.whole),
        "gpu_id": project.gpu_id,
        "seed": project.seed,
        "n_left_out": len(project.left_out),
        "tune_help": "20 trainings",
        "tune_trials": 20,
        **counts,
    }
    if recipe.tuning == "lpft" and len(project.docs["train"]) >= FOLDS:  # Few texts: those of dev say too little.
        words |= {"tune_help": f"12 trials of {FOLDS} trainings each", "tune_trials": f"12 --folds {FOLDS}"}
    config = make_config(recipe)
    show = _SHOW.get(project.task, _SHOW["textcat"])
    return {
        "config.cfg": config_of(project.choice, config),
        "space.cfg": space_of(config),
        "project.yml": PROJECT.format(**words),
        "README.md": README.format(**words),
        "try.py": TRY.replace("{show}", show),
        "make_wheel.py": WHEEL.replace("{description}", repr(words["description"])),
        "data/examples.json": json.dumps(list(project.examples), ensure_ascii=False, indent=1) + "\n",
        "data/left_out.jsonl": "".join(_left_out(row, reason) for row, reason in project.left_out),
        "data/found.txt": f"{project.table}\n",
    }


def config_of(choice: Choice, config: Config) -> str:
    """RETURNS (str): The config, with the reasons for it as its first lines."""
    recipe = choice.recipe
    head = [
        f"{MARK}.",
        f"Task: {recipe.task}. Backbone: {recipe.source}. Training: {recipe.tuning}.",
        *(f"Why: {reason}." for reason in choice.reasons),
        f"Estimated time of the training: {in_words(choice.seconds)}.",
    ]
    return "\n".join(f"# {line}" for line in head) + f"\n\n{config.to_str()}\n"


def space_of(config: Config) -> str:
    """RETURNS (str): A space for `transfer tune` that fits a config."""
    rate = config["training"]["optimizer"]["learn_rate"]
    inner, middle = (".learn_rate", rate["learn_rate"]) if isinstance(rate, dict) else ("", rate)
    return SPACE.format(rate=_RATE.format(inner=inner, low=f"{middle / 5:.1g}", high=f"{middle * 5:.1g}"))


def _left_out(row: Row, reason: str) -> str:
    fields = {"where": row.place, "reason": reason, "text": row.text, "labels": list(row.labels)}
    more = {"score": row.score, "spans": list(row.spans)}
    found = {**fields, **{key: value for key, value in more.items() if value}}
    return json.dumps(found, ensure_ascii=False) + "\n"
