"""What a pretrained pipeline still can, and what is new, after training with and without rehearsal.

    python scripts/retained.py BEFORE TEST.spacy OUT.json NAME=PIPELINE ...

Old scores are the agreement with BEFORE on the test texts (its own answers are gold), new ones those of the entity
types in TEST.spacy that BEFORE does not have; each over all types, and for each type by itself. The table is printed
as well.
"""

import sys
from pathlib import Path

import spacy
import srsly
from spacy.tokens import DocBin

from spacy_transfer import OldSkills, skills_from
from spacy_transfer.continual.old_data import own_answers, read_data
from spacy_transfer.continual.retention import as_json, as_rows, as_text


def new_labels(nlp: spacy.Language, path: Path) -> list[str]:
    """RETURNS (List[str]): Labels of entities in a file that a pipeline does not have."""
    docs = DocBin().from_disk(path).get_docs(nlp.vocab)
    return sorted({ent.label_ for doc in docs for ent in doc.ents} - set(nlp.get_pipe("ner").labels))


def old_labels(nlp: spacy.Language, path: Path) -> list[str]:
    """RETURNS (List[str]): Labels of entities that a pipeline finds in the texts of a file."""
    answers = own_answers(nlp, read_data(nlp, path, "TEST"))
    return sorted({ent.label_ for example in answers for ent in example.reference.ents})


def scores_of(labels: list[str]) -> list[str]:
    return ["ents_f", *(f"ents_per_type.{label}.f" for label in labels)]


def main() -> None:
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    source, path, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    before = spacy.load(source)
    labels = new_labels(before, path)
    skills = {
        "old": {"data": path, "agreement": True, "scores": scores_of(old_labels(before, path))},
        "new": {"data": path, "labels": labels, "scores": scores_of(labels)},
    }
    known = OldSkills(before, skills_from(skills, "TEST"), "TEST")
    found = {}
    for given in sys.argv[4:]:
        name, pipeline = given.split("=", 1)
        after = spacy.load(pipeline)
        rows = as_rows(known.before, known.score(after))
        print(f"\n{name}\n{as_text(rows)}")
        found[name] = as_json(rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_json(out, {"before": source, "after": found})


if __name__ == "__main__":
    main()
