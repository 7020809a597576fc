"""Writes locks/: what the requirements files bring, at exact versions, with every wheel's hash.

``make lock`` keeps the versions that still fit; LOCK_OPTIONS=--upgrade takes the newest.
Then each lock is resolved for each Python and system: every pin must have a wheel there.
"""

import re
import sys
import tempfile
from pathlib import Path

from setup import PYTHON, ROOT, UV, run, settings_for_uv

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
FILES_ONLY = {"matplotlib"}  # the pages take its fonts, and nothing that it needs
# Not locked: torch, which has builds with and without CUDA, the CUDA libraries, the book itself.
NOT_LOCKED = re.compile(r"torch==|triton==|nvidia-|cuda-|-e ")
HEAD = "# Written by `make lock`. {}\n"


def compiled(*arguments):
    """Let uv resolve requirements files."""
    options, settings = settings_for_uv()
    # Of the main index alone: uv notes the hashes of the first index that has a version, and a
    # folder or a second index may have a wheel for one Python only.
    found = {
        name: settings[name]
        for name in settings
        if name not in ("UV_INDEX", "UV_FIND_LINKS")
    }
    command = [
        UV,
        "pip",
        "compile",
        "--quiet",
        "--python",
        PYTHON,
        "--only-binary",
        ":all:",
    ]
    command += ["--no-header", "--no-annotate", *options, *arguments]
    run(*command, MACOSX_DEPLOYMENT_TARGET="14.0", **found)


def locked(folder, old, *arguments):
    """Resolve for all Pythons and systems; return {package with version and marker: its lines}."""
    output = Path(folder, "output.txt")
    # uv keeps the versions that it finds there, and would keep their hashes: it shall ask for them.
    output.write_text(re.sub(r" \\\n +--hash=\S+", "", old))
    every = ["--universal", "--python-version", PYTHONS[0], "--fork-strategy", "fewest"]
    compiled(*every, "--generate-hashes", "--output-file", output, *arguments)
    blocks = re.findall(r"^\S(?:.*\\\n)*.*\n", output.read_text(), re.M)
    return {b.split(" \\")[0]: b for b in blocks if not NOT_LOCKED.match(b)}


def main(options):
    """Write the three locks and check them."""
    locks = ROOT / "locks"
    files = {name: locks / f"{name}.txt" for name in ("uv", "book", "all")}
    old = "".join(path.read_text() for path in files.values() if path.exists())
    with tempfile.TemporaryDirectory() as folder:
        everything = locked(folder, old, *options, "requirements.txt")
        chosen = Path(folder, "chosen.txt")
        chosen.write_text("".join(everything.values()))
        book = locked(folder, chosen.read_text(), "requirements-book.txt")
        uv = Path(folder, "uv.in")
        uv.write_text(re.match(r".*\n(uv==\S+)", files["uv"].read_text())[1])
        for_uv = locked(folder, old, uv)
    book |= {k: b for k, b in everything.items() if k.split("==")[0] in FILES_ONLY}
    rest = {k: b for k, b in everything.items() if k not in book}
    for name, blocks, what in (
        ("uv", for_uv, "The installer: change its version by hand, then `make lock`."),
        ("book", book, "What `make book` installs, with requirements-assets.txt."),
        ("all", rest, "What everything else needs beyond it, but for torch."),
    ):
        text = "".join(blocks[key] for key in sorted(blocks))
        files[name].write_text(HEAD.format(what) + text)
        for python in PYTHONS:
            for system in SYSTEMS:
                where = ["--python-version", python, "--python-platform", system]
                compiled("--no-deps", *where, "--output-file", "/dev/null", files[name])
        print(
            f"locks/{name}.txt: {len(blocks)} packages, with wheels for {', '.join(PYTHONS)}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
