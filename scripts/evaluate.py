"""`spacy evaluate` for several trained pipelines, with a progress bar, in one process.

python scripts/evaluate.py DATA.spacy METRICS_DIR TRAINED_DIR [TRAINED_DIR ...]

Evaluates TRAINED_DIR/model-last and writes METRICS_DIR/NAME.json, NAME being the last part of TRAINED_DIR. A table of
all ends it.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import spacy
from spacy.cli.evaluate import evaluate
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from tqdm import tqdm

from spacy_transfer.text_table import text_table

SCORES = ("cats_score", "ents_f", "tag_acc")


def show_progress(total: int) -> None:
    """Draw a bar over what `Language.pipe` gives."""
    pipe = Language.pipe

    def watched(nlp: Language, texts: Iterable[Any], **settings: Any) -> Iterator[Any]:
        yield from tqdm(pipe(nlp, texts, **settings), total=total, unit="docs", leave=False)

    Language.pipe = watched  # type: ignore[method-assign]


def main() -> None:
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    data, metrics, trained = Path(sys.argv[1]), Path(sys.argv[2]), [Path(arg) for arg in sys.argv[3:]]
    metrics.mkdir(parents=True, exist_ok=True)
    docs: list[Doc] = list(DocBin().from_disk(data).get_docs(spacy.blank("en").vocab))
    show_progress(len(docs))
    rows = []
    for folder in trained:
        print(f"\nspacy evaluate {folder / 'model-last'} {data}", flush=True)
        scores = evaluate(str(folder / "model-last"), data, output=metrics / f"{folder.name}.json", silent=False)
        rows.append(
            (folder.name, *(f"{scores[key]:.1%}" for key in SCORES if key in scores), f"{scores['speed']:,.0f}")
        )
    header = ["pipeline", *(key for key in SCORES if key in scores), "words/s"]
    print(f"\n{text_table(rows, header=header, aligns='l' + 'r' * (len(header) - 1))}")


if __name__ == "__main__":
    main()
