"""A backbone whose windows are so small that some of these texts need several."""

from spacy_transfer.backbones.transformer.transformer import build_transformer_backbone_v1

TEXTS = ["the cat sings", "", "a dog, a cat.", "   ", "big words in a long line of words. " * 6, "x"]


def build(source, **settings):
    model = build_transformer_backbone_v1(source=str(source), **{"window": 32, "overlap": 8, **settings})
    model.initialize()
    return model
