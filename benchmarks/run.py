"""Run the benchmarks one after the other and gather their rows for the README.

    python benchmarks/run.py --data DIR [--only NAME ...] [--again]
    python scripts/update_readme.py benchmarks=docs/benchmarks.md

DIR holds public data sets: DIR/mr/pos.txt (Pang and Lee's sentence polarity data, a sentence a line; .gz works) and
DIR/banking77 (PolyAI's train.csv and test.csv). A row that was measured stays in metrics/benchmarks/ and is not
measured again unless --again says so.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from common import ROOT

KEPT = ROOT / "metrics" / "benchmarks"
TABLE = ROOT / "docs" / "benchmarks.md"
COMMANDS = {
    "sentences": "inference.py --texts {texts} --most 2000",
    "articles": "inference.py",
    "rows": "rows.py",
    "vectors": "vectors.py --texts {texts}",
    "frozen": "frozen_epochs.py",
    "memory": "memory.py --texts {texts}",
    "loading": "loading.py",
    "bbc": "accuracy.py bbc",
    "banking77": "accuracy.py banking77 --data {banking77}",
    "maxent": "maxent.py --data {banking77}",
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
    return [line for line in out.splitlines() if line.startswith("| ")][1:]


def main() -> None:
    import torch

    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--only", nargs="*", choices=list(COMMANDS), default=list(COMMANDS))
    args.add_argument("--again", action="store_true")
    opts = args.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    found = sorted((opts.data / "mr").glob("pos.txt*"))
    given = {"texts": str(found[0]) if found else "", "banking77": str(opts.data / "banking77")}
    shown = {"texts": "mr/pos.txt", "banking77": "banking77"}
    for name in opts.only:
        if opts.again or not (KEPT / f"{name}.md").exists():
            rows = measure(name, given)
            command = f"`{COMMANDS[name].format(**shown)}`"
            (KEPT / f"{name}.md").write_text("".join(f"{row} {command} |\n" for row in rows), encoding="utf8")
        print((KEPT / f"{name}.md").read_text(encoding="utf8"), end="", flush=True)
    table = "| what | measured | aim | `python benchmarks/` |\n|---|---|---|---|\n"
    table += "".join((KEPT / f"{n}.md").read_text(encoding="utf8") for n in COMMANDS if (KEPT / f"{n}.md").exists())
    machine = (
        f"{cpu()}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
    )
    TABLE.write_text(f"{table}\nMachine: {machine}.\n", encoding="utf8")


if __name__ == "__main__":
    main()
