"""Old skills: scores against `nlp.evaluate` and plain counts, the logger in a training, the command.

Guards also: old_data.py, retention_logger.py, cli/retention.py.
"""

import io
import json
import math
import random
from types import SimpleNamespace

import numpy
import pytest
import spacy
import torch
from spacy.cli import app
from spacy.scorer import Scorer
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example
from thinc.api import Config, fix_random_seed
from typer.testing import CliRunner

from spacy_transfer.cli.retention import retention
from spacy_transfer.continual.forgetting import ForgettingMatrix
from spacy_transfer.continual.old_data import own_answers
from spacy_transfer.continual.retention import OldSkills, as_rows, as_text, skills_from
from spacy_transfer.continual.retention_logger import Course, retention_logger_v1

from ..pipeline.heads.test_ner import ENTITIES
from ..pipeline.heads.test_ner import TEXTS as NAMES
from ..pipeline.heads.test_ner import pipeline as ner_pipeline
from ..training import sourced_config

SPLIT = 3


def skill(**settings):
    return skills_from({"old": settings}, "skills")


@pytest.fixture(scope="module")
def trained(tiny_bert):
    """An entity recognizer with a frozen backbone, fresh from training on part of the texts."""
    nlp, examples = ner_pipeline(tiny_bert)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(8):
        nlp.update(examples[:SPLIT], sgd=optimizer)
    return nlp, examples


def reader(examples):
    return lambda nlp: [Example(nlp.make_doc(eg.text), eg.reference) for eg in examples]


def test_scores_are_those_of_evaluate(trained):
    nlp, examples = trained
    old = OldSkills(nlp, skill(data=reader(examples), scores=["ents_f", "ents_p", "ents_per_type.PER.r"]), "skills")
    expected = nlp.evaluate(reader(examples)(nlp))
    assert 0.0 < expected["ents_f"] < 1.0
    assert old.before["old"] == {
        "ents_f": expected["ents_f"],
        "ents_p": expected["ents_p"],
        "ents_per_type.PER.r": expected["ents_per_type"]["PER"]["r"],
    }
    assert old.score(nlp) == old.before


EXCEPTIONS = ["I can't do it and they don't want it.", "Gonna see ya on Jan. 5, y'all.", "It is so."]


@spacy.Language.factory("tags_by_norm")
class TagsByNorm:
    """What encoders of stock pipelines read of a token, as its tag."""

    def __init__(self, nlp, name):
        pass

    def __call__(self, doc):
        for token in doc:
            token.tag_ = token.norm_
        return doc

    def score(self, examples, **kwargs):
        return Scorer.score_token_attr(examples, "tag")


def pipeline_by_norm():
    nlp = spacy.blank("en")
    nlp.add_pipe("tags_by_norm")
    return nlp


@pytest.mark.parametrize("settings", [{}, {"gold_preproc": True}, {"has_spaces": False}])
def test_scores_are_those_of_evaluate_where_the_tokenizer_knows_tokens(settings, tmp_path):
    """Tokenizer exceptions say what "n't" stands for, and encoders read it. Docs of words know nothing of that: those
    of readers with gold_preproc, and of files that do not say where spaces were."""
    nlp = pipeline_by_norm()
    docs = [nlp(text) for text in EXCEPTIONS]
    if not settings.get("has_spaces", True):
        docs = [Doc(nlp.vocab, words=[t.text for t in doc], tags=[t.tag_ for t in doc]) for doc in docs]
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    corpus = Corpus(tmp_path / "dev.spacy", gold_preproc=settings.get("gold_preproc", False))
    expected = nlp.evaluate(list(corpus(nlp)))["tag_acc"]
    other = pipeline_by_norm()
    old = OldSkills(nlp, skill(data=corpus, scores=["tag_acc"]), "skills")
    assert old.before["old"]["tag_acc"] == expected
    assert old.score(other)["old"]["tag_acc"] == other.evaluate(list(corpus(other)))["tag_acc"] == expected
    answers = own_answers(nlp, corpus(nlp))
    for answer, example in zip(answers, corpus(nlp), strict=True):
        norms = [token.norm_ for token in example.predicted]
        assert [token.norm_ for token in answer.predicted] == [token.tag_ for token in answer.reference] == norms


def test_labels_are_counted_by_hand(trained):
    nlp, examples = trained
    hits = found = gold = 0
    for example in examples:
        mine = {(e.start_char, e.end_char) for e in nlp(example.text).ents if e.label_ == "LOC"}
        theirs = {(e.start_char, e.end_char) for e in example.reference.ents if e.label_ == "LOC"}
        hits, found, gold = hits + len(mine & theirs), found + len(mine), gold + len(theirs)
    scores = ["ents_p", "ents_r"]
    old = OldSkills(nlp, skill(data=reader(examples), scores=scores, labels=["LOC"]), "skills")
    assert old.before["old"] == {"ents_p": hits / max(found, 1), "ents_r": hits / gold}


def test_agreement_with_itself_and_with_another(trained, tmp_path):
    """Raw text will do. A label more than the old pipeline has does not count against it."""
    nlp, examples = trained
    (tmp_path / "old.txt").write_text("\n".join(NAMES), encoding="utf8")
    old = OldSkills(nlp, skill(data=str(tmp_path / "old.txt"), agreement=True), "skills")
    assert old.before["old"]["ents_f"] == 1.0
    other = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
    output = other.get_pipe("transfer_ner").model.get_ref("output")
    same = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
    words = sorted({word for text in NAMES for word in text.split()})
    same.add_pipe("entity_ruler").add_patterns([{"label": "NEW", "pattern": word} for word in words])
    assert any(ent.label_ == "NEW" for text in NAMES for ent in same(text).ents)
    assert old.score(same)["old"]["ents_f"] == 1.0
    output.get_param("b")[...] = 0.0
    output.get_param("W")[...] = 0.0
    assert old.score(other)["old"]["ents_f"] < 0.5


def test_scoring_leaves_no_trace(trained):
    """Random numbers, rows that are kept between epochs, the examples."""
    nlp, examples = trained
    cache = nlp.get_pipe("transfer_backbone")._encoder.cache
    n_kept = len(cache)
    assert n_kept
    old = OldSkills(nlp, skill(data=reader(examples)), "skills")
    states = random.getstate(), numpy.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    old.score(nlp)
    assert random.getstate() == states[0]
    assert (numpy.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert nlp.get_pipe("transfer_backbone")._encoder.cache is cache and len(cache) == n_kept
    assert not any(doc.ents or len(doc.tensor) for doc in old._sets["old"].texts)


def test_table(trained):
    rows = as_rows({"news": {"ents_f": 0.5}}, {"news": {"ents_f": 0.25}})
    assert as_text(rows).splitlines()[-1].split() == ["news", "ents_f", "50.00", "25.00", "-25.00"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": None}, "T792.*skills.old.data = None"),
        ({"data": "old.txt"}, "T792.*old.txt"),
        ({"data": "old.txt", "agrement": True}, "T791.*agrement.*agreement"),
        ({"data": "nowhere.spacy"}, "T682.*skills.old.data.*nowhere"),
        ({"data": lambda nlp: []}, "T793"),
        ({"data": lambda nlp: reader_of_names(nlp), "scores": ["ents_ff"]}, "T794.*ents_ff.*ents_f"),
        ({"data": lambda nlp: [Example(nlp.make_doc("a"), nlp.make_doc("a"))], "scores": ["ents_f"]}, "T796.*ents_f"),
        ({"data": lambda nlp: [Example(nlp.make_doc("a"), nlp.make_doc("a"))]}, "T795"),
        # A string in place of a list is not read letter by letter.
        ({"data": "old.spacy", "labels": "PER"}, r"T784.*skills\.old\.labels = 'PER'.*labels = \[\"PER\"\]"),
        ({"data": "old.spacy", "scores": "ents_f, ents_p"}, r"T784.*scores = \[\"ents_f\", \"ents_p\"\]"),
        ({"data": "old.spacy", "scores": ["ents_f", 1]}, r"T784.*skills\.old\.scores = \['ents_f', 1\]"),
        ({"data": "old.spacy", "labels": {"PER": 1}}, "T784.*skills.old.labels"),
        ({"data": "old.spacy", "labels": ""}, r"T784.*skills\.old\.labels = ''"),
        (
            {"data": lambda nlp: reader_of_names(nlp), "labels": ["LOC", "PRE"]},
            r"T785.*skills\.old\.labels.*'PRE'.*'PER'",
        ),
        (
            {"data": lambda nlp: reader_of_names(nlp), "labels": ["per"], "agreement": True},
            r"T785.*skills\.old\.labels has 'per'.*Near it: \['PER'\]",
        ),
        ({"data": lambda nlp: reader_of_names(nlp), "labels": ["?"]}, r"T785.*'\?'.*Near it: \['LOC', 'PER'\]"),
    ],
)
def test_slips_of_the_pen(settings, message, trained):
    with pytest.raises(ValueError, match=message):
        OldSkills(trained[0], skill(**settings), "skills")


def reader_of_names(nlp):
    pairs = zip(NAMES, ENTITIES, strict=True)
    return [Example.from_dict(nlp.make_doc(text), {"entities": entities}) for text, entities in pairs]


def test_labels_that_gold_or_pipeline_knows_may_be_counted(trained):
    """One that just the data have, one that just the old pipeline has, one of a component that does not say so."""
    nlp, examples = trained
    other = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())
    other.add_pipe("entity_ruler").add_patterns([{"label": "RULED", "pattern": "no such words"}])
    word = NAMES[0].split()[-2]
    spans = other.add_pipe(
        "span_ruler", config={"annotate_ents": True, "ents_filter": {"@misc": "spacy.prioritize_new_ents_filter.v1"}}
    )
    spans.add_patterns([{"label": "SPANNED", "pattern": word}])
    firsts = [Example.from_dict(nlp.make_doc(t), {"entities": [(0, len(t.split()[0]), "FIRST")]}) for t in NAMES]
    found = OldSkills(other, skill(data=reader(firsts), labels=["FIRST", "RULED", "SPANNED"]), "skills")
    assert "ents_f" in found.before["old"]
    with pytest.raises(ValueError, match="T785.*'SPANED'.*'SPANNED'"):
        OldSkills(other, skill(data=reader(firsts), labels=["SPANED"]), "skills")


def test_no_skill_at_all():
    with pytest.raises(ValueError, match="T790"):
        retention_logger_v1(skills={})


# In a training


LOGGER = """
[training.logger]
@loggers = "spacy-transfer.RetentionLogger.v1"
output = "OUTPUT"
stage = "STAGE"
earlier = EARLIER
[training.logger.skills]
[training.logger.skills.names]
scores = ["ents_f","tag_acc"]
[training.logger.skills.names.data]
@readers = "spacy.Corpus.v1"
path = ${paths.old}
gold_preproc = false
[training.logger.skills.firsts]
data = ${paths.new}
scores = ["ents_f"]
new = true
[training.logger.logger]
@loggers = "spacy-transfer.ConsoleLogger.v1"
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A stock pipeline that knows names and tags, and data of something else."""
    folder = tmp_path_factory.mktemp("retention")
    fix_random_seed(0)
    nlp = spacy.blank("en")
    encoder = {"@architectures": "spacy.HashEmbedCNN.v2", "width": 8, "depth": 1, "embed_size": 50, "window_size": 1}
    encoder |= {"maxout_pieces": 2, "subword_features": True, "pretrained_vectors": None}
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 8}
    nlp.add_pipe("tok2vec", config={"model": encoder})
    ner = Config().from_str(
        '[m]\n@architectures = "spacy.TransitionBasedParser.v2"\nstate_type = "ner"\nextra_state_tokens = false\n'
        "hidden_width = 8\nmaxout_pieces = 2\nuse_upper = true"
    )["m"]
    nlp.add_pipe("ner", config={"model": {**ner, "tok2vec": listener}})
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}})
    examples = reader_of_names(nlp)
    for example in examples:
        for token in example.reference:
            token.tag_ = token.text[0].upper()
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    nlp.to_disk(folder / "old")
    DocBin(docs=[eg.reference for eg in examples]).to_disk(folder / "old.spacy")
    new = [Example.from_dict(nlp.make_doc(t), {"entities": [(0, len(t.split()[0]), "FIRST")]}) for t in NAMES]
    DocBin(docs=[eg.reference for eg in new]).to_disk(folder / "new.spacy")
    return folder


def train(files, name, logger, old="old"):
    """As `spacy train`, with what the log says."""
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train as run

    text = (
        (sourced_config("tok2vec", "ner", "tagger", frozen=["tagger"]) + logger)
        .replace("OLD", (files / old).as_posix())
        .replace("OUTPUT", (files / f"{name}.json").as_posix())
    )
    config = Config().from_str(
        text, overrides={"paths.old": str(files / "old.spacy"), "paths.new": str(files / "new.spacy")}
    )
    out = io.StringIO()
    (files / name).mkdir()
    run(init_nlp(config), files / name, stdout=out, stderr=out)
    return spacy.load(files / name / "model-last"), out.getvalue()


def test_logger_and_command(files):
    plain, _ = train(files, "plain", "")
    logger = LOGGER.replace("EARLIER", "null").replace("STAGE", "firsts")
    watched, log = train(files, "watched", logger)
    for name in ("tok2vec", "ner", "tagger"):  # Watching changes no weight.
        assert watched.get_pipe(name).model.to_bytes() == plain.get_pipe(name).model.to_bytes()
    found = json.loads((files / "watched.json").read_text())
    old = spacy.load(files / "old")
    gold = list(Corpus(files / "old.spacy")(old))
    before = old.evaluate(gold)
    after = watched.evaluate(list(Corpus(files / "old.spacy")(watched)))
    names = {row["score"]: row for row in found["last"] if row["skill"] == "names"}
    for score in ("ents_f", "tag_acc"):
        assert names[score]["before"] == before[score] and names[score]["now"] == after[score]
        assert names[score]["difference"] == pytest.approx(after[score] - before[score])
    assert before["tag_acc"] > 0.4  # The tagger is frozen, and disabled while loggers are set up.
    assert [step["step"] for step in found["history"]] == [0, 3, 6]
    best = max(found["history"], key=lambda step: (step["score"], step["step"]))
    assert found["best_step"] == best["step"] and found["retention"] == best["retention"]
    matrix = found["matrix"]
    assert [stage["name"] for stage in matrix["stages"]] == ["start", "firsts"]
    assert matrix["learned"] == {"names ents_f": "start", "names tag_acc": "start", "firsts ents_f": "firsts"}
    falls = [-row["difference"] for row in found["retention"] if row["skill"] == "names"]
    assert matrix["average_forgetting"] == pytest.approx(sum(falls) / 2)
    assert log.count("difference") == 4 and "average forgetting" in log
    # The next training goes on from there.
    follow = LOGGER.replace("EARLIER", json.dumps(str(files / "watched.json"))).replace("STAGE", "more")
    _, log = train(files, "next", follow, old="watched/model-last")
    matrix = json.loads((files / "next.json").read_text())["matrix"]
    assert [stage["name"] for stage in matrix["stages"]] == ["start", "firsts", "more"]
    assert matrix["learned"]["firsts ents_f"] == "firsts"
    with pytest.raises(ValueError, match="T781.*firsts"):
        train(files, "again", follow.replace('"more"', '"firsts"'), old="watched/model-last")
    # The command says the same.
    rows = retention(
        str(files / "old"),
        str(files / "watched" / "model-last"),
        [f"names={files / 'old.spacy'}"],
        scores=["ents_f", "tag_acc"],
    )
    assert {row.score: row.now for row in rows} == {name: row["now"] for name, row in names.items()}
    pipelines = [str(files / "old"), str(files / "watched" / "model-last")]
    arguments = ["transfer", "retention", *pipelines, f"names={files / 'old.spacy'}", "--scores", "ents_f,tag_acc"]
    assert CliRunner().invoke(app, [*arguments, "--json", str(files / "table.json")]).exit_code == 0
    written = json.loads((files / "table.json").read_text())["retention"]
    assert written == [row for row in found["last"] if row["skill"] == "names"]


def course(stage, before, now, new=(), history=None, gold=None, is_start=True):
    """A training, from scores of skills: {"old": 0.9}."""
    given = {name: {"f": value} for name, value in before.items()}
    skills = [SimpleNamespace(name=name, new=name in new) for name in given]
    old = SimpleNamespace(skills=skills, before=given, gold=gold or {})
    found = Course(old, stage, history, is_start=is_start)
    found.add(1, 0.5, {name: {"f": value} for name, value in now.items()})
    return ForgettingMatrix.from_json(json.loads(json.dumps(found.matrix().to_json())))


@pytest.mark.parametrize("scores", [[math.nan, 0.4, 0.3], [0.3, math.nan, 0.4, 0.1], [0.4, 0.4, math.nan]])
def test_an_evaluation_whose_score_is_nan_is_not_the_best(scores):
    found = Course(SimpleNamespace(skills=[], before={}, gold={}), "training")
    for step, score in enumerate(scores):
        found.add(step, score, {})
    assert found.best_step[0] == max(i for i, score in enumerate(scores) if score == 0.4)


def test_a_task_that_the_earlier_training_does_not_know_had_its_score_before_this_one():
    """It was forgotten as others were; what is new was measured before, but could not be forgotten. What the earlier
    training did measure stays, and so does the stage that taught it."""
    first = course("one", {"old": 0.9}, {"old": 0.8})
    before, now = {"old": 0.75, "more": 0.7, "next": 0.05, "gone": float("nan")}, {"old": 0.7, "more": 0.1, "next": 0.6}
    both = course("two", before, {**now, "gone": 0.3}, ["next"], first)
    found = both.to_json()
    assert found["stages"][0]["scores"] == {"old f": 0.9, "more f": None, "next f": None, "gone f": None}
    assert found["stages"][1]["scores"] == {"old f": 0.8, "more f": 0.7, "next f": 0.05, "gone f": None}
    assert found["learned"] == {"old f": "start", "more f": "one", "next f": "two", "gone f": "one"}
    assert found["forgetting"] == {"old f": pytest.approx(0.2), "more f": pytest.approx(0.6)} | dict.fromkeys(
        ["next f", "gone f"]
    )
    assert found["average_forgetting"] == pytest.approx(0.4)
    assert found["backward_transfer"] == pytest.approx(-0.4)
    # Left out of one training, a task was still taught when it was.
    third = course("three", {"more": 0.1}, {"more": 0.2}, (), both)
    last = course("four", {"old": 0.6}, {"old": 0.5}, (), third).to_json()
    assert last["stages"][3]["scores"]["old f"] == 0.6 and last["learned"]["old f"] == "start"


def column(matrix, task="agree f"):
    return [stage["scores"][task] for stage in matrix.to_json()["stages"]]


def test_agreement_with_another_pipeline_is_another_task(caplog):
    """Of a column each score must mean the same, so those of stages with other gold answers are left out."""
    first = course("one", {"agree": 1.0, "f1": 0.9}, {"agree": 0.9, "f1": 0.8}, gold={"agree": "A"})
    same = course("two", {"agree": 0.9, "f1": 0.8}, {"agree": 0.8, "f1": 0.7}, history=first, gold={"agree": "A"})
    assert column(same) == [1.0, 0.9, 0.8] and not caplog.records
    other = course("two", {"agree": 1.0, "f1": 0.8}, {"agree": 0.95, "f1": 0.7}, history=first, gold={"agree": "B"})
    assert column(other) == [None, 1.0, 0.95] and column(other, "f1 f") == [0.9, 0.8, 0.7]
    found = other.to_json()
    assert found["forgetting"] == {"agree f": pytest.approx(0.05), "f1 f": pytest.approx(0.2)}
    assert found["learned"] == {"agree f": "one", "f1 f": "start"}
    assert found["backward_transfer"] == pytest.approx((-0.05 - 0.2) / 2)
    assert len(caplog.records) == 1 and "W780" in caplog.text and "'agree f'" in caplog.text
    third = course("three", {"agree": 1.0}, {"agree": 0.9}, history=other, gold={"agree": "C"})
    assert column(third) == [None, None, 1.0, 0.9]
    # Where the earlier training does not measure it, it is no other; annotated data and answers are.
    assert column(course("two", {"f1": 0.8}, {"f1": 0.7}, history=first)) == [1.0, 0.9, None]
    caplog.clear()
    assert column(course("two", {"agree": 0.9}, {"agree": 0.8}, history=first)) == [None, 0.9, 0.8]
    assert "W780" in caplog.text


def test_going_on_from_another_pipeline_than_the_last_training_left(caplog):
    first = course("one", {"old": 0.9}, {"old": 0.8})
    close = course("two", {"old": 0.804, "more": 0.6}, {"old": 0.7, "more": 0.5}, history=first)
    assert column(close, "old f") == [0.9, 0.8, 0.7] and column(close, "more f") == [None, 0.6, 0.5]
    assert not caplog.records
    course("two", {"old": 0.9}, {"old": 0.7}, history=first)
    assert "W781" in caplog.text and "old f: 0.9000 (was 0.8000 after 'one')" in caplog.text
    # `before` may be the pipeline before all trainings.
    caplog.clear()
    first_of_all = {"old": 0.901, "more": 0.6}
    named = course("two", first_of_all, {"old": 0.7, "more": 0.5}, history=first, is_start=False)
    assert column(named, "old f") == [0.9, 0.8, 0.7] and column(named, "more f") == [0.6, None, 0.5]
    assert named.to_json()["learned"]["more f"] == "start" and not caplog.records
    course("two", {"old": 0.85}, {"old": 0.7}, history=first, is_start=False)
    assert "W781" in caplog.text


def test_fingerprint_of_answers(trained):
    """That of the answers, whatever order texts have and wherever the pipeline is."""
    nlp, examples = trained
    other = type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())

    def gold(nlp, examples, **settings):
        return OldSkills(nlp, skill(data=reader(examples), **settings), "skills").gold

    own = gold(nlp, examples, agreement=True)
    assert list(own) == ["old"] and gold(other, examples[::-1], agreement=True) == own
    assert gold(nlp, examples) == {}
    assert gold(nlp, examples[1:], agreement=True) != own
    assert gold(nlp, examples, agreement=True, labels=["LOC"]) != own
    other.get_pipe("transfer_ner").model.get_ref("output").get_param("W")[...] = 0.0
    assert gold(other, examples, agreement=True) != own


AGREEMENT = """
[training.logger.skills.agree]
data = ${paths.old}
scores = ["tag_acc"]
agreement = true
"""


@pytest.mark.parametrize("before", [None, "old"])
def test_agreement_in_a_row_of_trainings(before, files, caplog):
    """Without `before` it is with another pipeline in each; with the first one throughout, it is one column."""
    name = f"row_{before}"
    for stage, earlier, old in (("one", "null", "old"), ("two", f"{name}_one", f"{name}_one/model-best")):
        path = earlier if earlier == "null" else json.dumps(str(files / f"{earlier}.json"))
        logger = LOGGER.replace("EARLIER", path).replace("STAGE", stage) + AGREEMENT
        given = json.dumps(None if before is None else (files / before).as_posix())
        logger = logger.replace('v1"', f'v1"\nbefore = {given}', 1)
        caplog.clear()
        train(files, f"{name}_{stage}", logger, old=old)
        assert ("W780" in caplog.text) == (before is None and stage == "two")
        assert "W781" not in caplog.text
    matrices = [json.loads((files / f"{name}_{stage}.json").read_text())["matrix"] for stage in ("one", "two")]
    one, two = (column(ForgettingMatrix.from_json(matrix), "agree tag_acc") for matrix in matrices)
    assert one[0] == 1.0 and two[:2] == ([None, 1.0] if before is None else one)


def test_averages_are_scored_as_they_are_saved(files):
    """spaCy evaluates and saves the averages of weights, and trains on with the weights."""
    optimizer = '[training.optimizer]\n@optimizers = "Adam.v1"\nuse_averages = true\nlearn_rate = 0.03'
    logger = LOGGER.replace("EARLIER", "null").replace("STAGE", "averages") + optimizer
    saved, _ = train(files, "averages", logger)
    found = json.loads((files / "averages.json").read_text())["last"]
    (now,) = (row["now"] for row in found if row["skill"] == "firsts")
    assert now == saved.evaluate(list(Corpus(files / "new.spacy")(saved)))["ents_f"] > 0


def test_evaluate_is_as_before_when_a_training_has_ended(trained):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    examples = [Example.from_dict(nlp.make_doc("One. Two."), {"sent_starts": [True, False, True, False]})]
    block = {"data": lambda nlp: examples, "scores": ["sents_f"]}
    inner = retention_logger_v1(skills={"inner": block})
    _, finalize = retention_logger_v1(skills={"outer": block}, logger=inner)(nlp, io.StringIO(), io.StringIO())
    assert "evaluate" in vars(nlp)
    finalize()
    assert "evaluate" not in vars(nlp)


def test_command_line(files, capsys):
    old, data = str(files / "old"), str(files / "old.spacy")
    arguments = ["transfer", "retention", old, old, data, "--agreement", "--scores", "ents_f"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if line.startswith("old "))
    assert line.split() == ["old", "ents_f", "100.00", "100.00", "+0.00"]
    for given, message in (([data, data], "T783"), (["no.spacy"], "T483")):
        result = CliRunner().invoke(app, ["transfer", "retention", old, old, *given])
        assert result.exit_code == 2 and message in result.output


def test_folders_with_an_equals_sign_in_their_names(files, monkeypatch):
    """What sweeps write: runs/lr=0.1/dev.spacy is a path, whether or not it is there. So is a file of such a name."""
    monkeypatch.chdir(files)
    old, gold = str(files / "old"), (files / "old.spacy").read_bytes()
    (files / "runs" / "lr=0.1").mkdir(parents=True)
    names = {"runs/lr=0.1/dev.spacy": "dev", "lr=0.2.spacy": "lr=0.2", "named=runs/lr=0.1/dev.spacy": "named"}
    for given, name in names.items():
        (files / given.removeprefix("named=")).write_bytes(gold)
        assert {row.skill for row in retention(old, old, [given], scores=["ents_f"])} == {name}
    with pytest.raises(ValueError, match=r"T682.*DATA\.dev\.data: .*lr=0\.3.dev\.spacy does not exist"):
        retention(old, old, ["runs/lr=0.3/dev.spacy"])


def test_settings_of_the_logger(tmp_path):
    skills = {"old": {"data": "old.spacy"}}
    with pytest.raises(ValueError, match="T780"):
        retention_logger_v1(skills=skills, output=str(tmp_path / "no" / "where.json"))
    with pytest.raises(ValueError, match="T799"):
        retention_logger_v1(skills=skills, picture=str(tmp_path / "matrix.txt"))
    (tmp_path / "old.json").write_text("{}")
    with pytest.raises(ValueError, match=r"T782.*old\.json"):
        retention_logger_v1(skills=skills, earlier=str(tmp_path / "old.json"))(spacy.blank("en"))
