"""The wrappers in a training: what an anchor does is the same after a kill.

Guards also: saving.py, watched_pipeline.py.
"""

from .kinds import write_config
from .test_resume import encoder, go_on, pytestmark  # noqa: F401


def test_an_anchor_after_a_kill(encoder, tmp_path):  # noqa: F811
    anchor = {"@callbacks": "spacy-transfer.Anchor.v1", "importance": "equal", "strength": 0.1}
    config = write_config(tmp_path, "full", encoder, **{"training.before_update": anchor, "training.max_steps": 9})
    whole = go_on(config, tmp_path / "whole", [])
    assert go_on(config, tmp_path / "killed", [8]) == whole
