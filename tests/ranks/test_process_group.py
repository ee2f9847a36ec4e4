"""What ranks exchange, and how they find each other when they are started again."""

import pytest
import torch
from torch.distributed import HashStore

from spacy_transfer.ranks.process_group import ProcessGroup, _agree_on_round

from .processes import run_ranks


def exchange(rank):
    group = ProcessGroup(60)
    numbers = torch.tensor([rank, 1.0])
    group.sum(numbers)
    largest = torch.tensor([rank, -rank], dtype=torch.uint8)
    group.max(largest)
    same = group.agree(7, rank, 2**32 - 1)
    given = group.give({"score": 0.1, "name": "ü"} if rank == 0 else None)
    facts = group.exchange("facts", {"rank": str(rank)})
    group.close()
    return numbers.tolist(), largest.tolist(), same, given, facts


def test_all_ranks_get_the_same():
    first, *others = run_ranks(exchange, size=3)
    assert others == [first, first]
    numbers, largest, same, given, facts = first
    assert numbers == [3.0, 3.0] and largest == [2, 255] and same == [True, False, True]
    assert given == {"score": 0.1, "name": "ü"} and facts == [{"rank": "0"}, {"rank": "1"}, {"rank": "2"}]


def restarts(rank, port):
    """Two starts with one store, as torch's launcher has it; the second one comes at another time on each rank."""
    import time
    from datetime import timedelta

    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=120))
    first = _agree_on_round(store, rank, 2, 120)
    store.set(f"ended {rank}", "")
    store.wait(["ended 0", "ended 1"])  # The launcher ends all ranks before it starts them again.
    time.sleep(0.3 * rank)
    return first, _agree_on_round(store, rank, 2, 120)


def test_what_earlier_ranks_have_written_is_not_read():
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    one, other = run_ranks(restarts, store.port)
    assert one == other and len(set(one)) == 2


def test_a_rank_that_does_not_come():
    with pytest.raises(ValueError, match="T260.*Rank 0.*1 seconds.*2 ranks"):
        _agree_on_round(HashStore(), 0, 2, 1)
