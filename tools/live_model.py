"""Writes BERTs as files that a page can load: a vocabulary, and weights in a byte each.

Each row of a matrix is stored as whole numbers q in -127..127 and one factor, largest |w| / 127:
w is about factor * q. Vectors (biases, LayerNorm) stay 32-bit floating point. Weights are written
twice: as bytes, for pages that come from a server, and as a script with the same bytes in base64,
since a page opened by a double click may load scripts but may not fetch. The book is rendered
without torch, so nothing here needs it.
"""

import hashlib
import json
import struct
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT / "src") not in sys.path:
    sys.path.append(str(ROOT / "src"))
from bertbook.bert.minilm import minilm_folder  # noqa: E402
from bertbook.shared.files import WeightsError, check_sha256  # noqa: E402
from bertbook.tokenizer import words as basic  # noqa: E402

MINI_BERT = ROOT / "weights" / "mini_bert"
MINILM_HEAD = ROOT / "weights" / "minilm_mlm.safetensors"
MINILM_RECORD = ROOT / "results" / "minilm_mlm.json"
# Pieces of a text in the page; what MiniLM could read beyond takes seconds.
LONGEST = 128


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a file, by name, as 32-bit numbers.

    Raises:
        ValueError: if the numbers are neither 16-bit nor 32-bit floating point.
    """
    tensors = load_file(path)
    for name in list(tensors):
        if name.endswith(".position_ids"):  # 0, 1, 2, … as older checkpoints have them
            del tensors[name]
        elif tensors[name].dtype not in ("float16", "float32"):
            dtype = tensors[name].dtype
            raise ValueError(f"{name} has dtype {dtype}, expected float16 or float32")
    return {name: numbers.astype("<f4") for name, numbers in tensors.items()}


def quantise(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn each row of a matrix into a factor and whole numbers in -127..127.

    Args:
        matrix: ``[O, I]``.

    Returns:
        The factors ``[O]``, exact in 32 bits, and the numbers ``[O, I]``, a signed byte each. A
        row of zeros has factor 0.
    """
    factors = (np.abs(matrix).max(1) / 127).astype("<f4")  # [O]
    steps = np.where(factors == 0, 1, factors).astype("f8")
    return factors, np.rint(matrix / steps[:, None]).astype("i1")


def mini_bert() -> tuple[dict, dict[str, np.ndarray]]:
    """Read configuration and weights of the book's own model."""
    config = json.loads((MINI_BERT / "config.json").read_text("utf-8"))
    return config, read_safetensors(MINI_BERT / "model.safetensors")


def minilm() -> tuple[dict, dict[str, np.ndarray]]:
    """Read MiniLM with the book's head: the installed weights, and the stored difference to them.

    Raises:
        WeightsError: if the package or the difference is missing, or is not the one on record.
    """
    folder = minilm_folder()
    runs = json.loads(MINILM_RECORD.read_text("utf-8"))["runs"]
    (stored,) = (run["metrics"] for run in runs if "sha256" in run["metrics"])
    check_sha256(MINILM_HEAD, stored["sha256"])
    config = json.loads((folder / "config.json").read_text("utf-8"))
    encoder = read_safetensors(folder / "model.safetensors")
    tensors = {f"bert.{n}": t for n, t in encoder.items() if "pooler." not in n}
    change = read_safetensors(MINILM_HEAD)
    for name in [name for name in change if name.endswith(".down")]:
        linear = name.removesuffix(".down")
        up, down = (change.pop(f"{linear}.{part}") for part in ("up", "down"))
        tensors[f"{linear}.weight"] = tensors[f"{linear}.weight"] + up @ down
    return config, tensors | change


def packed_weights(config: dict, tensors: dict[str, np.ndarray]) -> bytes:
    """Quantise a model and put it in one file.

    Args:
        config: of the model.
        tensors: its weights, by name.

    Returns:
        The length of a header (four bytes), the header, floats, and whole numbers. The header is
        JSON: ``config``; ``tensors``, for each name its ``shape`` and where it begins, a vector in
        ``floats``, a matrix in ``bytes``, its factors in ``floats``; how many ``floats`` and
        ``bytes`` there are.
    """
    floats: list[np.ndarray] = []
    integers: list[np.ndarray] = []
    places, ahead, behind = {}, 0, 0
    for name, tensor in sorted(tensors.items()):
        places[name] = {"shape": tensor.shape, "floats": ahead}
        factors = tensor
        if tensor.ndim == 2:
            factors, whole = quantise(tensor)
            places[name]["bytes"] = behind
            integers.append(whole)
            behind += whole.size
        floats.append(factors)
        ahead += factors.size
    content = {"config": config, "tensors": places, "floats": ahead, "bytes": behind}
    header = json.dumps(content, separators=(",", ":")).encode("ascii")
    header += b" " * (-len(header) % 4)  # floats begin at a multiple of four
    parts = [part.tobytes() for part in (*floats, *integers)]
    return b"".join([struct.pack("<I", len(header)), header, *parts])


def vocabulary(folder: Path = MINI_BERT) -> dict:
    """Read a vocabulary, and list which characters the tokenizer treats in which way.

    The browser's own tables follow another version of Unicode than the book's tokenizer.

    Args:
        folder: with ``vocab.txt`` and ``config.json``.

    Returns:
        ``pieces``, ``max_length``, and under ``characters`` ranges of code points such as
        ``"3400-4DBF"``: space, dropped, chinese, mark, punctuation.
    """
    kinds = {
        "space": lambda char: char in basic.WHITESPACE,
        "dropped": basic.is_control,
        "chinese": basic.is_chinese,
        "mark": lambda char: basic.category(char) == "Mn",
        "punctuation": basic.is_punctuation,
    }
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return {
        "pieces": (folder / "vocab.txt").read_text("utf-8").split("\n")[:-1],
        "max_length": min(config["max_position_embeddings"], LONGEST),
        "characters": {name: ranges(test) for name, test in kinds.items()},
    }


def ranges(test: Callable[[str], bool]) -> str:
    """Return the code points that pass a test as ``"9-A 20"``, halves of surrogate pairs apart."""
    found: list[list[int]] = []
    # Nothing is assigned between 40000 and E0000.
    for code in (*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0x110000)):
        if test(chr(code)):
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return " ".join(f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in found)


def models() -> dict[str, tuple[Path, Callable[[], tuple[dict, dict]], list[Path]]]:
    """Return the models that can be written: name to folder, reader, and the files it reads.

    MiniLM is among them where its package is installed and its head is there.
    """
    found = {"mini_bert": (MINI_BERT, mini_bert, sorted(MINI_BERT.iterdir()))}
    try:
        folder = minilm_folder()
    except WeightsError:
        return found
    if MINILM_HEAD.is_file():
        files = [folder / "vocab.txt", folder / "config.json", MINILM_HEAD]
        found["minilm"] = (folder, minilm, files)
    return found


def write_script(
    path: Path, model: str, first_line: str, content: Callable[[], object]
) -> None:
    """Write a script that leaves data in ``bertFiles``, unless it is there and of the same origin.

    Args:
        path: of the script.
        model: whose data it holds; with the script's name the key, ``mini_bert/weights``.
        first_line: names the origin.
        content: makes the data; it is called where they are needed.
    """
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            if file.readline() == first_line:
                return
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content(), ensure_ascii=True, separators=(",", ":"))
    key = json.dumps(f"{model}/{path.stem}")
    script = f"{first_line}(window.bertFiles ??= {{}})[{key}] = {text};\n"
    path.write_text(script, "utf-8")


def write_packed(target: Path, part: str, packed: bytes) -> str:
    """Write bytes for pages from a server; return them in base64, for the script beside."""
    (target / f"{part}.bin").write_bytes(packed)
    return b64encode(packed).decode()


def write_model(target: Path, name: str = "mini_bert") -> None:
    """Write ``vocabulary.js``, ``weights.bin`` and ``weights.js``, unless they are there already.

    They are made anew when what they are made of has changed: the first line of a script names it.

    Args:
        target: the folder to write to.
        name: of the model.
    """
    folder, read, files = models()[name]
    origin = hashlib.sha256(Path(__file__).read_bytes())
    for path in (Path(basic.__file__), *files):
        origin.update(path.read_bytes())
    first_line = f"// {name}, {origin.hexdigest()}\n"
    write_script(target / "vocabulary.js", name, first_line, lambda: vocabulary(folder))
    write_script(
        target / "weights.js",
        name,
        first_line,
        lambda: write_packed(target, "weights", packed_weights(*read())),
    )
