"""Install a packaged pipeline where nothing can be fetched, and let it classify sentences it has never seen.

    python scripts/try_package.py PACKAGES_DIR NAME OUT.txt

Makes a virtual environment in PACKAGES_DIR/env that sees the packages of this one, installs the wheel of the pipeline
into it with `--no-deps --no-index`, and loads it there with the hub switched off.
What it says is printed, and written to OUT.txt.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

SENTENCES = (
    "The striker scored twice in extra time and sent the home side to the cup final.",
    "Shares in the airline fell sharply after it warned that fuel prices would eat its profit.",
    "The prime minister promised voters a referendum before the next general election.",
)

CLASSIFY = """
import sys, spacy
nlp = spacy.load(sys.argv[1])
for doc in nlp.pipe(sys.argv[2:]):
    topic = max(doc.cats, key=doc.cats.get)
    print(f"{topic:13} {doc.cats[topic]:.2f}  {doc.text}")
"""


def make_env(folder: Path) -> Path:
    """RETURNS (Path): The Python of a new environment that sees the packages of the one that runs this."""
    venv.create(folder, clear=True, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    base = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=base))
    # addsitedir, not a bare path: it reads the .pth files over there too, as editable installs need.
    parents = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    lines = [f"import site; site.addsitedir({parent!r})" for parent in parents]
    (site / "parent.pth").write_text("\n".join(lines) + "\n", encoding="utf8")
    return python


def main() -> None:
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    packages, name = Path(sys.argv[1]), f"en_{sys.argv[2]}"
    wheels = sorted(packages.glob(f"{name}-*/dist/*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"Expected one wheel of {name} in {packages}, found {len(wheels)}. Run: spacy package")
    python = make_env(packages / "env")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheels[0])], check=True)
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    command = [str(python), "-c", CLASSIFY, name, *SENTENCES]
    said = subprocess.run(command, check=True, env=offline, stdout=subprocess.PIPE, text=True, encoding="utf8").stdout
    said = f"{wheels[0].name} ({wheels[0].stat().st_size / 1e6:.0f} MB) says:\n{said}"
    Path(sys.argv[3]).write_text(said, encoding="utf8")
    print(said)


if __name__ == "__main__":
    main()
