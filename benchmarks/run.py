"""Run the benchmarks one after the other and write their rows into six pages, docs/benchmarks*.md.

    python benchmarks/run.py --data DIR [--only NAME ...] [--again]

DIR holds public data sets: DIR/mr/pos.txt (Pang and Lee's sentence polarity data, a sentence a line), DIR/banking77
(PolyAI's train.csv and test.csv), DIR/clinc150 (data_full.json), DIR/wnut17 (train.conll, test.conll), DIR/wikigold
(wikigold.conll.txt), DIR/crossner (ai and music: train.txt, test.txt), DIR/ud_en_ewt (train.conllu, test.conllu) and
DIR/stsb (train.csv, test.csv), DIR/ncbi_disease (train.tsv); .gz works everywhere. What was measured stays in
metrics/benchmarks/ and is not measured again unless --again says so; rows of what was not measured here stay, if they
are of a machine like this one. A script that fails does not keep the others from running; the end tells what is
missing.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from common import ROOT

HEAD = "| what | measured | aim | `python benchmarks/` |\n"
KEPT = ROOT / "metrics" / "benchmarks"
# By the name of the file in docs/.
TABLES = {
    "benchmarks": {
        "sentences": "inference.py --texts {texts} --most 2000",
        "articles": "inference.py",
        "rows": "rows.py",
        "vectors": "vectors.py --texts {texts}",
        "frozen": "frozen_epochs.py",
        "memory": "memory.py --texts {texts}",
        "loading": "loading.py",
        "annotate": "annotate.py apply",
        "annotate_memory": "annotate.py memory",
        "annotate_plan": "annotate.py plan",
        "annotate_ray": "annotate.py ray",
        "annotate_kills": "annotate.py kills",
        "annotate_kills_ray": "annotate.py kills --ray",
        "bbc": "accuracy.py bbc",
        "banking77": "accuracy.py banking77 --data {banking77}",
    },
    "benchmarks_tuning": {
        "training": "training.py --texts {texts}",
        "training_articles": "training.py",
        "loss_curve": "loss_curve.py",
        "optimizer_step": "optimizer_step.py",
        "pcgrad": "pcgrad.py",
        "maxent": "maxent.py --data {banking77}",
        "banking77_few": "finetuning.py banking77 --data {banking77} --method probe full lpft lpft_maxent lora bf16",
        "banking77_all": "finetuning.py banking77 --data {banking77} --shots all --method lpft lpft_maxent",
        "clinc150_all": "finetuning.py clinc150 --data {clinc150} --shots all --method lpft_maxent",
        "labelling_wnut17": "labelling.py wnut17 --data {wnut17}",
        "labelling_ud_en_ewt": "labelling.py ud_en_ewt --data {ud_en_ewt}",
        "frozen_is_frozen": "frozen.py",
    },
    "benchmarks_pretraining": {
        "pretraining_cnn": "pretraining.py scratch --seconds 120",
        "pretraining_bilstm": "pretraining.py scratch --encoder bilstm --seconds 120",
        "pretraining_domain": "pretraining.py domain --data {ncbi_disease} --seconds 300",
        "pretraining_lora": "pretraining.py domain --data {ncbi_disease} --seconds 300 --lora",
        "pretraining_speed": "pretraining.py speed --data {ncbi_disease}",
        "pretraining_few": "pretraining.py few --data {banking77}",
        "pretraining_match": "pretraining.py match --data {banking77} --clinc150 {clinc150}",
        "pretraining_memory": "pretraining.py memory",
        "static": "static.py --data {banking77} --clinc150 {clinc150}",
        "word_vectors": "word_vectors.py",
    },
    "benchmarks_heads": {
        "similarity": "similarity.py --data {stsb} --seeds 0",
        "new_label": "new_label.py --data {banking77}",
        "calibration_banking77": "calibration.py banking77 --data {banking77}",
        "calibration_wnut17": "calibration.py wnut17 --data {wnut17}",
        "checkpoints": "checkpoints.py --data {banking77}",
        "checkpoints_token": "checkpoints.py --data {wnut17} --task token",
        "head_alone": "heads.py",
        "entities_speed": "entities_speed.py --data {wnut17}",
        "entities_wnut17": "entities.py wnut17 --data {wnut17} --head crf ner",
        "entities_wikigold": "entities.py wikigold --data {wikigold} --head crf ner",
        "entities_crossner_ai": "entities.py crossner_ai --data {crossner_ai} --head crf ner",
        "entities_wnut17_rate": "entities.py wnut17 --data {wnut17} --head ner --seeds 0 --rate 0.005",
        "entities_wikigold_rate": "entities.py wikigold --data {wikigold} --head ner --seeds 0 --rate 0.005",
        "entities_crossner_ai_rate": "entities.py crossner_ai --data {crossner_ai} --head ner --seeds 0 --rate 0.005",
        "entities_ud_en_ewt": "entities.py ud_en_ewt --data {ud_en_ewt} --seeds 0",
    },
    "benchmarks_multitask": {
        "multitask": "multitask.py quality --data {data}",
        "multitask_speed": "multitask.py speed --data {data}",
        "mixed_memory": "mixed_memory.py --texts {texts}",
        "distillation": "distillation.py clinc150 --data {clinc150}",
    },
    "benchmarks_forgetting": {
        "forgetting_extend": "forgetting.py extend --data {data} --method naive beside beside_minilm",
        "forgetting_sequence": "forgetting.py sequence --data {data}",
    },
}
COMMANDS = {name: command for table in TABLES.values() for name, command in table.items()}
# By placeholder.
FOLDERS = {
    **{name: name for name in ("banking77", "clinc150", "ncbi_disease", "wnut17", "wikigold", "ud_en_ewt", "stsb")},
    "crossner_ai": "crossner/ai",
}


def cpu() -> str:
    """RETURNS (str): Name of the processor, where Linux tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(name: str, given: dict[str, str]) -> list[str]:
    """RETURNS (List[str]): The rows that a script printed, without the head of its table."""
    script, *arguments = [part.format(**given) for part in shlex.split(COMMANDS[name])]
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return table_rows(out)


def table_rows(printed: str) -> list[str]:
    """RETURNS (List[str]): The rows of a table among what was printed, without its head."""
    return [line for line in printed.splitlines() if line.startswith("| ")][1:]


def run(names: Sequence[str], given: dict[str, str], shown: dict[str, str], again: bool) -> list[str]:
    """Measure what has not been measured yet, and keep its rows.

    names (Sequence[str]): Of the commands.
    given (Dict[str, str]): What stands for the placeholders.
    shown (Dict[str, str]): The same as the table shows it.
    again (bool): Measure all of them.
    RETURNS (List[str]): Names of those that failed.
    """
    failed = []
    for name in names:
        file, command = KEPT / f"{name}.md", COMMANDS[name].format(**shown)
        if again or not kept_rows(name, command):
            start = time.perf_counter()
            print(f"{name}: {command}", file=sys.stderr, flush=True)
            try:
                rows = measure(name, given)
            except subprocess.CalledProcessError:
                failed.append(name)
                continue
            file.write_text("".join(f"{row} `{command}` |\n" for row in rows), encoding="utf8")
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        print(file.read_text(encoding="utf8"), end="", flush=True)
    return failed


def kept_rows(name: str, command: str) -> str:
    """RETURNS (str): What was measured here by just this command; empty for nothing."""
    file = KEPT / f"{name}.md"
    return _printed_by(command, file.read_text(encoding="utf8")) if file.exists() else ""


def _printed_by(command: str, text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.endswith(f"| `{command}` |\n"))


def rows_of(name: str, command: str, before: str, machine: str) -> str:
    """RETURNS (str): The rows that are kept, or those that a table of a machine like this one has; empty for none."""
    if rows := kept_rows(name, command):
        return rows
    return _printed_by(command, before) if before.endswith(f"\nMachine: {machine}.\n") else ""


def as_table(rows: Iterable[str], machine: str) -> str:
    """RETURNS (str): The table; empty if there are no rows."""
    body = "".join(rows)
    return f"{HEAD}|---|---|---|---|\n{body}\nMachine: {machine}.\n" if body else ""


def as_page(before: str, table: str) -> str:
    """RETURNS (str): The page with a new table; what stands above the table stays."""
    return before.split(HEAD, 1)[0] + table


def main() -> None:
    import torch

    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--only", nargs="*", choices=list(COMMANDS), default=list(COMMANDS))
    args.add_argument("--again", action="store_true")
    opts = args.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    found = sorted((opts.data / "mr").glob("pos.txt*"))
    given = {"texts": str(found[0]) if found else "", "data": str(opts.data)} | {
        name: str(opts.data / folder) for name, folder in FOLDERS.items()
    }
    shown = {"texts": "mr/pos.txt", "data": "DIR"} | FOLDERS
    failed = run(opts.only, given, shown, opts.again)
    machine = f"{cpu()}, {os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}"
    for table, commands in TABLES.items():
        page = ROOT / "docs" / f"{table}.md"
        before = page.read_text(encoding="utf8") if page.exists() else ""
        rows = {name: rows_of(name, text.format(**shown), before, machine) for name, text in commands.items()}
        if text := as_table(rows.values(), machine):
            page.write_text(as_page(before, text), encoding="utf8")
        if missing := [name for name, found in rows.items() if not found]:
            print(f"docs/{table}.md has no rows yet of: {', '.join(missing)}", file=sys.stderr)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
