"""One worker: each row once, in a shard or among the errors."""

import itertools

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_transfer.scale import worker as workers
from spacy_transfer.scale.input_files import find_files
from spacy_transfer.scale.input_rows import Fields
from spacy_transfer.scale.job import Settings, open_job
from spacy_transfer.scale.worker import Options, Worker

from ..pipelines import make_pipeline
from .texts import BROKEN, breaks_on_some, pipeline, read_jsonl, write_jsonl  # noqa: F401 (a component)


@pytest.fixture
def job(tmp_path):
    nlp = pipeline()
    nlp.add_pipe("breaks_on_some")
    nlp.to_disk(tmp_path / "model")
    path = write_jsonl(tmp_path / "in.jsonl", 60)
    lines = path.read_text().splitlines()
    lines[7], lines[40] = "{", f'{{"id": "bad", "text": "{BROKEN}", "k": 1}}'
    path.write_text("\n".join(lines))
    (tmp_path / "out").mkdir()
    settings = Settings("jsonl", ["text", "entities"], Fields(), 25)
    return open_job(tmp_path / "out", str(tmp_path / "model"), find_files(str(path)), settings)


def test_rows_that_break_are_written_and_the_rest_goes_on(job):
    done = []
    worker = Worker(job, Options(batch_size=3), on_rows=done.append)
    assert [worker(number) for number in range(3)] == [1, 1, 0] and sum(done) == 60
    assert job.gather_errors() == 2
    errors = read_jsonl(job.folder, "errors.jsonl")
    assert [(row["id"], row["text"]) for row in errors] == [("in.jsonl:8", None), ("bad", BROKEN)]
    assert "no such text" in errors[1]["error"] and errors[1]["meta"] == {"k": 1}
    rows = read_jsonl(job.folder)
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(60) if i not in (7, 40)]
    nlp = spacy.load(job.pipeline)
    for row in rows:
        assert [ent["start"] for ent in row["entities"]] == [ent.start_char for ent in nlp(row["text"]).ents]
    assert sorted(path.name for path in job.work.iterdir() if path.suffix == ".part") == []


def test_a_text_that_comes_again_in_a_shard_is_encoded_once(tiny_bert, tmp_path, monkeypatch):
    """However many batches lie between: 8 of one text go through the pipeline at once."""
    nlp = make_pipeline(tiny_bert, frozen=True)[0]
    nlp.to_disk(tmp_path / "model")
    path = tmp_path / "in.txt"
    path.write_text("\n".join(f"cat {i % 20}" for i in range(60)))
    (tmp_path / "out").mkdir()
    settings = Settings("jsonl", ["text"], Fields(), 40)
    job, seen = open_job(tmp_path / "out", str(tmp_path / "model"), find_files(str(path)), settings), []
    worker = Worker(job, Options(batch_size=1))
    backbone = worker._nlp.get_pipe("transfer_backbone")
    predict = backbone.predict
    monkeypatch.setattr(backbone, "predict", lambda docs: seen.extend(doc.text for doc in docs) or predict(docs))
    for number, expected in enumerate([20, 40]):
        assert worker(number) == 0 and len(seen) == expected
    assert [row["text"] for row in read_jsonl(job.folder)] == [f"cat {i % 20}" for i in range(60)]


def test_a_text_that_the_pipeline_refuses(job):
    worker = Worker(job, Options())
    worker._nlp.max_length = 10
    assert worker(2) == 10
    assert "E088" in (job.errors(2)).read_text()


def test_a_shard_that_is_there_stays(job):
    job.shard(0).write_text("as it was")
    assert Worker(job, Options())(0) == 0 and job.shard(0).read_text() == "as it was"


def test_errors_of_an_earlier_try_are_forgotten(job):
    job.errors(2).write_text("{}\n")
    Worker(job, Options())(2)
    assert not job.errors(2).exists()


def test_stop_at_the_first(job):
    with pytest.raises(ValueError, match=r"\[T973\].*'in.jsonl:8'.*no JSON"):
        Worker(job, Options(fail_fast=True))(0)
    assert not job.shard(0).exists() and not list(job.work.glob("*.part"))


def test_what_another_machine_sees(job, tmp_path):
    with pytest.raises(ValueError, match=r"\[T972\].*no job in"):
        Worker.in_folder(tmp_path / "elsewhere", Options())
    assert Worker.in_folder(job.folder, Options())(2) == 0
    pipeline().to_disk(job.pipeline)
    with pytest.raises(ValueError, match=r"\[T972\].*another pipeline"):
        Worker.in_folder(job.folder, Options())


def test_the_vocabulary_grows_by_words_of_the_first_texts_alone(job, tmp_path):
    worker, other = Worker(job, Options()), spacy.load(job.pipeline)
    for row in itertools.islice(job.rows(0, other.vocab), 2):
        other.make_doc(row.text)
    for number in range(3):
        worker(number)
    assert words_of(worker._nlp) == words_of(other)


def test_the_vocabulary_does_not_grow_by_docs(tmp_path):
    nlp = pipeline()
    nlp.to_disk(tmp_path / "model")
    docs = [nlp.make_doc(f"word{i} other{i}") for i in range(40)]
    DocBin(docs=docs).to_disk(tmp_path / "in.spacy")
    (tmp_path / "out").mkdir()
    settings = Settings("jsonl", ["text"], Fields(), 100)
    job = open_job(tmp_path / "out", str(tmp_path / "model"), find_files(str(tmp_path / "in.spacy")), settings)
    worker = Worker(job, Options())
    known = words_of(worker._nlp)
    assert worker(0) == 0 and words_of(worker._nlp) == known


def words_of(nlp):
    return {lexeme.orth for lexeme in nlp.vocab}, set(nlp.vocab.strings)


def test_known_words_are_not_split_again(tmp_path):
    """A shard is a memory zone, in which spaCy's tokenizer adds nothing to its cache of words."""
    nlp, splits = pipeline(), []
    nlp.to_disk(tmp_path / "model")
    path = tmp_path / "in.txt"
    path.write_text("a-word another-word\n" * 200)
    (tmp_path / "out").mkdir()
    settings = Settings("jsonl", ["text"], Fields(), 100)
    job = open_job(tmp_path / "out", str(tmp_path / "model"), find_files(str(path)), settings)
    worker = Worker(job, Options())
    search = worker._nlp.tokenizer.infix_finditer
    worker._nlp.tokenizer.infix_finditer = lambda text: splits.append(text) or search(text)
    splits.clear()  # Exceptions of the language were split.
    assert worker(0) == worker(1) == 0
    assert 0 < len(splits) <= 4


def test_no_pipeline_of_that_name():
    with pytest.raises(ValueError, match=r"\[T372\] PIPELINE"):
        workers.load_pipeline("no_such_pipeline", Options())
