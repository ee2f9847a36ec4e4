"""Token classifiers from and to transformers: equal logits, equal entities, further training, and errors."""

import json
import random
import shutil

import numpy
import pytest
import spacy
import torch
from spacy.training import Example

from spacy_transfer.huggingface.convert import from_hf
from spacy_transfer.huggingface.export import to_hf
from spacy_transfer.huggingface.token_classifiers import token_logits

from ..checkpoints import KINDS, POSITIONS, edit_config, write_checkpoint
from ..pipelines import backbone_config, step
from .test_convert import LORA, make_texts

IOB = ["B-LOC", "O", "I-PER", "I-LOC", "B-PER"]
# One label has no "B-", as where no corpus has two neighbours of a kind.
IOB1 = ["O", "I-MISC", "B-LOC", "I-LOC"]
PLAIN = ["O", "PER", "LOC", "ORG"]
BIOES = ["O", "S-PER", "B-PER", "I-PER", "E-PER"]


def token_checkpoint(folder, kind="Bert", labels=IOB, **settings):
    """With an output layer under which every label is the best one now and then: random encoders give states that are
    much alike."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    write_checkpoint(folder, kind, "TokenClassification", labels, **settings)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForTokenClassification.from_pretrained(folder)
    with torch.no_grad():
        logits = [model.eval()(**tokenizer(text, return_tensors="pt")).logits[0] for text in make_words(count=20)]
        model.classifier.bias -= torch.cat(logits).mean(0)
        model.classifier.weight *= 3
        model.classifier.bias *= 3
    model.save_pretrained(folder)
    return str(folder)


def make_words(gaps=(" ",), count=40):
    """Texts whose words are spaCy's tokens, BERT's words, and what stands between spaces."""
    chance = random.Random(1)
    words = ["the", "cat", "sings", "big", "x", "naïve", "dog", "Berlin", "ok", ",", "."]
    texts = []
    for _ in range(count):
        chosen = chance.choices(words, k=chance.randint(1, 8))
        texts.append("".join(word + chance.choice(gaps) for word in chosen).strip(" "))
    return texts


def their_tokens(folder, nlp, texts):
    """For every text, by a plain loop over transformers: {index of a token: logits at its first piece, by label}."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    found = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        offsets = inputs.pop("offset_mapping")[0].tolist()
        assert len(offsets) <= POSITIONS
        with torch.no_grad():
            logits = model(**inputs).logits[0].numpy()
        first = {}
        for token in nlp.make_doc(text):
            for (begin, end), row in zip(offsets, logits, strict=True):
                if end > begin and begin < token.idx + len(token) and end > token.idx and token.i not in first:
                    first[token.i] = {label: row[i] for i, label in model.config.id2label.items()}
        found.append(first)
    return found


def check_logits(nlp, component, theirs, texts, tags):
    """Ours against theirs; tags that they do not have are left out."""
    count = 0
    for rows, ours in zip(theirs, token_logits(nlp, component, texts), strict=True):
        for i, by_label in rows.items():
            columns = [tags.index(label) for label in by_label]
            numpy.testing.assert_allclose(ours[i][columns], list(by_label.values()), atol=1e-5)
            count += 1
    assert count > 50


def best(by_label):
    return max(by_label, key=by_label.get)


def groups(folder, texts):
    """What transformers' pipeline finds."""
    from transformers import pipeline

    recognize = pipeline("token-classification", model=str(folder), aggregation_strategy="first")
    return [[(item["start"], item["end"], item["entity_group"]) for item in recognize(text)] for text in texts]


def ents(nlp, texts):
    return [[(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents] for doc in nlp.pipe(texts)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return token_checkpoint(tmp_path_factory.mktemp("checkpoints") / "bert")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"ModernBert"}))
def test_logits_both_ways(kind, tmp_path):
    folder, texts = token_checkpoint(tmp_path / "there", kind), make_texts(30)
    nlp = from_hf(folder)
    assert nlp.pipe_names == ["transfer_backbone", "transfer_ner"]
    pipe = nlp.get_pipe("transfer_ner")
    assert pipe.labels == ("LOC", "PER") and pipe.tags == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    theirs = their_tokens(folder, nlp, texts)
    check_logits(nlp, "transfer_ner", theirs, texts, pipe.tags)
    # Whatever the words of the text: a tag of a first piece is never lost.
    seen = set()
    for rows, doc in zip(theirs, nlp.pipe(texts), strict=True):
        for i, by_label in rows.items():
            assert doc[i].is_space or doc[i].ent_type_ == best(by_label)[2:]
            seen.add(best(by_label))
    assert len(seen) > 2
    to_hf(nlp, tmp_path / "back")
    check_logits(nlp, "transfer_ner", their_tokens(tmp_path / "back", nlp, texts), texts, pipe.tags)
    config = json.loads((tmp_path / "back" / "config.json").read_text(encoding="utf8"))
    assert config["id2label"] == {str(i): tag for i, tag in enumerate(pipe.tags)}
    assert config["architectures"] == [f"{kind}ForTokenClassification"]


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize(
    ("kind", "labels"),
    [("Bert", IOB), ("Bert", IOB1), ("Bert", PLAIN), ("Roberta", IOB), ("DistilBert", IOB1), ("Electra", PLAIN)],
)
def test_transformers_pipeline_agrees(kind, labels, tmp_path):
    folder = token_checkpoint(tmp_path / "there", kind, labels)
    # Byte-level pieces make words of white space.
    texts = make_words((" ",) if kind == "Roberta" else (" ", " ", "  ", "\n", " \t "))
    nlp = from_hf(folder)
    expected = groups(folder, texts)
    assert len({entity[2] for entities in expected for entity in entities}) > 1
    assert any(" " in text[begin:end] for text, found in zip(texts, expected, strict=True) for begin, end, _ in found)
    assert ents(nlp, texts) == expected
    to_hf(nlp, tmp_path / "back")
    assert groups(tmp_path / "back", texts) == expected


def test_other_schemes_are_read_as_what_they_are(tmp_path):
    folder, texts = token_checkpoint(tmp_path / "there", labels=BIOES), make_words()
    nlp = from_hf(folder)
    pipe = nlp.get_pipe("transfer_ner")
    assert pipe.kind == "biluo" and pipe.tags == ("O", "B-PER", "I-PER", "L-PER", "U-PER")
    theirs, found = their_tokens(folder, nlp, texts), 0
    for rows, doc in zip(theirs, nlp.pipe(texts), strict=True):
        tags = [best(rows[i]) for i in range(len(doc))]
        begun = [
            i
            for i, tag in enumerate(tags)
            if tag[0] in "SB" or (tag[0] in "IE" and (i == 0 or tags[i - 1][0] in "OSE"))
        ]
        assert [ent.start for ent in doc.ents] == begun
        found += len(begun)
    assert found > 20
    with pytest.warns(UserWarning, match="W381.*biluo"):
        to_hf(nlp, tmp_path / "back")
    assert json.loads((tmp_path / "back" / "config.json").read_text())["id2label"]["3"] == "L-PER"


@pytest.mark.parametrize(
    ("labels", "attribute"), [(["NOUN", "VERB", "DET", "X"], "pos_"), (["NN", "VBZ", ".", "X"], "tag_")]
)
def test_tags_of_words(labels, attribute, tmp_path):
    folder, texts = token_checkpoint(tmp_path / "there", labels=labels), make_texts(30)
    nlp = from_hf(folder)
    assert nlp.pipe_names == ["transfer_backbone", "transfer_tagger"]
    theirs, seen = their_tokens(folder, nlp, texts), set()
    check_logits(nlp, "transfer_tagger", theirs, texts, labels)
    for rows, doc in zip(theirs, nlp.pipe(texts), strict=True):
        for i, by_label in rows.items():
            assert getattr(doc[i], attribute) == best(by_label)
            seen.add(best(by_label))
    assert len(seen) > 2
    to_hf(nlp, tmp_path / "back")
    check_logits(nlp, "transfer_tagger", their_tokens(tmp_path / "back", nlp, texts), texts, labels)


def test_the_task_can_be_said(tmp_path):
    folder = token_checkpoint(tmp_path / "x")
    nlp = from_hf(folder, task="tagger")
    assert nlp.get_pipe("transfer_tagger").labels == tuple(IOB)
    assert {token.tag_ for doc in nlp.pipe(make_words()) for token in doc} <= {*IOB}
    renamed = from_hf(folder, labels=["B-a", "O", "I-b", "I-a", "B-b"])
    before = from_hf(folder)
    assert renamed.get_pipe("transfer_ner").labels == ("a", "b")
    for new, old in zip(ents(renamed, make_words()), ents(before, make_words()), strict=True):
        assert [(*entity[:2], {"LOC": "a", "PER": "b"}[entity[2]]) for entity in old] == new
    with pytest.raises(ValueError, match="T396.*'pos'.*ner, tagger"):
        from_hf(folder, task="pos")
    with pytest.raises(ValueError, match="T388.*BertForSequenceClassification.*'ner'"):
        from_hf(write_checkpoint(tmp_path / "y"), task="ner")


@pytest.mark.parametrize(
    ("changes", "labels", "says"),
    [
        ({"id2label": {"0": "O", "2": "I-PER"}}, None, r"T382.*without a name: \[1, 3, 4\]"),
        ({"id2label": dict(zip("01234", ["O", "B-a", "I-a", "[CLS]", "X"], strict=True))}, None, r"T389.*\[CLS\].*'X'"),
        ({}, ["O", "PER"], r"T383.*5 rows"),
        ({"architectures": ["BertForSequenceClassification"]}, None, r"T381.*bert.pooler"),
        ({"architectures": ["BertModel"]}, None, r"T380.*BertModel"),
        ({"model_type": "xlnet"}, None, r"T384.*xlnet.*roberta"),
        ({"hidden_size": 32}, None, r"T381.*another shape.*bert"),
    ],
)
def test_bad_checkpoints(tmp_path, changes, labels, says):
    token_checkpoint(tmp_path / "x")
    edit_config(tmp_path / "x", **{**changes, **({"label2id": None} if "id2label" in changes else {})})
    with pytest.raises(ValueError, match=says):
        from_hf(str(tmp_path / "x"), labels=labels)


def test_a_head_that_is_not_there(tmp_path, tiny_bert):
    shutil.copytree(tiny_bert, tmp_path / "x")
    edit_config(tmp_path / "x", architectures=["BertForTokenClassification"])
    with pytest.raises(ValueError, match=r"T381.*classifier.bias.*classifier.weight"):
        from_hf(str(tmp_path / "x"))


def test_labels_without_names(tmp_path):
    token_checkpoint(tmp_path / "x")
    edit_config(tmp_path / "x", id2label=None, label2id=None)
    with pytest.warns(UserWarning, match="W380.*--labels"):
        nlp = from_hf(str(tmp_path / "x"))
    assert nlp.get_pipe("transfer_tagger").labels == tuple(f"LABEL_{i}" for i in range(5))


def test_a_saved_pipeline_needs_no_checkpoint(tmp_path):
    folder, texts = token_checkpoint(tmp_path / "checkpoint", "Roberta"), make_texts(30)
    nlp = from_hf(folder, lang="de")
    expected = ents(nlp, texts)
    nlp.to_disk(tmp_path / "saved")
    shutil.rmtree(folder)
    again = spacy.load(tmp_path / "saved")
    assert again.lang == "de" and ents(again, texts) == expected and sum(map(len, expected)) > 20


def test_long_texts_are_read_to_their_end(bert):
    nlp = from_hf(bert, window=32)
    text = "the cat sings " * 30
    rows = [token_logits(nlp, "transfer_ner", [text + end])[0] for end in ("x", "z")]
    assert len(rows[0]) == 91 and abs(rows[0][-1] - rows[1][-1]).max() > 1e-3
    assert nlp(text).has_annotation("ENT_IOB")


ENTITIES = {"the cat sings": (4, 7, "PER"), "big cat naps": (0, 3, "LOC"), "ok in big x": (6, 11, "LOC")}


@pytest.mark.parametrize("labels", [IOB, PLAIN], ids=["iob", "plain"])
def test_it_learns_further(labels, tmp_path):
    from_hf(token_checkpoint(tmp_path / "there", labels=labels)).to_disk(tmp_path / "pipeline")
    # Else the encoder would stay frozen, at this rate.
    trained = {"components.transfer_backbone.frozen": False}
    nlp = spacy.load(tmp_path / "pipeline", config=trained)
    examples = [Example.from_dict(nlp.make_doc(text), {"entities": [ent]}) for text, ent in ENTITIES.items()]
    encoder = nlp.get_pipe("transfer_backbone").model.shims[0].encoder
    output = nlp.get_pipe("transfer_ner").model.get_ref("output")
    lowest = encoder.transformer.embeddings.word_embeddings.weight
    old, old_lowest = output.get_param("W").copy(), lowest.detach().clone()
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    losses = [step(nlp, examples, optimizer)["transfer_ner"]]
    assert abs(output.get_param("W") - old).max() > 1e-4
    assert (lowest.detach() - old_lowest).abs().max() > 1e-4
    losses += [step(nlp, examples, optimizer)["transfer_ner"] for _ in range(60)]
    assert losses[-1] < 0.05 * losses[0]
    assert ents(nlp, ENTITIES) == [[ent] for ent in ENTITIES.values()]
    # What was learned goes back to transformers as well.
    to_hf(nlp, tmp_path / "back")
    assert groups(tmp_path / "back", ENTITIES) == [[ent] for ent in ENTITIES.values()]


TOKENS = {"@architectures": "spacy-transfer.Listener.v1"}
HEAD = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": TOKENS, "decoder": "softmax"}


def own_pipeline(source, backbone=None, head=None, name="transfer_ner", **component):
    """Token heads made here that transformers' classes can express, but for what is changed."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "transfer_backbone",
        config=backbone_config(source, **{"pooling": "first", "window": POSITIONS, **(backbone or {})}),
    )
    nlp.add_pipe(name, config={"model": {**HEAD, **(head or {})}, **component})
    examples = [
        Example.from_dict(nlp.make_doc(text), {"entities": [ent], "tags": [word[0] for word in text.split()]})
        for text, ent in ENTITIES.items()
    ]
    nlp.initialize(lambda: examples)
    return nlp, examples


def test_a_recognizer_of_our_own_goes_out(tiny_bert, tmp_path):
    nlp, examples = own_pipeline(tiny_bert)
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.01
    for _ in range(40):
        step(nlp, examples, optimizer)
    assert nlp.evaluate(examples)["ents_f"] == 1.0
    with pytest.warns(UserWarning, match="W381.*transfer_ner.*lenient = false"):
        to_hf(nlp, tmp_path / "out", "transfer_ner")
    texts = list(ENTITIES) + make_words()
    tags = nlp.get_pipe("transfer_ner").tags
    check_logits(nlp, "transfer_ner", their_tokens(tmp_path / "out", nlp, texts), texts, tags)
    assert groups(tmp_path / "out", ENTITIES) == [[ent] for ent in ENTITIES.values()]
    nlp.to_disk(tmp_path / "saved")
    lenient = spacy.load(tmp_path / "saved", config={"components": {"transfer_ner": {"lenient": True}}})
    assert ents(lenient, texts) == groups(tmp_path / "out", texts)


def test_a_tagger_of_our_own_goes_out(tiny_bert, tmp_path):
    from transformers import pipeline

    nlp, examples = own_pipeline(tiny_bert, name="transfer_tagger")
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.01
    for _ in range(10):
        step(nlp, examples, optimizer)
    to_hf(nlp, tmp_path / "out")
    tag, texts = pipeline("token-classification", model=str(tmp_path / "out")), make_words()
    # Without aggregation: a line for each piece, of which the first of a word decides.
    for doc, lines in zip(nlp.pipe(texts), tag(texts), strict=True):
        by_start = {line["start"]: line["entity"] for line in lines}
        assert [token.tag_ for token in doc] == [by_start[token.idx] for token in doc]


@pytest.mark.parametrize(
    ("backbone", "head", "says"),
    [
        ({"pooling": "mean"}, {}, "pooling = 'mean' of the backbone.*'first'"),
        ({"layers": "mix"}, {}, "layers = 'mix'"),
        ({"tuning": LORA}, {}, "adapter.*merge_adapter"),
        ({}, {"decoder": "crf"}, "decoder = 'crf' of the head.*'softmax'"),
        ({}, {"hidden": [8]}, r"hidden = \[8\] of the head.*\[\]"),
        ({}, {"bilstm": 8}, "bilstm = 8 of the head"),
        ({"pooling": "mean"}, {"decoder": "crf", "hidden": [16]}, "pooling = 'mean'.*; decoder = 'crf'.*; hidden"),
    ],
)
def test_what_transformers_cannot_express(tiny_bert, tmp_path, backbone, head, says):
    nlp, _ = own_pipeline(tiny_bert, backbone, head)
    with pytest.raises(ValueError, match=f"T393.*transfer_ner.*{says}"):
        to_hf(nlp, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_places_and_components(bert, tiny_bert, tmp_path):
    nlp = from_hf(bert)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="T390.*folder"):
        to_hf(nlp, tmp_path / "folder")
    nlp.add_pipe("transfer_tagger", config={"model": HEAD})
    with pytest.raises(ValueError, match="T391.*several.*transfer_ner.*transfer_tagger"):
        to_hf(nlp, tmp_path / "out")
    with pytest.raises(ValueError, match="T303.*transfer_tagger"):
        to_hf(nlp, tmp_path / "out", "transfer_tagger")
    nlp.get_pipe("transfer_ner").threshold = 0.5
    with pytest.warns(UserWarning, match="W381.*threshold = 0.5"):
        to_hf(nlp, tmp_path / "out", "transfer_ner")
    assert not list((tmp_path / "folder").iterdir())
