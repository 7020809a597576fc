"""Writes the mini-BERT as scripts that a page can load, also from a folder without a server.

A page opened by a double click may not fetch files, but it may load scripts. So the numbers come
as base64 in two of them: one with the vocabulary, one with the weights.

Each row of a matrix is stored as whole numbers q in -127..127 and one factor, largest |w| / 127:
w is about factor * q. Vectors (biases, LayerNorm) stay 32-bit floating point. Nothing here needs
more than the standard library, since the book is rendered without torch.
"""

import hashlib
import json
import struct
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINI_BERT = ROOT / "weights" / "mini_bert"
FORMATS = {"F16": "e", "F32": "f"}  # safetensors' name: struct's


def read_safetensors(path: Path) -> Iterator[tuple[str, list[int], tuple[float, ...]]]:
    """Read a safetensors file: its header is JSON, with the length in front as eight bytes.

    Args:
        path: of the file.

    Yields:
        Name, shape and numbers of each tensor, row after row, in order of the names.

    Raises:
        ValueError: if the numbers are neither 16-bit nor 32-bit floating point.
    """
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items()):
        if entry["dtype"] not in FORMATS:
            raise ValueError(f"{name} has dtype {entry['dtype']}, expected F16 or F32")
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        code = FORMATS[entry["dtype"]]
        count = (end - start) // struct.calcsize(code)
        yield name, entry["shape"], struct.unpack(f"<{count}{code}", data[start:end])


def quantise(row: tuple[float, ...]) -> tuple[float, bytes]:
    """Turn a row of a matrix into a factor and whole numbers in -127..127.

    Args:
        row: its numbers.

    Returns:
        The factor, exact in 32 bits, and a signed byte for each number. A row of zeros has
        factor 0.
    """
    largest = max(map(abs, row))
    (factor,) = struct.unpack("<f", struct.pack("<f", largest / 127))
    if factor == 0:
        return 0.0, bytes(len(row))
    return factor, struct.pack(f"{len(row)}b", *(round(x / factor) for x in row))


def quantised_weights(folder: Path = MINI_BERT) -> dict:
    """Quantise a model.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.

    Returns:
        ``config``; ``floats`` and ``bytes``, base64; ``tensors``: for each name its ``shape`` and
        where it begins: a vector in ``floats``, a matrix in ``bytes``, its factors in ``floats``.
    """
    floats: list[float] = []
    integers = bytearray()
    tensors = {}
    for name, shape, numbers in read_safetensors(folder / "model.safetensors"):
        if len(shape) == 1:
            tensors[name] = {"shape": shape, "floats": len(floats)}
            floats += numbers
            continue
        tensors[name] = {"shape": shape, "floats": len(floats), "bytes": len(integers)}
        width = shape[1]
        for start in range(0, len(numbers), width):
            factor, row = quantise(numbers[start : start + width])
            floats.append(factor)
            integers += row
    return {
        "config": json.loads((folder / "config.json").read_text("utf-8")),
        "tensors": tensors,
        "floats": b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode(),
        "bytes": b64encode(integers).decode(),
    }


def vocabulary(folder: Path = MINI_BERT) -> dict:
    """Read a vocabulary, and list which characters the tokenizer treats in which way.

    The browser's own tables follow another version of Unicode than the book's tokenizer.

    Args:
        folder: with ``vocab.txt`` and ``config.json``.

    Returns:
        ``pieces``, ``max_length``, and under ``characters`` ranges of code points such as
        ``"3400-4DBF"``: space, dropped, chinese, mark, punctuation.
    """
    if str(ROOT / "src") not in sys.path:
        sys.path.append(str(ROOT / "src"))
    from bertbook import basic_tokenizer as basic

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
        "max_length": config["max_position_embeddings"],
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


def write_model(target: Path, folder: Path = MINI_BERT) -> None:
    """Write ``vocabulary.js`` and ``weights.js``, unless they are there and of the same origin.

    Args:
        target: the folder to write to.
        folder: where the model stands.
    """
    origin = hashlib.sha256(Path(__file__).read_bytes())
    origin.update((ROOT / "src/bertbook/basic_tokenizer.py").read_bytes())
    for path in sorted(folder.iterdir()):
        origin.update(path.read_bytes())
    first_line = f"// {folder.name}, {origin.hexdigest()}\n"
    for make in (vocabulary, quantised_weights):
        name = "vocabulary" if make is vocabulary else "weights"
        path = target / f"{name}.js"
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                if file.readline() == first_line:
                    continue
        content = json.dumps(make(folder), ensure_ascii=True, separators=(",", ":"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"{first_line}(window.bertFiles ??= {{}}).{name} = {content};\n", "utf-8"
        )
