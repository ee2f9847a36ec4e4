"""Several processes write what one writes; one that dies leaves whole shards."""

import pytest

from spacy_transfer.scale import engine_local
from spacy_transfer.scale.engine_local import run_here
from spacy_transfer.scale.input_files import find_files
from spacy_transfer.scale.input_rows import Fields
from spacy_transfer.scale.job import Settings, open_job
from spacy_transfer.scale.worker import Options

from .texts import pipeline, read_jsonl, write_jsonl


@pytest.fixture
def begin(tmp_path):
    nlp = pipeline()
    nlp.to_disk(tmp_path / "model")
    files = find_files(str(write_jsonl(tmp_path / "in.jsonl", 23)))

    def job(name):
        (tmp_path / name).mkdir()
        return open_job(tmp_path / name, str(tmp_path / "model"), files, Settings("jsonl", ["text"], Fields(), 10))

    return nlp, job


def test_processes_write_what_one_writes(begin):
    nlp, begin = begin
    found = []
    for n_process in (1, 2):
        job, counts = begin(f"out{n_process}"), []
        run_here(job, job.todo(), Options(), nlp, n_process, counts.append)
        assert sum(counts) == 23 and job.todo() == []
        found.append({path.name: path.read_bytes() for path in job.folder.glob("shard-*")})
    assert found[0] == found[1] and len(read_jsonl(job.folder)) == 23


class DeadPool:
    """A pool whose processes were killed."""

    def __init__(self, *args, **kwargs):
        pass

    def submit(self, *args):
        raise engine_local.BrokenProcessPool("a process died.")

    def shutdown(self, **kwargs):
        pass


def test_a_process_that_dies(begin, monkeypatch):
    nlp, begin = begin
    monkeypatch.setattr(engine_local, "ProcessPoolExecutor", DeadPool)
    with pytest.raises(ValueError, match=r"\[T974\].*a process died"):
        run_here(begin("out"), [0], Options(), nlp, 2, print)
