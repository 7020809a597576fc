"""Pre-training from the command line: one process, two, a killed one, and what it leaves."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from bertbook.corpora.sentences import A_DOCUMENT, A_SENTENCE
from bertbook.pretraining import cli as pretrain
from bertbook.pretraining import export
from bertbook.pretraining.cli import main
from bertbook.pretraining.export import save_folder
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.loop import CheckpointError, read_log
from bertbook.pretraining.processes import launched_alone
from bertbook.shared.training import has_bf16
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

WORDS = shlex.split(
    "the cat dog sat ran here there and then saw a red blue house river"
)
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS]


CHINESE = "小猫喜欢花园。小狗在河里玩！\n\n今天下雨吗？我们在家看书\n\n" * 12


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
    (folder / "chinese.txt").write_text(CHINESE)
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
        "a batch of 4 cannot be cut into 5 parts": arguments(
            place, "x", "--accumulate", "5"
        ),
        "20 positions are fewer than a stage's 24": arguments(
            place, "x", "--positions", "20"
        ),
        "mask, random and keep must sum to 1": arguments(
            place, "x", "--mix", "1", "1", "1"
        ),
        "pairs are [UNK] alone: the vocabulary does not know": arguments(
            place, "y", data="chinese.txt"
        ),
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


def learning(place, output, *more, data):
    """The arguments with a vocabulary that is learned."""
    given = arguments(place, output, *more, data=data)
    at = given.index("--vocab")
    return [*given[:at], *given[at + 2 :], "--learn-vocab", "90"]


def test_chinese_is_trained_with_characters_the_program_learned(place):
    main(learning(place, "chinese", data="chinese.txt"))
    tokenizer = WordPieceTokenizer.from_folder(place / "chinese" / "model")
    assert tokenizer.encode("小猫看书。").tokens[1:-1] == list("小猫看书。")
    assert len(losses(place / "chinese")) == 8
    kept = (place / "chinese" / "vocab.txt").read_bytes()
    main(learning(place, "chinese", data="chinese.txt"))  # goes on, learns nothing anew
    assert (place / "chinese" / "vocab.txt").read_bytes() == kept


def test_either_a_vocabulary_or_its_size(place, capsys):
    given = learning(place, "z", data="text.txt")
    for wrong in ([*given, "--vocab", "vocab.txt"], given[:-2]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "give either --vocab or --learn-vocab" in capsys.readouterr().err


@pytest.mark.parametrize("negatives", ["none", "random"])
def test_lower_case_lines_and_single_sentences_train(place, negatives):
    lines = ["the cat sat here", "the dog ran there and saw a house"]
    texts = {"lines": "\n".join(lines) + "\n\n", "single": "\n\n".join(lines) + "\n\n"}
    for name, text in texts.items():
        (place / f"{name}.txt").write_text(text * 3)
        output = f"{name}-{negatives}"
        main(arguments(place, output, "--negatives", negatives, data=f"{name}.txt"))
        assert len(losses(place / output)) == 8


def test_after_a_refusal_the_same_folder_takes_other_choices(place, capsys):
    (place / "long.txt").write_text("The cat sat. The dog ran. A house.\n" * 9)
    with pytest.raises(SystemExit):
        main(arguments(place, "again", data="long.txt"))
    said = capsys.readouterr().err
    assert "documents found: 1, sentences: 27" in said
    assert "or choose --negatives swapped or none" in said
    assert "--shard" not in said  # all the text is in one
    other = ["--negatives", "none", "--line-ends", "space"]
    main(arguments(place, "again", *other, data="long.txt"))
    assert len(losses(place / "again")) == 8


def test_a_row_of_unknown_characters_is_left_out_and_logged(place):
    text = (place / "text.txt").read_text()
    (place / "rare.txt").write_text(text + "\n摘要\n摘要\n")
    more = ["--shard", "99", "--negatives", "none"]
    main(arguments(place, "rare", *more, data="rare.txt"))
    log = read_log(place / "rare")
    assert len(log) == 8
    # A turn begins where the length changes.
    assert {n for n, line in enumerate(log) if line.get("left_out") == 1} >= {0, 4}


def test_a_compiled_model_is_exported_under_its_own_names(place, tmp_path):
    model = BertForPreTraining.from_pretrained(place / "unbroken" / "model")
    tokenizer = WordPieceTokenizer.from_folder(place / "unbroken" / "model")
    save_folder(torch.compile(model, backend="eager"), tokenizer, tmp_path)
    theirs = load_file(place / "unbroken" / "model" / "model.safetensors")
    mine = load_file(tmp_path / "model.safetensors")
    assert mine.keys() == theirs.keys()
    model.more = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match=r"other names.*\['more.bias'"):
        save_folder(model, tokenizer, tmp_path)


def test_an_export_that_the_library_does_not_load_whole_is_refused(
    place, tmp_path, monkeypatch
):
    model = BertForPreTraining.from_pretrained(place / "unbroken" / "model")
    tokenizer = WordPieceTokenizer.from_folder(place / "unbroken" / "model")
    one = export.save_file

    def other_names(state, path, about):
        one({f"x.{name}": tensor for name, tensor in state.items()}, path, about)

    monkeypatch.setattr(export, "save_file", other_names)
    with pytest.raises(CheckpointError, match="transformers does not load"):
        save_folder(model, tokenizer, tmp_path)


def test_one_process_that_answers_for_two_is_told_from_others(monkeypatch):
    names = ("ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "WORLD_SIZE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    found = []
    for name in names:
        found.append(launched_alone())
        monkeypatch.setenv(name, "2")
    assert [*found, launched_alone()] == [False, False, True, False]


def test_help_and_contributing_say_what_a_document_and_a_sentence_are(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text("utf-8")
    page = " ".join(page.split())
    for said in (A_DOCUMENT, A_SENTENCE):
        assert said in shown
        assert said in page
    for option in ("--line-ends", "--learn-vocab", "--negatives", "--shard"):
        assert option in page
