"""From and to transformers: equal logits both ways, further training, and errors for what cannot be.

Guards also: export.py, files.py.
"""

import json
import random
import shutil
import subprocess
import sys

import numpy
import pytest
import spacy
import torch
from spacy.training import Example

from spacy_transfer.huggingface.convert import from_hf, logits
from spacy_transfer.huggingface.export import to_hf

from ..checkpoints import KINDS, LABELS, POSITIONS, edit_config, to_bin, write_checkpoint
from ..pipelines import backbone_config, make_pipeline, step

BITS = [
    "the",
    "cat",
    "Sings",
    "BIG",
    ".",
    ",",
    "!?",
    "don't",
    "é",
    "ß",
    "😀",
    "👩‍👧",
    "日本",
    "\n",
    "\t",
    "  ",
    "[SEP]",
    "</s>",
]
BITS += ["x-y", "3.50", "\u200b", "(a)", "naïve", "[MASK]", "U.S."]


def make_texts(count=60):
    """Of our own bits, by chance; none is longer than a window of bytes."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(BITS, k=chance.randint(1, 7))) for _ in range(count)]
    return ["", " ", "\n\n", "a", *(text[:30] for text in texts)]


def their_logits(folder, texts):
    """A plain loop over transformers, text by text."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt")
        assert inputs["input_ids"].shape[1] <= POSITIONS
        with torch.no_grad():
            found.append(model(**inputs).logits[0].numpy())
    return numpy.array(found)


@pytest.fixture(scope="module", params=sorted(KINDS))
def checkpoint(request, tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / request.param, request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "bert")


def test_logits_both_ways(checkpoint, tmp_path):
    texts = make_texts()
    if checkpoint.endswith("ModernBert"):
        # Where it averages, it has no states of a text without words.
        texts = [text for text in texts if text.strip()]
    theirs = their_logits(checkpoint, texts)
    assert numpy.ptp(theirs, axis=0).min() > 0.01, "texts that make no difference show nothing"
    nlp = from_hf(checkpoint)
    assert nlp.pipe_names == ["transfer_backbone", "transfer_textcat"]
    numpy.testing.assert_allclose(logits(nlp, "transfer_textcat", texts), theirs, atol=1e-5)
    shares = torch.softmax(torch.from_numpy(theirs), 1).numpy()
    for doc, expected in zip(nlp.pipe(texts), shares, strict=True):
        assert list(doc.cats) == LABELS
        assert list(doc.cats.values()) == pytest.approx(expected, abs=1e-5)
    to_hf(nlp, tmp_path / "back")
    numpy.testing.assert_allclose(their_logits(tmp_path / "back", texts), theirs, atol=1e-5)
    config = json.loads((tmp_path / "back" / "config.json").read_text(encoding="utf8"))
    assert config["id2label"] == {str(i): label for i, label in enumerate(LABELS)}
    assert config["label2id"] == {label: i for i, label in enumerate(LABELS)}
    assert config["architectures"] == [json.loads((open(f"{checkpoint}/config.json")).read())["architectures"][0]]


def test_modernbert_reads_the_mean_or_the_first_piece(tmp_path):
    texts, found = ["the cat sings", "a dog"], {}
    for pooling in ("mean", "cls"):
        folder = write_checkpoint(tmp_path / pooling, "ModernBert", classifier_pooling=pooling, classifier_bias=True)
        theirs = their_logits(folder, texts)
        nlp = from_hf(folder)
        assert nlp.config["components"]["transfer_backbone"]["model"]["document"] == pooling
        numpy.testing.assert_allclose(logits(nlp, "transfer_textcat", texts), theirs, atol=1e-5)
        # What only training gives: a shift of the norm, which theirs has not.
        norm = next(node for node in nlp.get_pipe("transfer_textcat").model.walk() if node.has_param("G"))
        norm.set_param("b", numpy.random.default_rng(0).normal(size=16).astype("f"))
        to_hf(nlp, tmp_path / f"{pooling}-back")
        found[pooling] = their_logits(tmp_path / f"{pooling}-back", texts)
        assert abs(found[pooling] - theirs).max() > 0.1
        numpy.testing.assert_allclose(logits(nlp, "transfer_textcat", texts), found[pooling], atol=1e-5)
    assert abs(found["mean"] - found["cls"]).max() > 0.01


def test_modernbert_without_its_norm_stays(tmp_path):
    nlp = from_hf(write_checkpoint(tmp_path / "there", "ModernBert"))
    own = own_pipeline(str(tmp_path / "there"), {"document": "mean"}, {"activation": "gelu"})
    with pytest.raises(ValueError, match="T393.*layer_norm = None of the head.*1e-05"):
        to_hf(own, tmp_path / "out")
    with pytest.raises(ValueError, match="T384.*modernbert"):
        from_hf(write_checkpoint(tmp_path / "tokens", "ModernBert", "TokenClassification"))
    assert nlp("").cats == {label: pytest.approx(share) for label, share in nlp(" ").cats.items()}


def test_cased_tokenizer_goes_both_ways(tmp_path):
    folder = write_checkpoint(tmp_path / "cased", lowercase=False)
    texts = ["The Cat", "the cat"]
    theirs = their_logits(folder, texts)
    assert abs(theirs[0] - theirs[1]).max() > 0.01
    nlp = from_hf(folder)
    numpy.testing.assert_allclose(logits(nlp, "transfer_textcat", texts), theirs, atol=1e-5)
    to_hf(nlp, tmp_path / "back")
    numpy.testing.assert_allclose(their_logits(tmp_path / "back", texts), theirs, atol=1e-5)


def test_transformers_pipeline_agrees(bert, tmp_path):
    from transformers import pipeline

    nlp = from_hf(bert)
    to_hf(nlp, tmp_path / "back")
    classify = pipeline("text-classification", model=str(tmp_path / "back"), top_k=None)
    for text, found in zip(make_texts(10), classify(make_texts(10)), strict=True):
        assert {item["label"]: item["score"] for item in found} == pytest.approx(nlp(text).cats, abs=1e-5)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
def test_several_labels_at_once(kind, tmp_path):
    folder = write_checkpoint(tmp_path / "several", kind, problem_type="multi_label_classification")
    texts = make_texts(10)
    nlp = from_hf(folder)
    assert nlp.pipe_names[-1] == "transfer_textcat_multilabel"
    expected = torch.sigmoid(torch.from_numpy(their_logits(folder, texts))).numpy()
    for doc, shares in zip(nlp.pipe(texts), expected, strict=True):
        assert list(doc.cats.values()) == pytest.approx(shares, abs=1e-5)
    to_hf(nlp, tmp_path / "back")
    config = json.loads((tmp_path / "back" / "config.json").read_text(encoding="utf8"))
    assert config["problem_type"] == "multi_label_classification"


def test_weights_in_a_bin_file(bert, tmp_path):
    shutil.copytree(bert, tmp_path / "bin")
    to_bin(tmp_path / "bin")
    texts = make_texts(5)
    found = logits(from_hf(str(tmp_path / "bin")), "transfer_textcat", texts)
    numpy.testing.assert_allclose(found, their_logits(bert, texts), atol=1e-5)


def test_long_texts_are_read_to_their_end(bert):
    nlp = from_hf(bert, window=32)
    text = "the cat sings " * 30
    numpy.testing.assert_raises(
        AssertionError,
        numpy.testing.assert_allclose,
        *(logits(nlp, "transfer_textcat", [text + end]) for end in ("x", "z")),
        atol=1e-5,
    )


def test_a_saved_pipeline_needs_no_checkpoint(tmp_path):

    folder = write_checkpoint(tmp_path / "checkpoint", "Roberta")
    nlp = from_hf(folder, lang="de")
    nlp.to_disk(tmp_path / "saved")
    texts = make_texts(10)
    expected = logits(nlp, "transfer_textcat", texts).tolist()
    shutil.rmtree(folder)
    code = (
        "import json, sys, spacy, torch; torch.set_num_threads(1)\n"
        "from spacy_transfer.huggingface.convert import logits\n"
        f"nlp = spacy.load({str(tmp_path / 'saved')!r}); assert nlp.lang == 'de'\n"
        f"print(json.dumps(logits(nlp, 'transfer_textcat', {texts!r}).tolist()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == expected


@pytest.mark.parametrize("kind", ["Bert", "Electra"])
def test_it_learns_further(kind, tmp_path):
    from_hf(write_checkpoint(tmp_path / kind, kind)).to_disk(tmp_path / "pipeline")
    # Else the encoder would stay frozen, at this rate.
    trained = {"components.transfer_backbone.frozen": False}
    nlp = spacy.load(tmp_path / "pipeline", config=trained)
    texts = {"sport": "the cat wins", "trade": "a dog is sold", "art": "they paint birds"}
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {other: float(other == label) for other in LABELS}})
        for label, text in texts.items()
    ]
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    model = nlp.get_pipe("transfer_textcat").model
    encoder = nlp.get_pipe("transfer_backbone").model.shims[0].encoder
    layers = [layer for layer in model.walk() if layer.has_param("W")]
    old = [layer.get_param("W").copy() for layer in layers]
    lowest = encoder.transformer.embeddings.word_embeddings.weight.detach().clone()
    losses = [step(nlp, examples, optimizer)["transfer_textcat"] for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]
    assert len(layers) == 2 and all(abs(a - b.get_param("W")).max() > 1e-3 for a, b in zip(old, layers, strict=True))
    assert not torch.equal(lowest, encoder.transformer.embeddings.word_embeddings.weight)
    # What was learned goes back to transformers as well.
    to_hf(nlp, tmp_path / "back")
    learned = their_logits(tmp_path / "back", list(texts.values()))
    assert [LABELS[i] for i in learned.argmax(1)] == list(texts)
    numpy.testing.assert_allclose(learned, logits(nlp, "transfer_textcat", list(texts.values())), atol=1e-5)


def test_labels_that_are_given(tmp_path):
    folder = write_checkpoint(tmp_path / "x")
    nlp = from_hf(folder, labels=["a", "b", "c"])
    assert nlp.get_pipe("transfer_textcat").labels == ("a", "b", "c")
    before = nlp("the cat").cats
    assert list(before.values()) == pytest.approx(list(from_hf(folder)("the cat").cats.values()), abs=1e-6)


@pytest.mark.parametrize("id2label", [None, {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}])
def test_labels_without_names(id2label, tmp_path):
    folder = tmp_path / "x"
    write_checkpoint(folder)
    edit_config(folder, id2label=id2label, label2id=None)
    with pytest.warns(UserWarning, match="W380.*--labels"):
        nlp = from_hf(str(folder))
    assert nlp.get_pipe("transfer_textcat").labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    numpy.testing.assert_allclose(
        logits(nlp, "transfer_textcat", ["the cat"]),
        logits(from_hf(str(folder), labels=LABELS), "transfer_textcat", ["the cat"]),
    )


@pytest.mark.parametrize(
    ("changes", "labels", "says"),
    [
        ({"id2label": {"0": "a", "2": "c"}}, None, r"T382.*without a name: \[1\]"),
        ({"id2label": {"0": "a", "1": "b"}}, None, r"T382.*3 rows.*without a name: \[2\]"),
        ({"id2label": {"0": "a", "1": "b", "3": "c"}}, None, r"T382.*\[2\].*beyond the rows: \['3'\]"),
        ({"id2label": {"0": "a", "1": "b", "2": "b"}}, None, r"T382.*twice: \['b'\]"),
        ({}, ["a", "b"], r"T383.*3 rows"),
        ({}, ["a", "b", "b"], r"T383"),
        ({"architectures": ["BertModel"]}, None, r"T380.*BertModel"),
        ({"architectures": None}, None, r"T380.*None"),
        ({"architectures": ["BertForMaskedLM"]}, None, r"T380.*BertForMaskedLM"),
        ({"architectures": ["BirdForSequenceClassification"]}, None, r"T387.*BirdForSequenceClassification"),
        ({"model_type": "xlnet"}, None, r"T384.*xlnet.*roberta"),
        ({"problem_type": "regression"}, None, r"T385.*regression"),
        ({"hidden_size": 32}, None, r"T381.*another shape.*bert"),
    ],
)
def test_bad_checkpoints(tmp_path, changes, labels, says):
    write_checkpoint(tmp_path / "x")
    edit_config(tmp_path / "x", **{**changes, **({"label2id": None} if "id2label" in changes else {})})
    with pytest.raises(ValueError, match=says):
        from_hf(str(tmp_path / "x"), labels=labels)


@pytest.mark.parametrize("weights", ["safetensors", "bin"])
def test_rows_are_counted_in_the_weights(tmp_path, weights):
    """A config without labels says two, by transformers' default."""
    folder = tmp_path / "x"
    write_checkpoint(folder)
    edit_config(folder, id2label=None, label2id=None)
    if weights == "bin":
        to_bin(folder)
    found = from_hf(str(folder), labels=LABELS)
    edit_config(folder, id2label=dict(enumerate(LABELS)))
    expected = their_logits(folder, ["the cat"])
    numpy.testing.assert_allclose(logits(found, "transfer_textcat", ["the cat"]), expected, atol=1e-5)


def test_a_head_that_is_not_there(tmp_path, tiny_bert):

    folder = tmp_path / "x"
    shutil.copytree(tiny_bert, folder)
    edit_config(folder, architectures=["BertForSequenceClassification"])
    with pytest.raises(ValueError, match=r"T381.*classifier.bias.*classifier.weight"):
        from_hf(str(folder))


def test_one_row_is_a_number_and_no_label(tmp_path):
    with pytest.raises(ValueError, match="T385.*one row"):
        from_hf(write_checkpoint(tmp_path / "x", labels=["score"]))


def test_a_pipeline_is_no_checkpoint(bert, tmp_path):
    from_hf(bert).to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="T386"):
        from_hf(str(tmp_path / "saved"))


HEAD = {
    "@architectures": "spacy-transfer.TextCatHead.v1",
    "hidden": [16],
    "activation": "tanh",
    "tok2vec": {"@architectures": "spacy-transfer.DocumentListener.v1"},
}
TOKENS = {"@architectures": "spacy-transfer.Listener.v1"}
LORA = {"@misc": "spacy-transfer.Tuning.v1", "adapter": {"method": "lora", "r": 2}}


def own_pipeline(source, backbone=None, head=None, **component):
    """A classifier made here that BERT's class can express, but for what is changed."""
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(source, **{"document": "cls", **(backbone or {})}))
    nlp.add_pipe("transfer_textcat", config={"model": {**HEAD, **(head or {})}, **component})
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {"a": float(not i), "b": float(i)}})
        for i, text in enumerate(["the cat", "a dog"])
    ]
    nlp.initialize(lambda: examples)
    output = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f"))
    return nlp


def test_a_classifier_of_our_own_goes_out(tiny_bert, tmp_path):
    nlp = own_pipeline(tiny_bert)
    to_hf(nlp, tmp_path / "out", "transfer_textcat")
    texts = ["the cat", "", "a dog sings."]
    numpy.testing.assert_allclose(
        their_logits(tmp_path / "out", texts), logits(nlp, "transfer_textcat", texts), atol=1e-5
    )


@pytest.mark.parametrize(
    ("backbone", "head", "says"),
    [
        ({"document": "mean"}, {}, "document = 'mean'"),
        ({"layers": "mix"}, {}, "layers = 'mix'"),
        ({"tuning": LORA}, {}, "adapter.*merge_adapter"),
        ({}, {"hidden": []}, r"hidden = \[\].*\[16\]"),
        ({}, {"hidden": [8]}, r"hidden = \[8\].*\[16\]"),
        ({}, {"hidden": [16, 16]}, r"hidden = \[16, 16\]"),
        ({}, {"activation": "relu"}, "activation = 'relu'.*'tanh'"),
        ({}, {"normalize": True}, "normalize = True"),
        ({}, {"tok2vec": TOKENS}, "DocumentListener"),
        ({"document": "mean"}, {"activation": "gelu"}, "document = 'mean'.*; activation = 'gelu'"),
    ],
)
def test_what_transformers_cannot_express(tiny_bert, tmp_path, backbone, head, says):
    nlp = own_pipeline(tiny_bert, backbone, head)
    with pytest.raises(ValueError, match=f"T393.*{says}.*config --task textcat --exportable"):
        to_hf(nlp, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_adapter_that_was_merged_goes_out(tiny_bert, tmp_path):
    nlp = own_pipeline(tiny_bert, {"tuning": LORA})
    for name, parameter in nlp.get_pipe("transfer_backbone").model.shims[0].encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    before = logits(nlp, "transfer_textcat", ["the cat"])
    nlp.get_pipe("transfer_backbone").merge_adapter()
    to_hf(nlp, tmp_path / "out")
    numpy.testing.assert_allclose(their_logits(tmp_path / "out", ["the cat"]), before, atol=1e-5)
    assert abs(before - logits(own_pipeline(tiny_bert), "transfer_textcat", ["the cat"])).max() > 1e-3


def test_places_that_are_taken(bert, tmp_path):
    nlp = from_hf(bert)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")
    for name in ("folder", "file"):
        with pytest.raises(ValueError, match=f"T390.*{name}"):
            to_hf(nlp, tmp_path / name)
    assert not list((tmp_path / "folder").iterdir()) and (tmp_path / "file").read_text() == "precious"


def test_which_component(bert, tiny_bert, tmp_path):
    nlp = from_hf(bert)
    with pytest.raises(ValueError, match="T391.*transfer_textcat"):
        to_hf(nlp, tmp_path / "out", "transfer_texcat")
    with pytest.raises(ValueError, match="T391.*classifies nothing"):
        to_hf(nlp, tmp_path / "out", "transfer_backbone")
    with pytest.raises(ValueError, match="T391.*there is none"):
        to_hf(spacy.blank("en"), tmp_path / "out")
    stock, _, _ = make_pipeline(tiny_bert, ("tagger", "textcat"))
    for name, ours in ((None, "transfer_tagger"), ("textcat", "transfer_textcat"), ("tagger", "transfer_tagger")):
        with pytest.raises(ValueError, match=f"T392.*{ours}.*config --task .* --exportable"):
            to_hf(stock, tmp_path / "out", name)
    two = from_hf(bert)
    two.add_pipe("transfer_textcat", name="second")
    with pytest.raises(ValueError, match="T391.*several.*second"):
        to_hf(two, tmp_path / "out")
    with pytest.raises(ValueError, match="T303"):
        to_hf(two, tmp_path / "out", "second")
    alone = from_hf(bert)
    alone.replace_listeners("transfer_backbone", "transfer_textcat", ["model.tok2vec"])
    with pytest.raises(ValueError, match="T394"):
        to_hf(alone, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_temperature_goes_into_the_last_layer(tiny_bert, tmp_path):
    nlp = own_pipeline(tiny_bert)
    nlp.get_pipe("transfer_textcat").model.attrs["temperature"] = 2.5
    to_hf(nlp, tmp_path / "out", "transfer_textcat")
    texts = ["the cat", "a dog sings."]
    shares = torch.softmax(torch.from_numpy(their_logits(tmp_path / "out", texts)), dim=1).numpy()
    for doc, own in zip(nlp.pipe(texts), shares, strict=True):
        assert list(doc.cats.values()) == pytest.approx(own, abs=1e-5)


def test_thresholds_are_named(tiny_bert, tmp_path):
    nlp = own_pipeline(tiny_bert)
    nlp.get_pipe("transfer_textcat").cfg["thresholds"] = {"a": 0.3}
    with pytest.warns(UserWarning, match="W381.*thresholds"):
        to_hf(nlp, tmp_path / "out", "transfer_textcat")
