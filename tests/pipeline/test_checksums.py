"""What a saved component holds is checked: numbers, labels, and how many there are."""

import hashlib
import json

import numpy
import pytest
import spacy

from ..pipelines import make_examples

HEADS = ["transfer_textcat", "transfer_textcat_multilabel", "transfer_ner", "transfer_tagger", "transfer_regressor"]


@pytest.fixture(scope="module")
def trained():
    """All heads on an encoder that begins anew; none needs torch."""
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-transfer.HashEmbedBackbone.v1", "width": 8, "rows": [50] * 4}
    nlp.add_pipe("transfer_backbone", config={"model": model, "frozen": False})
    examples = make_examples(nlp)
    for name in HEADS:
        nlp.add_pipe(name)
    for example in examples:
        example.reference._.score = float(len(example.reference))
    nlp.initialize(lambda: examples)
    return nlp


def write_cfg(folder, change):
    """Change `cfg`, and its checksum with it."""
    cfg = json.loads((folder / "cfg").read_text(encoding="utf8"))
    change(cfg)
    data = json.dumps(cfg).encode("utf8")
    (folder / "cfg").write_bytes(data)
    (folder / "cfg.sha256").write_text(hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_weights_that_are_no_numbers_are_refused(trained, name, value, tmp_path):
    output = trained.get_pipe(name).model.get_ref("output")
    weights = output.get_param("W").copy()  # Thinc writes in place.
    wrong = weights.copy()
    wrong[0, 0] = value
    output.set_param("W", wrong)
    try:
        trained.to_disk(tmp_path)
        with pytest.raises(ValueError, match=rf"T133.*{name}.*W"):
            trained.get_pipe(name).from_bytes(trained.get_pipe(name).to_bytes())
    finally:
        output.set_param("W", weights)
    with pytest.raises(ValueError, match=rf"T133.*{name}.*W.*NaN or infinite"):
        spacy.load(tmp_path)


def test_so_are_those_of_a_backbone_without_torch(trained, tmp_path):
    node = next(node for node in trained.get_pipe("transfer_backbone").model.walk() if node.has_param("W"))
    weights = node.get_param("W").copy()
    node.set_param("W", weights * numpy.nan)
    try:
        trained.to_disk(tmp_path)
    finally:
        node.set_param("W", weights)
    with pytest.raises(ValueError, match=r"T133.*transfer_backbone.*W"):
        spacy.load(tmp_path)


@pytest.mark.parametrize("value", [numpy.nan, -1.0, 0.0])
def test_no_calibration_gives_such_a_temperature(trained, value, tmp_path):
    attrs = trained.get_pipe("transfer_textcat").model.attrs
    attrs["temperature"] = value
    try:
        trained.to_disk(tmp_path)
    finally:
        attrs["temperature"] = 1.0
    with pytest.raises(ValueError, match=r"T133.*temperature"):
        spacy.load(tmp_path)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("labels", [None, 3, [1, 2], "x"])
def test_labels_that_are_no_names(trained, name, labels, tmp_path):
    trained.to_disk(tmp_path)
    write_cfg(tmp_path / name, lambda cfg: cfg.update(labels=labels))
    with pytest.raises(ValueError, match=rf"T437.*{name}.*labels"):
        spacy.load(tmp_path)


@pytest.mark.parametrize("name", HEADS)
def test_labels_are_as_many_as_the_rows_of_the_output_layer(trained, name, tmp_path):
    trained.to_disk(tmp_path)
    write_cfg(tmp_path / name, lambda cfg: cfg["labels"].append("ONE_MORE"))
    with pytest.raises(ValueError, match=rf"T437.*{name}.*rows"):
        spacy.load(tmp_path)
