"""What has changed since a checkpoint was written."""

from spacy_transfer.resume.changes import as_lines, differences, environment, flat, schedules


def test_differences_are_named_by_their_keys():
    saved = flat(
        {"training": {"max_steps": 3, "dropout": 0.1, "score_weights": {}}, "corpora": {"train": {"path": "a"}}}
    )
    now = flat({"training": {"max_steps": 9, "dropout": 0.2, "score_weights": {"x": 1}}, "corpora": {}})
    assert differences(saved, saved) == []
    assert differences(saved, now) == [
        "training.dropout was 0.1, is 0.2",
        "training.score_weights was {}, is None",
        "corpora.train.path was 'a', is None",
        "training.score_weights.x was None, is 1",
        "corpora was None, is {}",
    ]


def test_many_changes_are_cut():
    assert as_lines([str(i) for i in range(9)]) == "0; 1; 2; 3; 4; 5; 6; 7; and 1 more"


def test_versions_are_known():
    found = environment()
    assert found["spacy"] and found["device"] in ("numpy", "apple", "mps", "cupy") and found["format"] == 1


def test_schedules_that_end_with_the_training():
    def config(max_steps, total, other):
        rates = {"learn_rate": {"total_steps": total}, "other": {"total_steps": other}}
        return flat({"training": {"max_steps": max_steps, "optimizer": rates}})

    saved = config(10, 10, 7)
    key = "training.optimizer.learn_rate.total_steps"
    assert schedules(saved, config(20, 20, 7)) == [key] and differences(saved, config(20, 20, 7)) == []
    # A number of its own is another schedule.
    assert schedules(saved, config(20, 15, 7)) == [] and differences(saved, config(20, 15, 7)) == [
        f"{key} was 10, is 15"
    ]
    assert differences(saved, config(10, 12, 7)) == [f"{key} was 10, is 12"]
