"""Check what the two distributions hold: nothing of the project is missing, and the wheel brings nothing else.

python scripts/check_distribution.py SDIST.tar.gz WHEEL.whl
"""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "spacy_transfer"
FOLDERS = (".ci", "benchmarks", "configs", "docs", "scripts", "tests")
FILES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "constraints.txt",
    "mkdocs.yml",
    "project.yml",
    "pyproject.toml",
)


def files_under(root: Path, folder: str) -> set[str]:
    """RETURNS (Set[str]): The files of a folder of the checkout, without what Python compiled."""
    found = (path for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix() for path in found}


def problems_of_sdist(root: Path, sdist: Path) -> list[str]:
    """RETURNS (List[str]): What the sdist lacks of the checkout."""
    with tarfile.open(sdist) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = set(FILES).union(*(files_under(root, folder) for folder in (PACKAGE, *FOLDERS)))
    return [f"{sdist.name} lacks {name}" for name in sorted(wanted - held)]


def problems_of_wheel(root: Path, wheel: Path) -> list[str]:
    """RETURNS (List[str]): What the wheel lacks of the package, and what it holds besides the package."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    info = {name for name in held if ".dist-info/" in name}
    wanted = files_under(root, PACKAGE)
    problems = [f"{wheel.name} lacks {name}" for name in sorted(wanted - held)]
    problems += [f"{wheel.name} holds {name}, which is not of the package" for name in sorted(held - wanted - info)]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in info):
        problems.append(f"{wheel.name} lacks the license")
    if f"{PACKAGE}/py.typed" not in held:
        problems.append(f"{wheel.name} lacks {PACKAGE}/py.typed")
    return problems


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sdist, wheel = map(Path, sys.argv[1:])
    problems = problems_of_sdist(ROOT, sdist) + problems_of_wheel(ROOT, wheel)
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{sdist.name} and {wheel.name} are complete")


if __name__ == "__main__":
    main()
