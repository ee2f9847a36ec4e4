"""Which GPU a process of the launcher sees."""

import pytest

from spacy_transfer.ranks.own_gpu import VISIBLE, take_own_gpu

LAUNCHED = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}


@pytest.mark.parametrize(
    ("environment", "seen"),
    [
        (LAUNCHED, "1"),
        ({**LAUNCHED, VISIBLE: "4,GPU-7"}, "GPU-7"),
        ({**LAUNCHED, VISIBLE: "5"}, "5"),  # Somebody has chosen it before.
        ({**LAUNCHED, VISIBLE: ""}, ""),
        ({**LAUNCHED, "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, None),
        ({}, None),
    ],
)
def test_each_process_sees_its_own(environment, seen):
    found = dict(environment)
    take_own_gpu(found)
    assert found.get(VISIBLE) == seen
    assert {**found, VISIBLE: None} == {**environment, VISIBLE: None}
