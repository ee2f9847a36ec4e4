"""Tiny models under the names that spacy-transformers' tests ask the hub for, laid out as transformers' own cache."""

TEXTS = [
    "I like green eggs. Eat blue ham. We're interested at underwater basket weaving.",
    "This is awesome, hello world, and another one. The cat sat on the mat.",
]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
REVISION = "0" * 40


def write_hub(folder):
    """Write every model.

    folder (Path): Becomes HF_HUB_CACHE.
    """
    import torch

    torch.manual_seed(0)
    for name, write in MODELS.items():
        base = folder / f"models--{name.replace('/', '--')}"
        snapshot = base / "snapshots" / REVISION
        snapshot.mkdir(parents=True)
        (base / "refs").mkdir()
        (base / "refs" / "main").write_text(REVISION)
        write(snapshot)


def _wordpieces(folder, cls):
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'!?:/"
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocab))
    cls(str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)
    return len(vocab)


def _bytes(folder, cls, special):
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(TEXTS, vocab_size=300, special_tokens=special)
    tokenizer.save_model(str(folder))
    saved = cls(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=512)
    saved.save_pretrained(folder)
    return len(saved)


def _unigrams(folder, cls, special, around):
    """A fast tokenizer of the kind that a sentencepiece model is turned into."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in special if token in around]
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=ends)
    cls(tokenizer_object=tokenizer, model_max_length=512).save_pretrained(folder)
    (folder / "spiece.model").write_bytes(b"fast tokenizers carry this along and never read it")
    return tokenizer.get_vocab_size()


def _distilbert(folder, kind="DistilBertModel"):
    import transformers

    size = _wordpieces(folder, transformers.DistilBertTokenizer)
    config = transformers.DistilBertConfig(vocab_size=size, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    getattr(transformers, kind)(config).save_pretrained(folder)


def _roberta(folder):
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    size = _bytes(folder, RobertaTokenizer, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    RobertaModel(RobertaConfig(vocab_size=size, max_position_embeddings=514, **SIZES)).save_pretrained(folder)


def _gpt2(folder):
    from transformers import GPT2Config, GPT2Model, GPT2Tokenizer

    size = _bytes(folder, GPT2Tokenizer, ["<|endoftext|>"])
    GPT2Model(GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=512)).save_pretrained(folder)


def _albert(folder):
    from transformers import AlbertConfig, AlbertModel, AlbertTokenizerFast

    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    size = _unigrams(folder, AlbertTokenizerFast, special, "[CLS] $A [SEP]")
    AlbertModel(AlbertConfig(vocab_size=size, embedding_size=8, **SIZES)).save_pretrained(folder)


def _xlnet(folder):
    from transformers import XLNetConfig, XLNetModel, XLNetTokenizerFast

    special = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eop>", "<eod>"]
    size = _unigrams(folder, XLNetTokenizerFast, special, "$A <sep> <cls>")
    XLNetModel(XLNetConfig(vocab_size=size, d_model=16, n_layer=2, n_head=2, d_inner=32)).save_pretrained(folder)


MODELS = {
    "hf-internal-testing/tiny-random-DistilBertModel": _distilbert,
    "distilbert-base-uncased": _distilbert,
    "sgugger/tiny-distilbert-classification": lambda f: _distilbert(f, "DistilBertForSequenceClassification"),
    "roberta-base": _roberta,
    "albert-base-v2": _albert,
    "hf-internal-testing/tiny-random-gpt2": _gpt2,
    "hf-internal-testing/tiny-random-xlnet": _xlnet,
}
