"""A pre-training of seconds; as a program, one that is killed half-way."""

import os
import signal
import sys
from pathlib import Path

import torch

from bertbook.bert.config import BertConfig
from bertbook.pretraining import loop as pretraining_run
from bertbook.pretraining.data import Stage
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.loop import PreTraining, pretrain
from bertbook.pretraining.masking import PieceTable

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
SETTINGS = PreTraining(
    stages=(Stage(6, 12, 6), Stage(4, 24, 4)),
    learning_rate=1e-2,
    warmup=2,
    checkpoint_every=3,
)


def shards(number):
    drawn = torch.Generator().manual_seed(number)
    sizes = torch.randint(1, 6, (10, 6), generator=drawn).tolist()
    return [
        [torch.randint(5, 31, (n,), generator=drawn).tolist() for n in document]
        for document in sizes
    ]


def run(folder, settings=SETTINGS, dropout=0.1, **options):
    torch.manual_seed(5)
    config = BertConfig.tiny(
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0
    )
    return pretrain(
        BertForPreTraining(config),
        shards,
        PieceTable(PIECES),
        settings,
        folder,
        **options,
    )


def killed_at(point: str, folder: str) -> None:
    """Train until this process is killed."""

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    calls = 0
    step, save = pretraining_run._step, pretraining_run.Accelerator.save_state

    def die_in_step(*inputs):
        nonlocal calls
        calls += 1
        if calls == 6:
            with (Path(folder) / "log.jsonl").open("a") as log:
                log.write('{"step": 6, "lo')
            die()
        return step(*inputs)

    def die_in_save(accelerator, path):
        save(accelerator, path)
        if path.endswith("-6"):
            weights = Path(path) / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:1000])
            die()

    if point == "step":
        pretraining_run._step = die_in_step
    if point == "checkpoint being written":
        pretraining_run.Accelerator.save_state = die_in_save
    if point == "checkpoint written, the old one still there":
        pretraining_run.shutil.rmtree = die
    run(folder)


if __name__ == "__main__":
    killed_at(*sys.argv[1:])
