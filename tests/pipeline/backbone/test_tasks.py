"""Weights of tasks and PCGrad in transfer_backbone, against each task's own gradients and projected vectors."""

import io
from random import Random

import numpy
import pytest
import spacy
import torch
from spacy.training import Example
from thinc.api import SGD

from spacy_transfer.corpora.example_info import note_origin
from spacy_transfer.pipeline.parameters import parameters_of
from spacy_transfer.tuning.optimizers import adamw_v1
from spacy_transfer.tuning.pcgrad import project

from ...pipelines import HEADS, LISTENER, make_examples, step, weights
from ...tuning.test_pcgrad import pcgrad
from .test_component_other_backbones import sources  # noqa: F401

TASKS = ["tagger", "second tagger", "textcat"]
WEIGHTS = "spacy-transfer.TaskWeights.v1"
CNN = {"@architectures": "spacy-transfer.CNNContext.v1", "width": 16, "depth": 2}
LSTM = {"@architectures": "spacy-transfer.BiLSTMContext.v1", "width": 16}
ENCODE = {"@architectures": "spacy.MaxoutWindowEncoder.v2", "width": 16, "depth": 1, "window_size": 1}
NESTED = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {**LISTENER, "width": 16},
    "encode": {**ENCODE, "maxout_pieces": 2},
}
TUNED = {"tuning": {"@misc": "spacy-transfer.Tuning.v1", "freeze": 1, "checkpointing": True}}
BACKBONES = {
    "bert": ("TransformerBackbone", None, {"window": 32, "overlap": 8}),
    "mix": ("TransformerBackbone", None, {"layers": "mix", "window": 8, "overlap": 2, "max_batch_items": 16}),
    "checkpointing": ("TransformerBackbone", None, {"window": 32, "overlap": 8, **TUNED}),
    "vectors": ("VectorsBackbone", "vectors.txt", {"finetune": True, "width": 12}),
    "cnn": ("VectorsBackbone", "vectors.txt", {"finetune": True, "context": CNN}),
    "bilstm": ("VectorsBackbone", "vectors.txt", {"finetune": True, "context": LSTM}),
    "pipeline": ("PipelineBackbone", "pipeline", {}),
    "hash": ("HashEmbedBackbone", None, {"width": 12, "rows": [50] * 4, "context": CNN}),
}


@pytest.fixture
def build(sources, tiny_bert):  # noqa: F811
    """Makes a pipeline whose heads send gradients."""

    def make(kind="bert", heads=TASKS, models=None, **settings):
        spacy.util.fix_random_seed(0)
        name, file, more = BACKBONES[kind]
        model = {"@architectures": f"spacy-transfer.{name}.v1", **more}
        if name != "HashEmbedBackbone":
            model["source"] = tiny_bert if file is None else str(sources / file)
        nlp = spacy.blank("en")
        nlp.add_pipe("transfer_backbone", config={"model": model, "frozen": False, **settings})
        for head in heads:
            factory = head.split()[-1]
            known = {**HEADS, **(models or {})}
            nlp.add_pipe(factory, head, config={"model": known[factory]} if factory in known else {})
        examples = make_examples(nlp)
        nlp.initialize(lambda: examples)
        randomize(nlp, heads)
        return nlp, examples

    return make


def randomize(nlp, heads):
    """Output layers begin at zero: random ones send something. Two taggers of opposite weights quarrel."""
    for head in heads:
        draws = numpy.random.default_rng(0)
        sign = -1.0 if head.startswith("second") else 1.0
        for node in nlp.get_pipe(head).model.walk():
            for name in node.param_names:
                if node.has_param(name):
                    node.set_param(name, sign * draws.normal(size=node.get_param(name).shape).astype("f"))


def settings(**more):
    return {"@misc": WEIGHTS, **more}


def found_gradients(nlp, batches, exclude=()):
    """What the optimizer would find: a vector for all parameters of the backbone."""
    pipe = nlp.get_pipe("transfer_backbone")
    for batch in batches:
        nlp.update(batch, sgd=False, exclude=list(exclude))
        pipe.steps.flush()
    pipe.tasks.before_step(pipe)
    return vector(pipe)


def vector(pipe):
    parts = []
    for parameter in parameters_of(pipe.name, pipe):
        if parameter.is_torch:
            gradient = parameter.parameter.owner._model.get_parameter(parameter.parameter.own_name).grad
            gradient = None if gradient is None else gradient.numpy()
        else:
            has = parameter.parameter.owner.has_grad(parameter.parameter.own_name)
            gradient = parameter.parameter.owner.get_grad(parameter.parameter.own_name) if has else None
        parts.append(numpy.zeros(parameter.parameter.size) if gradient is None else gradient.ravel().astype("d"))
    return numpy.concatenate(parts)


def each_alone(build, kind, tasks=TASKS, batches=(slice(None),)):
    """The gradient of each task, from a forward pass of its own, by a backbone that adds up."""
    found = []
    for task in tasks:
        nlp, examples = build(kind, tasks)
        found.append(found_gradients(nlp, [examples[b] for b in batches], [t for t in tasks if t != task]))
    return numpy.array(found)


def same(found, expected):
    numpy.testing.assert_allclose(found, expected, atol=2e-6 * numpy.abs(expected).max())


# PCGrad


@pytest.mark.parametrize("kind", sorted(BACKBONES))
def test_pcgrad_is_that_of_the_tasks_vectors(build, kind):
    alone = each_alone(build, kind)
    nlp, examples = build(kind, surgery="pcgrad")
    pipe = nlp.get_pipe("transfer_backbone")
    pipe.tasks._random = Random(7)
    found = found_gradients(nlp, [examples])
    assert ((alone @ alone.T) < 0).any(), "there must be something to project"
    same(found, pcgrad(list(alone), Random(7)))
    assert numpy.abs(found - alone.sum(0)).max() > 1e-2 * numpy.abs(found).max()


def test_pcgrad_on_rows_of_tokens_and_of_documents(build):
    listener = {"@architectures": "spacy-transfer.DocumentListener.v1"}
    heads = ["tagger", "transfer_textcat"]
    model = {"@architectures": "spacy-transfer.TextCatHead.v1", "exclusive_classes": True, "tok2vec": listener}
    models, alone = {"transfer_textcat": model}, []
    for head in heads:
        nlp, examples = build(heads=heads, models=models)
        alone.append(found_gradients(nlp, [examples], [other for other in heads if other != head]))
    nlp, examples = build(heads=heads, models=models, surgery="pcgrad")
    assert all(vector.any() for vector in alone)
    same(found_gradients(nlp, [examples]), pcgrad(alone, Random(0)))


def test_accumulated_batches_are_projected_as_the_big_one(build):
    """Task by task they add up, and are projected at the step."""
    vectors = []
    for cuts in ([[0, 1, 2, 3]], [[0, 1], [2, 3]], [[2], [0, 3], [1]]):
        nlp, examples = build(surgery="pcgrad")
        vectors.append(found_gradients(nlp, [[examples[i] for i in cut] for cut in cuts]))
    for found in vectors[1:]:
        same(found, vectors[0])


@pytest.mark.parametrize("heads", [["tagger"], ["tagger", "second tagger"]])
def test_without_conflict_training_is_plain(build, heads):
    """One task: bit for bit. Two that are the same: to the precision of sums."""
    trained = []
    for surgery in (None, "pcgrad"):
        nlp, examples = build(heads=heads, surgery=surgery)
        for head in heads[1:]:
            nlp.get_pipe(head).model.from_bytes(nlp.get_pipe(heads[0]).model.to_bytes())
        optimizer, before = SGD(0.01), weights(nlp)
        for _ in range(3):
            step(nlp, examples, optimizer)
        trained.append(weights(nlp))
        assert numpy.abs(trained[-1] - before).max() > 1e-3
    numpy.testing.assert_allclose(trained[1], trained[0], atol=0.0 if len(heads) == 1 else 1e-5)


def conflict_pairwise(nlp, heads):
    """Output layers of three taggers at 120 degrees to each other: each works against both others. They are small, so
    that the three predict nearly the same."""
    draws = numpy.random.default_rng(0)
    nodes = [nlp.get_pipe(head).model.get_ref("softmax") for head in heads]
    first, second = (draws.normal(size=nodes[0].get_param("W").shape).astype("f") for _ in range(2))
    for k, node in enumerate(nodes):
        angle = 2 * numpy.pi * k / len(nodes)
        node.set_param("W", (0.01 * (numpy.cos(angle) * first + numpy.sin(angle) * second)).astype("f"))
        node.set_param("b", numpy.zeros_like(node.get_param("b")))


def test_the_same_seed_gives_the_same_weights(build):
    """The order of projection is drawn, and matters: all three tasks are in conflict with each other."""
    heads = ["tagger", "second tagger", "third tagger"]
    nlp, examples = build(heads=heads, surgery="pcgrad")
    conflict_pairwise(nlp, heads)
    pipe = nlp.get_pipe("transfer_backbone")
    nlp.update(examples, sgd=False)
    pipe.steps.flush()
    _, products = pipe.tasks.gradients.products()
    assert (products[~numpy.eye(3, dtype=bool)] < 0).all()
    sums = {tuple(project(products, Random(seed)).round(6)) for seed in range(20)}
    assert len(sums) > 2, "the orders must differ in what comes out"
    trained = []
    for _ in range(2):
        nlp, examples = build(heads=heads, surgery="pcgrad", weighing=settings(rule="gradnorm"))
        conflict_pairwise(nlp, heads)
        optimizer = adamw_v1(learn_rate=1e-4)  # So small that they are in conflict to the end.
        for _ in range(5):
            step(nlp, examples, optimizer)
            optimizer.step_schedules()
        trained.append(nlp.to_bytes())
    assert trained[0] == trained[1]


def test_gradients_of_others_are_added_as_they_are(build):
    """What an anchor adds to the parameters' gradients is no task."""
    nlp, examples = build(surgery="pcgrad")
    pipe = nlp.get_pipe("transfer_backbone")
    pipe.tasks._random = Random(0)
    expected = found_gradients(nlp, [examples])
    nlp, examples = build(surgery="pcgrad")
    pipe = nlp.get_pipe("transfer_backbone")
    pipe.tasks._random = Random(0)
    encoder = pipe.model.shims[0].encoder
    for parameter in encoder.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    same(found_gradients(nlp, [examples]), expected + 3.0)


def test_a_task_without_gradient_takes_no_part(build):
    """Tags are missing: exactly what the others make of the batch."""
    heads = ["tagger", "textcat", "morphologizer"]
    nlp, examples = build(heads=heads, surgery="pcgrad", weighing=settings(rule="uncertainty"))
    pipe = nlp.get_pipe("transfer_backbone")
    untagged = []
    for eg in examples:
        known = {"cats": eg.reference.cats, "pos": [t.pos_ for t in eg.reference]}
        known["morphs"] = [str(t.morph) for t in eg.reference]
        untagged.append(Example.from_dict(nlp.make_doc(eg.text), known))
    nlp.update(untagged, sgd=False)
    pipe.steps.flush()
    assert pipe.tasks.gradients.products()[0] == ["textcat", "morphologizer"]
    pipe.tasks.record_cosines()
    pipe.tasks.before_step(pipe)
    pipe.tasks.after_step()
    assert set(pipe.tasks.weights.factors) == {"morphologizer", "textcat"}
    assert pipe.tasks.lines()[1].count("/") == 1


def test_a_gradient_that_is_not_finite_leaves_nothing(build):
    nlp, examples = build(surgery="pcgrad")
    pipe, optimizer = nlp.get_pipe("transfer_backbone"), SGD(0.1)
    nlp.update(examples[:2], sgd=False)
    pipe.steps.flush()
    assert pipe.tasks.gradients
    before = weights(nlp)
    nlp.update(examples[2:], sgd=False)
    pipe.steps.pending.add_documents("textcat", numpy.full((2, 16), numpy.inf, dtype="f"))
    with pytest.raises(ValueError, match="T654.*textcat"):
        pipe.finish_update(optimizer)
    assert not pipe.tasks.gradients and (vector(pipe) == 0).all() and (weights(nlp) == before).all()


# Weights


@pytest.mark.parametrize("surgery", [None, "pcgrad"])
def test_weights_scale_what_enters_the_backbone(build, surgery):
    alone = each_alone(build, "bert")
    given = {"tagger": 0.0, "textcat": 5.0}
    nlp, examples = build(weighing=settings(weights=given), surgery=surgery)
    nlp.get_pipe("transfer_backbone").tasks._random = Random(1)
    scaled = [vector * given.get(task, 1.0) for task, vector in zip(TASKS, alone, strict=True)]
    expected = sum(scaled) if surgery is None else pcgrad(scaled[1:], Random(1))
    same(found_gradients(nlp, [examples]), expected)


@pytest.mark.parametrize("kind", ["textcat", "textcat_multilabel"])
def test_the_mean_that_spacys_textcat_reports_is_no_sum(build, kind):
    """The loss per example is the same however many times a batch holds it, in one part or in several."""
    models = {"textcat_multilabel": {**HEADS["textcat"], "exclusive_classes": False}}
    nlp, examples = build(heads=[kind, "tagger", "transfer_textcat"], models=models)
    pipe, means = nlp.get_pipe("transfer_backbone"), []
    for parts in ([examples], [examples * 5], [examples[:1], examples[1:]]):
        losses = {}
        for part in parts:
            nlp.update(part, sgd=False, losses=losses)
        pipe.steps.flush()
        means.append({task: seen.mean for task, seen in pipe.tasks._step.items()})
        pipe.tasks.drop_step()
        if len(parts) == 1:
            assert means[-1][kind] == pytest.approx(losses[kind]), "a mean already"
            assert means[-1]["tagger"] == pytest.approx(losses["tagger"] / len(parts[0]))
    assert means[0] == pytest.approx(means[1], rel=1e-4) and means[0] == pytest.approx(means[2], rel=1e-4)


def test_the_mean_of_spacys_textcat_counts_its_own_examples(build):
    """Those of other tasks have a part in the mean, and cost nothing."""
    models = {"textcat_multilabel": {**HEADS["textcat"], "exclusive_classes": False}}
    nlp, examples = build(heads=["textcat_multilabel", "tagger"], models=models)
    for example in examples[1:]:
        example.reference.cats = {}
        note_origin(example.reference, "tags", ["tagger"])
    pipe, means = nlp.get_pipe("transfer_backbone"), []
    for batch in (examples, examples[:1]):
        nlp.update(batch, sgd=False)
        pipe.steps.flush()
        means.append(pipe.tasks._step["textcat_multilabel"].mean)
        pipe.tasks.drop_step()
    assert means[0] == pytest.approx(means[1], rel=1e-4) and means[0] > 0.0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_uncertainty_follows_the_losses_per_example(build, accumulate):
    """Against a loop in closed form over the losses that are logged; weights change after steps only."""
    heads = ["tagger", "transfer_textcat"]
    nlp, examples = build(heads=heads, weighing=settings(rule="uncertainty", rate=0.1))
    tasks, optimizer = nlp.get_pipe("transfer_backbone").tasks, SGD(0.01)
    for example in examples[:3]:
        note_origin(example.reference, "some", ["tagger"])
    s = dict.fromkeys(heads, 0.0)
    for _ in range(4):
        losses = {}
        for i in range(accumulate):
            nlp.update(examples[i::accumulate], sgd=False, losses=losses)
            nlp.get_pipe("transfer_backbone").steps.flush()
            for task, value in s.items():
                assert tasks.weights.of(task) == pytest.approx(numpy.exp(-value))
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        for task, count in zip(heads, (4, 1), strict=True):
            s[task] -= 0.1 * numpy.clip(1 - numpy.exp(-s[task]) * losses[task] / count, -1, 1)
    assert all(abs(value) > 0.05 for value in s.values())
    for task, value in s.items():
        assert tasks.weights.of(task) == pytest.approx(numpy.exp(-value), rel=1e-5)


def test_gradnorm_brings_norms_together(build):
    """The larger gradient's weight falls: as many times the plain norms differ, weights differ in the end."""
    nlp, examples = build(heads=["tagger", "textcat"], weighing=settings(rule="gradnorm", alpha=0.0, rate=0.008))
    tasks = nlp.get_pipe("transfer_backbone").tasks
    norms = []
    for _ in range(80):
        nlp.update(examples, sgd=False)  # Nothing is stepped: norms stay what they are.
        pending = nlp.get_pipe("transfer_backbone").steps.pending
        norms.append([numpy.sqrt(pending.squares[task]) for task in ("tagger", "textcat")])
        nlp.get_pipe("transfer_backbone").steps.flush()
        tasks.after_step()
    plain = norms[0][0] / norms[0][1]
    assert not 0.6 < plain < 1.6
    assert norms[-1][0] / norms[-1][1] == pytest.approx(1.0, abs=0.15)


def test_weights_are_nowhere_once_saved(build):
    """A listener carries the weight from the backbone's update to that of the head, and no farther."""
    plain, _ = build(heads=["transfer_textcat"])
    nlp, examples = build(heads=["transfer_textcat"], weighing=settings(weights={"transfer_textcat": 0.5}))
    head = nlp.get_pipe("transfer_textcat")
    listener = head.model.get_ref("tok2vec")
    nlp.get_pipe("transfer_backbone").update(examples)
    listener([eg.predicted for eg in examples], is_train=True)
    assert head.task_weight == 0.5
    assert head.to_bytes() == plain.get_pipe("transfer_textcat").to_bytes()
    nlp.update(examples, sgd=False, exclude=["transfer_backbone"], annotates=["transfer_backbone"])
    assert head.task_weight == 1.0, "no batch of the backbone, no weight"


@pytest.mark.parametrize("tok2vec", [LISTENER, NESTED], ids=["listener", "layers over it"])
def test_heads_of_ours_scale_their_own_loss(build, tok2vec):
    """Once: the gradient in the head is the weight times the plain one, and so is that in the backbone."""
    found = []
    model = {"@architectures": "spacy-transfer.TextCatHead.v1", "exclusive_classes": True, "tok2vec": tok2vec}
    for weight in (1.0, 0.25):
        given = settings(weights={"transfer_textcat": weight})
        models = {"transfer_textcat": model}
        nlp, examples = build(heads=["transfer_textcat", "tagger"], models=models, weighing=given)
        losses = {}
        nlp.update(examples, sgd=False, exclude=["tagger"], losses=losses)
        nlp.get_pipe("transfer_backbone").steps.flush()
        head = nlp.get_pipe("transfer_textcat")
        own = head.model.get_ref("output").get_grad("W").copy()
        found.append((own, vector(nlp.get_pipe("transfer_backbone")), losses["transfer_textcat"]))
    assert numpy.abs(found[0][0]).max() > 0
    numpy.testing.assert_allclose(found[1][0], 0.25 * found[0][0], rtol=1e-5, atol=1e-7)
    same(found[1][1], 0.25 * found[0][1])
    assert found[1][2] == pytest.approx(found[0][2]), "the loss is logged without its weight"


def test_plain_update_makes_the_same_steps(build):
    """nlp.update(sgd=...) calls finish_update of the backbone before the heads have run."""
    trained = []
    weighing = settings(rule="uncertainty", weights={"transfer_textcat": 0.5}, rate=0.5)
    for is_plain in (True, False):
        nlp, examples = build(heads=["tagger", "transfer_textcat"], weighing=weighing, surgery="pcgrad")
        for _ in range(3):
            nlp.update(examples, sgd=SGD(0.1)) if is_plain else step(nlp, examples, SGD(0.1))
        nlp("a dog")
        trained.append([weights(nlp), nlp.get_pipe("transfer_textcat").model.get_ref("output").get_param("W")])
    for plain, loop in zip(*trained, strict=True):
        numpy.testing.assert_allclose(plain, loop, atol=1e-6)


# What is said


def test_logged_cosines_are_those_of_the_parameters(build):
    alone = each_alone(build, "bert")
    nlp, examples = build(surgery="pcgrad", weighing=settings(weights={"textcat": 2.0}))
    nlp.get_pipe("transfer_backbone").tasks.record_cosines()
    step(nlp, examples, SGD(0.0))
    tasks, cosines = nlp.get_pipe("transfer_backbone").tasks.lines()
    assert "textcat loss" in tasks and "weight 2" in tasks and "tagger loss" in tasks
    unit = alone / numpy.linalg.norm(alone, axis=1, keepdims=True)
    for (i, first), (j, second) in ((a, b) for a in enumerate(TASKS) for b in enumerate(TASKS) if a < b):
        assert f"{first} / {second} {unit[i] @ unit[j]:+.2f}" in cosines
    assert nlp.get_pipe("transfer_backbone").tasks.lines() == []


def test_logged_cosines_of_rows_are_of_docs_where_tasks_meet(build):
    nlp, examples = build(heads=["tagger", "textcat"])
    pipe = nlp.get_pipe("transfer_backbone")
    pipe.tasks.record_cosines()
    for i in (0, 1):
        reference = examples[i].reference
        reference.from_array(["TAG"], numpy.zeros(len(reference), dtype="uint64"))
    nlp.update(examples, sgd=False)
    parts = pipe.steps.pending._parts
    first, second = (numpy.concatenate(parts[task].rows[2:]).ravel() for task in ("tagger", "textcat"))
    assert not any(part.any() for part in parts["tagger"].rows[:2])
    pipe.finish_update(SGD(0.0))
    cosine = first @ second / numpy.linalg.norm(first) / numpy.linalg.norm(second)
    assert pipe.tasks.lines()[1] == f"cosines of rows' gradients: tagger / textcat {cosine:+.2f}"
    only_tags, only_cats = examples[2:3], examples[:1]
    for batch in (only_tags, only_cats):
        nlp.update(batch, sgd=False, exclude=["textcat"] if batch is only_tags else [])
        pipe.finish_update(SGD(0.0))
    assert len(pipe.tasks.lines()) == 1, "tasks that never meet have no cosine"


@pytest.mark.parametrize("surgery", [None, "pcgrad"])
def test_cosines_that_nobody_asks_for_are_not_kept(build, surgery):
    """Other loggers never ask, and a training has many steps."""
    nlp, examples = build(surgery=surgery)
    tasks = nlp.get_pipe("transfer_backbone").tasks
    for is_watched in (False, True):
        if is_watched:
            tasks.record_cosines()
        for _ in range(2):
            step(nlp, examples, SGD(0.0))
        assert {len(cosines) for cosines in tasks._cosines.values()} == ({2} if is_watched else set())


def test_the_console_shows_tasks(tiny_bert, tmp_path):
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train
    from spacy.util import load_config

    from ...training import write_training

    weighing = settings(rule="fixed", weights={"textcat": 0.5})
    overrides = {"components.transfer_backbone.weighing": weighing, "components.transfer_backbone.surgery": "pcgrad"}
    nlp = init_nlp(load_config(write_training(tmp_path, tiny_bert, overrides=overrides)))
    out = io.StringIO()
    train(nlp, None, stdout=out, stderr=out)
    lines = [line.strip() for line in out.getvalue().splitlines() if line.strip().startswith("transfer_backbone: ")]
    assert any(" weight 0.5" in line and "tagger loss" in line for line in lines), out.getvalue()
    assert any("cosines of gradients: tagger / textcat" in line for line in lines)


# Bad input


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("T409.*'textcta'.*textcat", {"weighing": {"@misc": WEIGHTS, "weights": {"textcta": 2.0}}}),
        ("T662", {"weighing": {"@misc": WEIGHTS, "weights": dict.fromkeys(TASKS, 0.0)}}),
        ("T410.*surgery.*frozen = true", {"surgery": "pcgrad", "frozen": True}),
        ("T410.*weighing.*frozen = true", {"weighing": {"@misc": WEIGHTS}, "frozen": True}),
    ],
)
def test_wrong_settings_are_found_before_training(build, code, settings):
    with pytest.raises(ValueError, match=code):
        build(**settings)


def test_surgery_on_what_never_moves(tiny_bert, nlp):
    tuning = {"@misc": "spacy-transfer.Tuning.v1", "freeze": "all"}
    model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": tiny_bert, "tuning": tuning}
    with pytest.raises(ValueError, match='T410.*freeze = "all"'):
        nlp.add_pipe("transfer_backbone", config={"model": model, "surgery": "pcgrad"})


def test_a_loaded_pipeline_is_checked_as_well(build):
    nlp, examples = build()
    pipe = nlp.get_pipe("transfer_backbone")
    pipe.tasks.weights = type(build(weighing=settings())[0].get_pipe("transfer_backbone").tasks.weights)(
        spacy.registry.misc.get(WEIGHTS)(weights={"parser": 1.0})
    )
    with pytest.raises(ValueError, match="T409.*'parser'"):
        nlp.update(examples, sgd=False)


def test_layers_of_torch_that_go_back_once(nlp):
    embed = {"@architectures": "spacy.CharacterEmbed.v2", "width": 16, "rows": 50, "nM": 4, "nC": 4}
    embed["include_static_vectors"] = False
    encode = {"@architectures": "spacy.TorchBiLSTMEncoder.v1", "width": 16, "depth": 1, "dropout": 0.0}
    model = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    nlp.add_pipe("transfer_backbone", config={"model": model, "surgery": "pcgrad"})
    nlp.add_pipe("tagger", config={"model": HEADS["tagger"]})
    with pytest.raises(ValueError, match="T664.*PyTorchShim"):
        nlp.initialize(lambda: make_examples(nlp))
