"""The engine on Ray. What needs a cluster is tested where Ray is installed."""

import socket
import sys
from contextlib import nullcontext

import numpy
import pytest

from spacy_transfer.scale import engine_ray
from spacy_transfer.scale.engine_ray import Annotator, run_on_ray
from spacy_transfer.scale.input_files import find_files
from spacy_transfer.scale.input_rows import Fields
from spacy_transfer.scale.job import Settings, open_job
from spacy_transfer.scale.worker import Options

from .texts import pipeline, read_jsonl, write_jsonl


@pytest.fixture
def job(tmp_path):
    pipeline().to_disk(tmp_path / "model")
    files = find_files(str(write_jsonl(tmp_path / "in.jsonl", 23)))
    (tmp_path / "out").mkdir()
    return open_job(tmp_path / "out", str(tmp_path / "model"), files, Settings("jsonl", ["text"], Fields(), 5))


def test_an_actor_sends_errors_to_the_driver(job):
    actor = Annotator(str(job.folder), Options())
    assert actor({"item": numpy.array([0, 3])}) == {"shard": [0, 3], "failed": ["", ""]}
    assert job.todo() == [1, 2, 4]
    (job.folder.parent / "in.jsonl").unlink()
    assert "[T961]" in actor({"item": numpy.array([1])})["failed"][0]
    (job.folder / ".job" / "tries-000002").write_bytes(b"....")
    assert "[T974]" in actor({"item": numpy.array([2])})["failed"][0]
    assert "[T972]" in Annotator(str(job.folder / "x"), Options())({"item": numpy.array([1])})["failed"][0]


def test_without_ray(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"\[T975\].*spacy-transfer\[ray\]"):
        run_on_ray(job, [0], Options(), print)


class Small:
    """A cluster with one processor."""

    def cluster_resources(self):
        return {"CPU": 1.0}


def test_more_actors_than_processors(job, monkeypatch):
    monkeypatch.setattr(engine_ray, "cluster", lambda address, processors: nullcontext(Small()))
    with pytest.raises(ValueError, match=r"\[T977\] --n-process 2 with --threads 1: the cluster has 1 processors"):
        run_on_ray(job, job.todo(), Options(), print, actors=2)


def test_an_address_that_does_not_answer(job):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ValueError, match=rf"\[T976\].* at {address}"):
            run_on_ray(job, [0], Options(), print, address=address)


@pytest.mark.slow
def test_actors_write_each_row_once(job):
    pytest.importorskip("ray")
    counts = []
    run_on_ray(job, job.todo(), Options(), counts.append, actors=2)
    assert sorted(counts) == [3, 5, 5, 5, 5]
    assert [row["id"] for row in read_jsonl(job.folder)] == [f"r{i}" for i in range(23)]
