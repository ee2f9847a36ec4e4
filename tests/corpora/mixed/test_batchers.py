import random

import pytest
import spacy
from spacy.training import Example

from spacy_transfer.corpora.example_info import corpus_of, note_origin
from spacy_transfer.corpora.mixed.batchers import create_task_batcher_v1


def stream(nlp, n=200):
    """Examples of two corpora, and of none, of 1 to 9 tokens."""
    generator = random.Random(0)
    for i in range(n):
        doc = nlp.make_doc("w " * generator.randint(1, 9))
        example = Example(doc, doc.copy())
        example.reference.user_data["i"] = i
        if corpus := generator.choice(["a", "a", "b", None]):
            note_origin(example.reference, corpus)
        yield example


def numbers(examples):
    return [eg.reference.user_data["i"] for eg in examples]


@pytest.mark.parametrize(("size", "unit"), [(7, "examples"), (20, "words")])
def test_batches_are_of_one_corpus_and_full(nlp, size, unit):
    examples = list(stream(nlp))
    batches = list(create_task_batcher_v1(size=size, unit=unit)(examples))
    assert sorted(sum(map(numbers, batches), [])) == list(range(200))
    for corpus in ("a", "b", None):
        own = [batch for batch in batches if corpus_of(batch[0].reference) == corpus]
        assert all(corpus_of(eg.reference) == corpus for batch in own for eg in batch)
        # Filled one after the other in the order of the stream: cut by hand.
        expected, room = [[]], size
        for eg in examples:
            if corpus_of(eg.reference) == corpus:
                cost = len(eg.predicted) if unit == "words" else 1
                if cost > room and expected[-1]:
                    expected.append([])
                    room = size
                expected[-1].append(eg.reference.user_data["i"])
                room -= cost
        assert [numbers(batch) for batch in own] == expected


def test_a_batch_comes_as_soon_as_it_is_full(nlp):
    read = []

    def watched():
        for example in stream(nlp):
            read.append(example)
            yield example

    first = next(iter(create_task_batcher_v1(size=5)(watched())))
    assert first[-1] is read[-1] and len(first) == 5


def test_sizes_from_a_schedule(nlp):
    batches = create_task_batcher_v1(size=iter([2, 3, *[50] * 100]))(stream(nlp))
    assert sorted(len(batch) for batch in batches)[:2] == [2, 3]


def test_a_text_that_is_longer_than_a_batch_is_one(nlp):
    examples = list(stream(nlp, 30))
    batches = list(create_task_batcher_v1(size=1, unit="words")(examples))
    assert [len(batch) for batch in batches] == [1] * 30
    assert list(create_task_batcher_v1(size=3)([])) == []


def test_errors():
    with pytest.raises(ValueError, match="T524.*size = 0"):
        create_task_batcher_v1(size=0)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ([2, 3], r"T524.*size = \[2, 3\]. It has ended"),
        ([2, 3, 0], r"T524.*size = 0. It must be 1 or more, each of a schedule too"),
        ([-1] * 200, "T524.*size = -1"),
    ],
)
def test_schedules_that_are_wrong(nlp, size, message):
    with pytest.raises(ValueError, match=message):
        list(create_task_batcher_v1(size=size)(stream(nlp)))


def test_a_schedule_goes_on_in_the_next_pass(nlp):
    batch = create_task_batcher_v1(size=iter([2, *[100] * 9]))
    examples = [eg for eg in stream(nlp) if corpus_of(eg.reference) == "a"]
    assert [len(next(batch(examples))) for _ in range(2)] == [2, len(examples)]


def test_registered():
    assert spacy.registry.get("batchers", "spacy-transfer.TaskBatcher.v1") is create_task_batcher_v1


@pytest.mark.parametrize("size", [2.5, 0, -1, None, "4", [], {}, float("nan")])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="T524.*size"):
        create_task_batcher_v1(size=size)
