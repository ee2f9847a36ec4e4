"""Run a module as `python -m` does, and write down how long it took.

python scripts/timed.py SECONDS.json MODULE [ARGUMENTS ...]
"""

import json
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    out, command = Path(sys.argv[1]), sys.argv[2:]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command], check=True)
    seconds = time.perf_counter() - start
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"seconds": round(seconds, 2)}) + "\n", encoding="utf8")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None
