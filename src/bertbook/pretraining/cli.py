r"""Pre-train a BERT on your own text, and continue after a break.

The same command again continues from the last checkpoint in the output folder. At the end the
folder ``model`` in it is a checkpoint in Hugging Face's format: config.json, vocab.txt,
tokenizer_config.json, model.safetensors. It is loaded once with ``transformers`` before the
program says that it is done.

    python -m bertbook.pretraining.cli --data texts/ --vocab vocab.txt --output run \
        --stage 4500 64 64 --stage 700 128 32 --learning-rate 1e-3 --warmup 300

This is one process. ``accelerate launch --multi_gpu --num_processes 2 -m
bertbook.pretraining.cli …`` starts two, with or without a GPU. Without ``--multi_gpu``, also with
``--cpu --num_processes 2``, accelerate starts a single one on plain processors; the program warns.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path

from bertbook.bert.config import BertConfig
from bertbook.corpora.sentences import A_DOCUMENT, A_SENTENCE, LINE_ENDS
from bertbook.corpora.texts import DataSet, TextFiles, TextShards, open_texts
from bertbook.pretraining.data import Stage
from bertbook.pretraining.export import save_folder
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.loop import (
    CHECKPOINT,
    CheckpointError,
    PreTraining,
    changes,
    pretrain,
)
from bertbook.pretraining.masking import UNITS, MaskingRule, PieceTable
from bertbook.pretraining.processes import join_processes, launched_alone
from bertbook.pretraining.sentence_pairs import NEGATIVES
from bertbook.shared.training import has_bf16, seed_everything, write_atomically
from bertbook.tokenizer.learning import count_words, learn_vocabulary, pair_count
from bertbook.tokenizer.wordpiece import WordPieceTokenizer
from bertbook.tokenizer.words import BasicTokenizer

__all__ = ["main"]

CHOICES, MODEL, VOCAB = "choices.json", "model", "vocab.txt"
LEARN_FROM = 100_000  # documents
ADDED = {"line_ends": "auto", "learn_vocab": None}  # older folders do not name them
DEFAULT = {field.name: field.default for field in fields(PreTraining)}
RULE = MaskingRule()


def parser() -> argparse.ArgumentParser:
    """The options; the help of each shows its default in brackets."""
    made = argparse.ArgumentParser(
        prog="python -m bertbook.pretraining.cli",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def group(title: str):
        added = made.add_argument_group(title)

        def option(name: str, help: str, default=None, **more) -> None:
            if default is not None:
                more = {"type": type(default), "default": default, **more}
                shown = (
                    " ".join(map(str, default)) if type(default) is tuple else default
                )
                help = f"{help} ({shown})"
            if "choices" not in more and "nargs" not in more and "action" not in more:
                more.setdefault("metavar", {int: "N", float: "X"}.get(more.get("type")))
            added.add_argument(f"--{name}", help=help, **more)

        return option

    option = group("text")
    option(
        "data",
        "text file in UTF-8, .jsonl or .parquet file, folder of such, or a name on the Hugging "
        f"Face hub; streamed. {A_DOCUMENT} {A_SENTENCE}",
        required=True,
    )
    option("column", "of a data set, that holds the text", "text")
    option("subset", "of a data set on the hub")
    option("split", "of a data set on the hub", "train")
    option("shard", "documents in memory at a time", 10_000)
    option(
        "line-ends",
        "whether the end of a line ends a sentence, in plain text and in rows",
        "auto",
        choices=LINE_ENDS,
    )
    option("vocab", "vocab.txt, a piece a line", type=Path)
    option(
        "learn-vocab",
        "instead of --vocab: learn so many pieces from the text's first "
        f"{LEARN_FROM:,} documents, into vocab.txt in the output folder. Chinese characters become "
        "a piece each",
        type=int,
    )
    option("cased", "keep capitals and accents", action="store_true")
    option("output", "folder of the training", required=True, type=Path)

    option = group("model")
    option("width", "D", 256)
    option("layers", "L", 4)
    option("heads", "H, a divisor of the width; default: width / 64", type=int)
    option("inner", "F; default: four times the width", type=int)
    option("positions", "the longest input; default: the longest stage", type=int)
    option("dropout", "on embeddings and on both halves of a layer", 0.1)
    option("attention-dropout", "on attention weights; 0 is faster", 0.0)

    option = group("training")
    option(
        "stage",
        "steps of one length, with so many sequences each; one stage after the other",
        nargs=3,
        type=int,
        action="append",
        metavar=("STEPS", "LENGTH", "BATCH"),
        required=True,
    )
    for name, meaning in {
        "learning_rate": "at the peak",
        "warmup": "steps up to it",
        "weight_decay": "of matrices and tables",
        "clip_norm": "the largest norm of a gradient",
        "accumulate": "parts into which each process cuts its share of a batch",
        "seed": "of weights, text and dropout",
        "checkpoint_every": "in steps",
    }.items():
        option(name.replace("_", "-"), meaning, DEFAULT[name])
    option("betas", "Adam's rates", DEFAULT["betas"], nargs=2, type=float, metavar="X")
    option(
        "negatives",
        "of next-sentence prediction; none: without it",
        DEFAULT["negatives"],
        choices=NEGATIVES,
    )
    option("rate", "share of the tokens that is predicted", RULE.rate)
    option(
        "mix",
        "shares of [MASK], random, kept",
        (RULE.mask, RULE.random, RULE.keep),
        nargs=3,
        type=float,
        metavar="X",
    )
    option("unit", "what is masked", RULE.unit, choices=UNITS)
    option("corruption", "share that is changed, if it is not the rate", type=float)
    option(
        "precision",
        "auto: bf16 where the processor has it",
        "auto",
        choices=("auto", "bf16", "no"),
    )
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says.

    Raises:
        SystemExit: with the reason, if something is wrong with options, text or folder.
    """
    made = parser()
    options = made.parse_args(arguments)
    if (options.vocab is None) == (options.learn_vocab is None):
        made.error("give either --vocab or --learn-vocab")
    try:
        _run(options)
    except (ValueError, OSError, CheckpointError, FloatingPointError) as error:
        made.exit(1, f"{made.prog}: {error}\n")


def _run(options: argparse.Namespace) -> None:
    state = join_processes()
    settings = _settings(options)
    texts = open_texts(
        options.data, column=options.column, subset=options.subset, split=options.split
    )
    if state.is_main_process and options.learn_vocab:
        _learn_vocabulary(options, texts)
    state.wait_for_everyone()
    tokenizer = WordPieceTokenizer.from_vocab_file(
        options.vocab or options.output / VOCAB, do_lower_case=not options.cased
    )
    config = _config(options, settings, tokenizer)
    precision, why = options.precision, "as asked for"
    if precision == "auto":
        precision = "bf16" if has_bf16() else "no"
        why = f"the processor has {'' if has_bf16() else 'no '}bf16 arithmetic"
    _keep_choices(options, texts, tokenizer, precision, state.is_main_process)

    seed_everything(settings.seed)
    model = BertForPreTraining(config)
    if state.is_main_process:
        name = "bfloat16 where it is safe" if precision == "bf16" else "float32"
        print(f"arithmetic: {name} ({why}); processes: {state.num_processes}")
        if launched_alone():
            print(
                "warning: accelerate was asked for several processes and started one, which "
                "does the work of all; several start with --multi_gpu, also without a GPU",
                file=sys.stderr,
            )
    trained = pretrain(
        model,
        TextShards(texts, tokenizer, options.shard, options.line_ends),
        PieceTable(tokenizer.pieces),
        settings,
        options.output,
        mixed_precision=precision,
        progress="pretrain" if sys.stderr.isatty() else None,
    )
    if state.is_main_process:
        save_folder(trained, tokenizer, options.output / MODEL)
        print(f"the trained model: {options.output / MODEL}")
    state.wait_for_everyone()
    state.destroy_process_group()


def _learn_vocabulary(options: argparse.Namespace, texts: TextFiles | DataSet) -> None:
    """Write the vocabulary, unless the folder has one: a resumed training keeps its own."""
    path = options.output / VOCAB
    if path.exists() and _has_begun(options.output):
        return
    whole = (t.encode("utf-8", "replace").decode() for t in islice(texts, LEARN_FROM))
    words = count_words(whole, BasicTokenizer(do_lower_case=not options.cased))
    pieces = learn_vocabulary(words, options.learn_vocab, pair_count).pieces
    text = "".join(f"{piece}\n" for piece in pieces)
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))
    print(f"the vocabulary: {path}, {len(pieces)} pieces")


def _has_begun(folder: Path) -> bool:
    """Whether there is a checkpoint; before, another attempt may choose anew."""
    return any(folder.glob(f"{CHECKPOINT}-*"))


def _settings(options: argparse.Namespace) -> PreTraining:
    mask, random, keep = options.mix
    return PreTraining(
        stages=tuple(Stage(*stage) for stage in options.stage),
        learning_rate=options.learning_rate,
        warmup=options.warmup,
        weight_decay=options.weight_decay,
        betas=tuple(options.betas),
        clip_norm=options.clip_norm,
        accumulate=options.accumulate,
        rule=MaskingRule(
            options.rate, mask, random, keep, options.unit, options.corruption
        ),
        negatives=options.negatives,
        seed=options.seed,
        checkpoint_every=options.checkpoint_every,
    )


def _config(
    options: argparse.Namespace, settings: PreTraining, tokenizer: WordPieceTokenizer
) -> BertConfig:
    longest = max(stage.length for stage in settings.stages)
    positions = options.positions or longest
    if positions < longest:
        raise ValueError(f"{positions} positions are fewer than a stage's {longest}")
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads or max(1, options.width // 64),
        intermediate_size=options.inner or 4 * options.width,
        max_position_embeddings=positions,
        hidden_dropout_prob=options.dropout,
        attention_probs_dropout_prob=options.attention_dropout,
        pad_token_id=tokenizer.pad_id,
    )


def _keep_choices(
    options: argparse.Namespace,
    texts: TextFiles | DataSet,
    tokenizer: WordPieceTokenizer,
    precision: str,
    write: bool,
) -> None:
    """Refuse to continue with another text, vocabulary or arithmetic; files may have moved."""
    paths = texts.paths if isinstance(texts, TextFiles) else texts.files
    sizes = [[path.name, path.stat().st_size] for path in paths]
    given = {
        "text": _digest(sizes) if paths else options.data,
        "vocabulary": _digest(tokenizer.pieces),
        "precision": precision,
        **{name: getattr(options, name) for name in ("column", "subset", "split")},
        **{name: getattr(options, name) for name in ("shard", "cased", *ADDED)},
    }
    path = options.output / CHOICES
    if path.exists() and _has_begun(options.output):
        kept = {**ADDED, **json.loads(path.read_text("utf-8"))}
        if changed := changes(kept, given):
            raise ValueError(
                f"{options.output} holds a training with another {'; '.join(changed)}; "
                "choose another folder"
            )
    elif write:
        text = json.dumps(given, indent=1) + "\n"
        write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


def _digest(what: list) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


if __name__ == "__main__":
    main()
