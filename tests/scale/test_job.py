"""The plan of a job against a plain walk through the rows, and how a job is known again."""

from itertools import chain

import pytest
import spacy
from spacy.vocab import Vocab

from spacy_transfer.scale import job as jobs
from spacy_transfer.scale.input_files import find_files
from spacy_transfer.scale.input_rows import Fields, read_rows
from spacy_transfer.scale.job import Settings, load_job, locked, open_job

from .texts import write_jsonl


@pytest.fixture
def given(tmp_path):
    """Folder of input files, of a pipeline and of an output, and settings."""
    (tmp_path / "in").mkdir()
    write_jsonl(tmp_path / "in" / "a.jsonl", 7)
    (tmp_path / "in" / "b.txt").write_text("x\n\ny")
    write_jsonl(tmp_path / "in" / "c.jsonl", 2, start=7)
    (tmp_path / "in" / "d.txt").write_text("")
    spacy.blank("en").to_disk(tmp_path / "model")
    (tmp_path / "out").mkdir()
    return tmp_path


def begin(given, **settings):
    wanted = Settings(**{"format": "jsonl", "columns": ["text"], "fields": Fields(), "shard_size": 4, **settings})
    return open_job(given / "out", str(given / "model"), find_files(str(given / "in")), wanted)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_every_row_is_in_one_shard(given, size):
    job = begin(given, shard_size=size)
    wanted = list(chain.from_iterable(read_rows(file, Fields(), Vocab()) for file in job.files))
    shards = [list(job.rows(number, Vocab())) for number in range(len(job.shards))]
    assert [row for shard in shards for row in shard] == wanted and len(wanted) == 12
    assert [len(shard) for shard in shards[:-1]] == [size] * (len(shards) - 1)
    assert [job.count(number) for number in range(len(job.shards))] == [len(shard) for shard in shards]


def test_a_job_goes_on_without_a_new_plan(given, monkeypatch):
    job = begin(given)
    job.shard(1).touch()
    (job.work / "shard-000002.jsonl.0.part").touch()
    monkeypatch.setattr(jobs, "plan", None)
    assert begin(given) == job == load_job(given / "out") and begin(given).todo() == [0, 2]
    assert not list(job.work.glob("*.part"))
    (given / "in").rename(given / "elsewhere")
    (given / "in").symlink_to(given / "elsewhere")
    assert begin(given).todo() == [0, 2]


def test_another_job_is_refused(given):
    begin(given)
    before = (given / "out" / ".job" / "job.json").read_bytes()
    for key, value in {"shard_size": 5, "columns": ["text", "tokens"], "format": "spacy"}.items():
        with pytest.raises(ValueError, match=rf"\[T969\].*--{key.replace('_', '-')} differ"):
            begin(given, **{key: value})
    with pytest.raises(ValueError, match=r"\[T969\].*--text and --id differ"):
        begin(given, fields=Fields("a", "b"))
    spacy.blank("de").to_disk(given / "model")
    with pytest.raises(ValueError, match=r"\[T969\].*pipeline differ"):
        begin(given)
    (given / "in" / "e.txt").write_text("more")
    with pytest.raises(ValueError, match=r"\[T969\].*pipeline and input \(e.txt\) differ"):
        begin(given)
    assert (given / "out" / ".job" / "job.json").read_bytes() == before


def test_ids_that_stand_twice(given, monkeypatch):
    write_jsonl(given / "in" / "z.jsonl", 1, start=3)
    with pytest.raises(ValueError, match=r"\[T971\].*'r3': a.jsonl:4 and z.jsonl:1.*--id"):
        begin(given)
    assert not (given / "out" / ".job" / "job.json").exists()
    (given / "in" / "z.jsonl").unlink()
    # Two ids with the same hash are two ids.
    monkeypatch.setattr(jobs, "hash", lambda text: len(text), raising=False)
    assert len(begin(given).shards) == 3


def test_files_without_a_text(given):
    write_jsonl(given / "in" / "a.jsonl", 7)
    with pytest.raises(ValueError, match=r"\[T963\].*a.jsonl.*no row.*'body'"):
        begin(given, fields=Fields("body"))
    for path in (given / "in").iterdir():
        path.write_text("")
    with pytest.raises(ValueError, match=r"\[T960\].*no text"):
        begin(given)


def test_rows_that_are_not_there_any_more(given, monkeypatch):
    job = begin(given)
    monkeypatch.setattr(jobs, "read_rows", lambda *args: iter(()))
    with pytest.raises(ValueError, match=r"\[T962\]"):
        list(job.rows(0, Vocab()))


def test_one_command_at_a_time(given):
    with locked(given / "out"), pytest.raises(ValueError, match=r"\[T978\]"), locked(given / "out"):
        pass
    with locked(given / "new"):
        assert (given / "new").is_dir()
    with pytest.raises(ValueError, match=r"\[T970\].*model"), locked(given / "model"):
        pass
    assert not (given / "model" / ".job").exists()
    with pytest.raises(ValueError, match=r"\[T968\]"), locked(given / "in" / "b.txt" / "x"):
        pass


def test_errors_of_shards_that_are_there(given):
    job = begin(given)
    assert job.gather_errors() == 0 and not (given / "out" / "errors.jsonl").exists()
    for number in range(3):
        job.errors(number).write_text(f'{{"id": {number}}}\n')
    job.shard(0).touch()
    job.shard(2).touch()
    assert job.gather_errors() == 2
    assert (given / "out" / "errors.jsonl").read_text() == '{"id": 0}\n{"id": 2}\n'


def test_a_given_id_that_another_row_gets(given):
    """Rows without an id have one that is made of file and number."""
    (given / "in" / "z.jsonl").write_text('{"text": "a", "id": "z.jsonl:2"}\n{"text": "b"}\n')
    with pytest.raises(ValueError, match=r"\[T971\].*'z.jsonl:2': z.jsonl:1 and z.jsonl:2"):
        begin(given)
    (given / "in" / "z.jsonl").write_text('{"text": "a", "id": "z.jsonl:2"}\n{"text": "b", "id": "x"}\n')
    assert begin(given).shards
