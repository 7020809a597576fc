"""Pre-training from the command line: one process, two, a killed one, and what it leaves."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
import transformers
from safetensors.torch import load_file

from bertbook.pretraining import cli as pretrain
from bertbook.pretraining.cli import main
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.loop import read_log
from bertbook.shared.training import has_bf16
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

WORDS = shlex.split(
    "the cat dog sat ran here there and then saw a red blue house river"
)
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a text, its vocabulary and an unbroken training."""
    folder = tmp_path_factory.mktemp("place")
    drawn = torch.Generator().manual_seed(0)
    documents = []
    for _ in range(30):
        numbers = torch.randint(len(WORDS), (6, 5), generator=drawn).tolist()
        sentences = [" ".join(WORDS[n] for n in row).capitalize() for row in numbers]
        documents.append(".\n".join(sentences) + ".\n")
    (folder / "text.txt").write_text("\n".join(documents))
    rows = "".join(json.dumps({"body": text}) + "\n" for text in documents)
    (folder / "rows.jsonl").write_text(rows)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    main(arguments(folder, "unbroken"))
    return folder


def arguments(folder, output, *more, data="text.txt"):
    given = shlex.split(
        "--stage 4 16 8 --stage 4 24 4 --width 16 --layers 1 --heads 2 --inner 24 "
        "--dropout 0 --learning-rate 1e-2 --warmup 2 --checkpoint-every 3 --shard 12 "
        "--precision no"
    )
    paths = {"--data": data, "--vocab": "vocab.txt", "--output": output}
    given += [str(part) for n, p in paths.items() for part in (n, folder / p)]
    return [*given, *more]


def losses(folder):
    return torch.tensor([line["loss"] for line in read_log(folder)])


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def assert_same(one, other, tolerance):
    torch.testing.assert_close(losses(one), losses(other), atol=tolerance, rtol=0)
    theirs = weights(other)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, theirs[name], atol=tolerance, rtol=0)


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def test_the_folder_loads_here_and_in_the_library(place):
    folder = place / "unbroken" / "model"
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.txt",
    }
    ours = BertForPreTraining.from_pretrained(folder)
    theirs, report = transformers.BertForPreTraining.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    theirs.eval()
    tokenizer = WordPieceTokenizer.from_folder(folder)
    library = transformers.BertTokenizer.from_pretrained(folder)
    texts = ["The cat ran.", "a BLUE river and the dog"]
    batch = library(texts, return_tensors="pt", padding=True)
    assert batch["input_ids"].equal(tokenizer.encode_batch(texts)["input_ids"])
    with torch.no_grad():
        mine, other = ours(**batch), theirs(**batch)
    for name in ("prediction_logits", "seq_relationship_logits"):
        torch.testing.assert_close(
            getattr(mine, name), getattr(other, name), atol=1e-5, rtol=1e-5
        )
    assert ours.config.vocab_size == len(PIECES)
    assert ours.config.max_position_embeddings == 24


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped(place, monkeypatch, capsys):
    """The rest in two processes, each cutting its share in two, is the same training."""
    one = pretrain.pretrain
    monkeypatch.setattr(
        pretrain, "pretrain", lambda *a, **more: one(*a, **more, stop_after=1)
    )
    main(arguments(place, "two"))
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += shlex.split(
        "--multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 "
        "--mixed_precision no --dynamo_backend no -m bertbook.pretraining.cli"
    )
    done = subprocess.run(
        [*command, *arguments(place, "two", "--accumulate", "2")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "float32 (as asked for); processes: 2" in done.stdout
    assert_same(place / "two", place / "unbroken", 1e-5)
    left = {path.name for path in (place / "two" / "checkpoint-8").iterdir()}
    assert {"random_states_0.pkl", "random_states_1.pkl"} <= left


@pytest.mark.slow
def test_kill_9_from_outside_and_the_same_command_again(place):
    output = place / "killed"
    slow = ["--checkpoint-every", "2"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "bertbook.pretraining.cli",
            *arguments(place, "killed", *slow),
        ],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not list(output.glob("checkpoint-*")) and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (output / "model").exists()
    main(arguments(place, "killed"))
    assert_same(output, place / "unbroken", 0.0)


def test_a_streamed_data_set_trains_alike(place):
    main(arguments(place, "rows", "--column", "body", data="rows.jsonl"))
    assert_same(place / "rows", place / "unbroken", 0.0)


def test_what_is_wrong_is_said_in_one_line(place, capsys):
    for message, given in {
        "is missing": arguments(place, "x", data="none.txt"),
        "with another column: text there, body now": arguments(
            place, "unbroken", "--column", "body"
        ),
        "with another precision: no there, bf16 now": arguments(
            place, "unbroken", "--precision", "bf16"
        ),
        "with another text: ": arguments(place, "unbroken", data="vocab.txt"),
        "seed: 0 there, 4 now": arguments(place, "unbroken", "--seed", "4"),
        "20 positions are fewer than a stage's 24": arguments(
            place, "x", "--positions", "20"
        ),
        "mask, random and keep must sum to 1": arguments(
            place, "x", "--mix", "1", "1", "1"
        ),
        "fewer than a batch of 99": arguments(place, "y", "--stage", "1", "16", "99"),
    }.items():
        with pytest.raises(SystemExit) as stopped:
            main(given)
        assert stopped.value.code == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_bf16_only_where_the_processor_has_it(place, monkeypatch, capsys):
    assert isinstance(has_bf16(), bool)
    made = []
    one = pretrain.pretrain

    def recorded(*inputs, **options):
        made.append(options["mixed_precision"])
        return one(*inputs, **options)

    monkeypatch.setattr(pretrain, "pretrain", recorded)
    short = shlex.split("--stage 1 16 4 --precision auto --warmup 0")
    for able in (True, False):
        monkeypatch.setattr(pretrain, "has_bf16", lambda able=able: able)
        given = arguments(place, f"bf16-{able}", *short)
        del given[given.index("--stage") : given.index("--width")]
        main(given)
    assert made == ["bf16", "no"]
    printed = capsys.readouterr().out
    assert "bfloat16 where it is safe (the processor has bf16" in printed
    assert "float32 (the processor has no bf16 arithmetic)" in printed
