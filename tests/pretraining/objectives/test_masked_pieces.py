"""Masked words on transformers, against transformers' own masked language model.

Guards also: language_model.py, masked_words.py.
"""

import json
import zlib

import numpy
import pytest
import srsly
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1
from spacy_transfer.pretraining.objective import pretraining_of
from spacy_transfer.pretraining.objectives.masked_pieces import MaskedPieces, find_mask
from spacy_transfer.pretraining.objectives.masked_words import build_masked_words_v1
from spacy_transfer.tuning.policy import Tuning

from ..pretrain import run

TEXTS = ["the cat sings of a dog", "a dog, a cat.", "", "   ", "big words in a long line of words. " * 9, "x"]
OBJECTIVE = '@architectures = "spacy-transfer.MaskedWords.v1"'


@pytest.fixture(scope="module")
def language_model(tiny_bert, tmp_path_factory):
    """Folder of a BERT with a language-model layer that has learned something else than its start."""
    folder = tmp_path_factory.mktemp("lm") / "bert"
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    torch.manual_seed(1)
    model = BertForMaskedLM(BertConfig.from_pretrained(tiny_bert))
    torch.nn.init.normal_(model.cls.predictions.bias)
    model.save_pretrained(folder)
    return str(folder)


def build(source, **masking):
    backbone = build_transformer_backbone_v1(source=source, window=32, overlap=8)
    backbone.initialize()
    return build_masked_words_v1(progress=False, **masking)(None, backbone)


def parts(model):
    """The objective and its output layer, made."""
    pretraining = pretraining_of(model)
    if pretraining.settings is None:
        pretraining.restore(pretraining.objective.start([], None), None)
    return pretraining.objective, pretraining.output._model


def peer_loss(folder, objective, docs, seed, gradients=False):
    """The mean over all masked pieces, by BertForMaskedLM on one window at a time."""
    peer = BertForMaskedLM.from_pretrained(folder)
    pieces, at, targets = objective.mask(objective._shim.cut(docs), docs, numpy.random.default_rng(seed))
    windows, encoder, total = pieces.windows, objective._shim.encoder, 0.0
    for i, (start, length) in enumerate(zip(windows.start, windows.length, strict=True)):
        mine = [k for k in range(len(at)) if windows.owner[at[k]] == i]
        if not mine:
            continue
        ids = [*encoder.prefix, *pieces.ids[start : start + length], *encoder.suffix]
        logits = peer(input_ids=torch.tensor([ids])).logits[0]
        places = [int(at[k] - start) + len(encoder.prefix) for k in mine]
        wanted = torch.from_numpy(targets[mine])
        total = total + torch.nn.functional.cross_entropy(logits[places], wanted, reduction="sum")
    return total / len(at), peer


def test_loss_and_gradients_are_those_of_transformers(language_model, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    objective, output = parts(build(language_model))
    measured = objective.measure(docs, output, numpy.random.default_rng(0), is_train=True)
    expected, peer = peer_loss(language_model, objective, docs, 0)
    assert abs(measured.mean - float(expected)) <= 1e-5
    measured.backprop()
    expected.backward()
    own = dict(objective._shim.encoder.transformer.named_parameters())
    for name, parameter in peer.bert.named_parameters():
        found = own[name].grad
        numpy.testing.assert_allclose(found, parameter.grad, atol=1e-6, err_msg=name)
    head = dict(output.named_parameters())
    numpy.testing.assert_allclose(
        head["model.cls.predictions.transform.dense.weight"].grad,
        peer.cls.predictions.transform.dense.weight.grad,
        atol=1e-6,
    )
    bias = head["model.cls.predictions.bias"].grad
    numpy.testing.assert_allclose(bias, peer.cls.predictions.bias.grad, atol=1e-6)


def test_whole_words_are_masked(tiny_bert, nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    objective, _ = parts(build(tiny_bert))
    pieces = objective._shim.cut(docs)
    masked, at, targets = objective.mask(pieces, docs, numpy.random.default_rng(0))
    assert (pieces.ids[at] == targets).all() and (numpy.diff(at) > 0).all()
    others = numpy.setdiff1d(numpy.arange(len(pieces.ids)), at)
    assert (masked.ids[others] == pieces.ids[others]).all()
    offsets = [*pieces.alignment.offsets, len(pieces.alignment.pieces)]
    for begin, end in zip(offsets, offsets[1:], strict=False):
        drawn = numpy.isin(pieces.alignment.pieces[begin:end], at)
        assert drawn.all() or not drawn.any()


def test_masks_stand_in_the_place_of_words_and_some_words_stay(tiny_bert, nlp):
    docs = [nlp.make_doc("the cat sings of a dog " * 40)]
    objective, _ = parts(build(tiny_bert, share=0.5, random=0.2, keep=0.3))
    masked, at, targets = objective.mask(objective._shim.cut(docs), docs, numpy.random.default_rng(0))
    is_mask = masked.ids[at] == find_mask(objective.pretrained)
    assert abs(is_mask.mean() - 0.5) < 0.1
    # A random piece may be the one that stood there.
    assert 0.25 < (masked.ids[at] == targets).mean() < 0.4
    assert 0.1 < (~is_mask & (masked.ids[at] != targets)).mean() < 0.3


def test_a_masked_word_does_not_see_itself(tiny_bert, nlp):
    """Other letters under the masks: the logits stay. Where words are kept, they move."""
    for keep in (0.0, 1.0):
        found = []
        for words in ("the cat runs", "the dog pops"):
            docs = [nlp.make_doc(words)]
            objective, output = parts(build(tiny_bert, share=1.0, random=0.0, keep=keep))
            masked, at, _ = objective.mask(objective._shim.cut(docs), docs, numpy.random.default_rng(0))
            found.append(output(objective._shim.piece_states(masked, False)[at]).detach().numpy())
        assert numpy.array_equal(*found) == (keep == 0.0)


def test_a_source_without_language_model_begins_anew(tiny_bert, language_model, caplog):
    assert not parts(build(language_model))[1].is_fresh and "W824" not in caplog.text
    assert parts(build(tiny_bert))[1].is_fresh and "W824" in caplog.text


def test_it_learns_by_spacy_pretrain(tiny_bert, tmp_path, capsys):
    (tmp_path / "raw.txt").write_text("\n".join(f"the cat sings the song {'a' * (i % 7)}" for i in range(60)))
    backbone = f'@architectures = "spacy-transfer.TransformerBackbone.v1"\nsource = "{tiny_bert}"\nwindow = 32'
    log = tmp_path / "log.jsonl"
    files = [
        run(tmp_path / name, tmp_path / "raw.txt", backbone, f'{OBJECTIVE}\nlog = "{log}"', epochs=3) for name in "ab"
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    losses = [line["held_out_loss"] for line in srsly.read_jsonl(log)]
    assert losses[:4] == losses[4:] and losses[3] < 0.7 * losses[0]


def test_what_is_frozen_stays(tiny_bert, tmp_path):
    (tmp_path / "raw.txt").write_text("\n".join(f"the cat sings the song {'a' * (i % 7)}" for i in range(30)))
    backbone = f'''@architectures = "spacy-transfer.TransformerBackbone.v1"
source = "{tiny_bert}"
window = 32
[components.transfer_backbone.model.tuning]
@misc = "spacy-transfer.Tuning.v1"
freeze = 1'''
    file = run(tmp_path / "out", tmp_path / "raw.txt", backbone, OBJECTIVE, epochs=1)
    trained = build_transformer_backbone_v1(source=tiny_bert, window=32, tuning=Tuning(freeze=1))
    before = build_transformer_backbone_v1(source=tiny_bert, window=32)
    before.initialize()
    trained.from_bytes(file.read_bytes())
    old, new = (m.shims[0].encoder.state_dict() for m in (before, trained))
    moved = {name for name in old if zlib.crc32(old[name].numpy()) != zlib.crc32(new[name].numpy())}
    assert moved and all(".layer.1." in name for name in moved)


def test_no_mask(tiny_bert, nlp):
    backbone = build_transformer_backbone_v1(source=tiny_bert, window=32)
    backbone.initialize()
    tokenizer = backbone.shims[0].pretrained.tokenizer
    parsed = json.loads(tokenizer.to_str())
    parsed["added_tokens"] = [token for token in parsed["added_tokens"] if token["content"] != "[MASK]"]
    backbone.shims[0].pretrained.tokenizer = type(tokenizer).from_str(json.dumps(parsed))
    with pytest.raises(ValueError, match="T828"):
        MaskedPieces(backbone, backbone.shims[0], None).start([], None)
