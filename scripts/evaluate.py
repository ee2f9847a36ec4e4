"""`spacy evaluate`, with a progress bar.

python scripts/evaluate.py PIPELINE DATA.spacy METRICS.json
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


def show_progress(total: int) -> None:
    """Draw a bar over what `Language.pipe` gives."""
    pipe = Language.pipe

    def watched(nlp: Language, texts: Iterable[Any], **settings: Any) -> Iterator[Any]:
        yield from tqdm(pipe(nlp, texts, **settings), total=total, unit="docs", leave=False)

    Language.pipe = watched  # type: ignore[method-assign]


def main() -> None:
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    pipeline, data, metrics = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    metrics.parent.mkdir(parents=True, exist_ok=True)
    docs: list[Doc] = list(DocBin().from_disk(data).get_docs(spacy.blank("en").vocab))
    show_progress(len(docs))
    evaluate(pipeline, data, output=metrics, silent=False)


if __name__ == "__main__":
    main()
