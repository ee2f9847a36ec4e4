"""Small labelled data in every kind of file that `transfer init` reads. Texts are made up; no two are alike."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import spacy
from spacy.tokens import DocBin

TOPICS = {
    "pets": ("cat dog bird fish horse rabbit kitten puppy", "sleeps eats barks purrs plays runs jumps hides"),
    "cars": ("van bus jeep truck taxi engine wheel brake", "drives stops starts rusts breaks turns honks stalls"),
}
PLACES = ("Berlin", "Paris", "London", "Madrid", "Rome", "Vienna")
FILLERS = "old new small big red blue quiet loud slow fast near far here there today now again often never soon".split()


def texts(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """RETURNS (List[Tuple[str, str]]): Texts of eight words with their topics."""
    draws = random.Random(seed)
    found = []
    for i in range(n):
        topic = list(TOPICS)[i % 2]
        nouns, verbs = (words.split() for words in TOPICS[topic])
        rest = draws.sample(FILLERS, 4)
        words = [rest[0], draws.choice(nouns), draws.choice(verbs), rest[1], draws.choice(nouns), *rest[2:]]
        found.append((" ".join([*words, f"n{i}"]), topic))
    return found


def sentences(n: int, seed: int = 0) -> list[list[tuple[str, str, str]]]:
    """RETURNS (List[List[Tuple[str, str, str]]]): Sentences of (word, tag, IOB tag), each with a place."""
    found = []
    for i, (text, _) in enumerate(texts(n, seed)):
        words = [(word, "VERB" if k == 2 else "NOUN", "O") for k, word in enumerate(text.split())]
        found.append([*words, ("in", "ADP", "O"), (PLACES[i % len(PLACES)], "PROPN", "B-PLACE")])
    return found


def _entity_rows(n: int) -> list[tuple[str, int, int]]:
    """RETURNS (List[Tuple[str, int, int]]): Texts that end with a place, and its characters."""
    rows = [" ".join(word for word, _, _ in sentence) for sentence in sentences(n)]
    return [(text, text.rindex(" ") + 1, len(text)) for text in rows]


def _lines(path: Path, lines: Sequence[object]) -> None:
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + "\n", encoding="utf8")


def write_csv(path: Path, n: int) -> None:
    _lines(path, ["content,topic", *(f'"{text}",{label}' for text, label in texts(n))])


def write_tsv(path: Path, n: int) -> None:
    """Without names of columns, and with numbers to be learned."""
    _lines(path, [f"{text}\t{len(text) / 7:.3f}" for text, _ in texts(n)])


def write_jsonl(path: Path, n: int) -> None:
    """Texts with several labels."""
    _lines(
        path, [{"text": t, "labels": [label, "late"] if i % 3 else [label]} for i, (t, label) in enumerate(texts(n))]
    )


def write_parquet(path: Path, n: int) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = texts(n)
    parquet.write_table(pyarrow.table({"text": [t for t, _ in rows], "label": [label for _, label in rows]}), path)


def write_xlsx(path: Path, n: int) -> None:
    import pandas

    pandas.DataFrame(texts(n), columns=["review", "category"]).to_excel(path, index=False)


def write_conll(path: Path, n: int) -> None:
    _lines(path, ["\n".join(f"{word} {tag} _ {iob}" for word, tag, iob in each) + "\n" for each in sentences(n)])


def write_iob(path: Path, n: int) -> None:
    _lines(path, [" ".join(f"{word}|{tag}|{iob}" for word, tag, iob in each) for each in sentences(n)])


def write_conllu(path: Path, n: int) -> None:
    found = []
    for number, each in enumerate(sentences(n), start=1):
        rows = [
            f"{k}\t{word}\t{word}\t{tag}\t{tag}\t_\t{0 if k == 1 else 1}\t{'root' if k == 1 else 'dep'}\t_\t_"
            for k, (word, tag, _) in enumerate(each, start=1)
        ]
        found.append(f"# sent_id = {number}\n" + "\n".join(rows) + "\n")
    _lines(path, found)


def write_prodigy(path: Path, n: int) -> None:
    """The last answer is a rejection."""
    rows = _entity_rows(n + 1)
    answers = ["accept"] * n + ["reject"]
    spans = [[{"start": start, "end": end, "label": "PLACE"}] for _, start, end in rows]
    _lines(path, [{"text": r[0], "spans": s, "answer": a} for r, s, a in zip(rows, spans, answers, strict=True)])


def write_label_studio(path: Path, n: int) -> None:
    tasks = []
    for text, start, end in _entity_rows(n):
        value = {"start": start, "end": end, "text": text[start:end], "labels": ["PLACE"]}
        result = [{"type": "labels", "from_name": "label", "to_name": "text", "value": value}]
        tasks.append({"data": {"text": text}, "annotations": [{"result": result, "was_cancelled": False}]})
    path.write_text(json.dumps(tasks), encoding="utf8")


def write_doccano(path: Path, n: int) -> None:
    _lines(path, [{"text": text, "label": [[start, end, "PLACE"]]} for text, start, end in _entity_rows(n)])


def write_overlapping(path: Path, n: int) -> None:
    """A place, and the same with the word before it."""
    rows = [(text, text.rindex(" ", 0, start - 1) + 1, start, end) for text, start, end in _entity_rows(n)]
    _lines(path, [{"text": text, "spans": [[a, end, "WHERE"], [b, end, "PLACE"]]} for text, a, b, end in rows])


def write_folders(path: Path, n: int) -> None:
    for i, (text, label) in enumerate(texts(n)):
        (path / label).mkdir(parents=True, exist_ok=True)
        (path / label / f"{i}.txt").write_text(text, encoding="utf8")


def write_dataset(path: Path, n: int) -> None:
    """As `save_to_disk` of the library datasets writes it: numbers for labels, and their names beside."""
    import pyarrow

    path.mkdir(parents=True)
    rows, names = texts(n), sorted(TOPICS)
    table = pyarrow.table({"text": [t for t, _ in rows], "label": [names.index(label) for _, label in rows]})
    with pyarrow.OSFile(str(path / "data-00000-of-00001.arrow"), "wb") as file:
        with pyarrow.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    label = {"names": names, "_type": "ClassLabel"}
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": label}
    (path / "dataset_info.json").write_text(json.dumps({"features": features}), encoding="utf8")
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))


def write_spacy(path: Path, n: int) -> None:
    nlp, docs = spacy.blank("en"), []
    for text, label in texts(n):
        doc = nlp.make_doc(text)
        doc.cats = {topic: float(topic == label) for topic in TOPICS}
        docs.append(doc)
    DocBin(docs=docs).to_disk(path)


KINDS: dict[str, tuple[Callable[[Path, int], None], str]] = {
    "reviews.csv": (write_csv, "textcat"),
    "lengths.tsv": (write_tsv, "regression"),
    "several.jsonl": (write_jsonl, "multilabel"),
    "table.parquet": (write_parquet, "textcat"),
    "sheet.xlsx": (write_xlsx, "textcat"),
    "places.conll": (write_conll, "ner"),
    "places.iob": (write_iob, "ner"),
    "tags.conllu": (write_conllu, "tagger"),
    "prodigy.jsonl": (write_prodigy, "ner"),
    "label_studio.json": (write_label_studio, "ner"),
    "doccano.jsonl": (write_doccano, "ner"),
    "overlapping.jsonl": (write_overlapping, "spancat"),
    "folders": (write_folders, "textcat"),
    "dataset": (write_dataset, "textcat"),
    "texts.spacy": (write_spacy, "textcat"),
}
"""By name of the file: what writes it, and the task that it is for."""
