"""Makes .venv and installs what a make target needs: ``python3.11 tools/setup.py book`` or ``all``.

Standard library only, in the syntax of Python 3.6: an older interpreter must read far enough to be
told what is missing. What is installed stands in a stamp, so that a second run has nothing to do.
"""

import argparse
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"

# What pip is told about each requirements file. The package is built with the setuptools that
# requirements-book.txt pins: an isolated build would download it again.
HASHED = ("--no-deps", "--require-hashes", "--only-binary", ":all:")
BOOK = {"requirements-book.txt": (), "requirements-assets.txt": HASHED}
ALL = dict(BOOK)
ALL["requirements.txt"] = ("--no-build-isolation",)
ALL["requirements-data.txt"] = HASHED
TARGETS = {"book": BOOK, "all": ALL}

# Measured, in bytes: .venv after the installation, and the wheels, which pip keeps twice meanwhile
# (in the temporary folder and in its cache). The margin is for bytecode and the built book.
INSTALLED = {"book": 0.24e9, "all": 2.2e9}
DOWNLOADED = {"book": 0.06e9, "all": 0.7e9}
MARGIN = 0.4e9

FULL_DISK = (
    "No space left on device",
    "Disk quota exceeded",
    "[Errno 28]",
    "[Errno 122]",
)
WRONG_HASH = ("DO NOT MATCH THE HASHES",)
NO_NETWORK = (
    "NewConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "SSLError",
    "ProtocolError",
    "Connection refused",
    "Connection timed out",
    "Connection broken",
    "Max retries exceeded",
    "Failed to establish a new connection",
    "Failed to connect",
    "Read timed out",
    "name resolution",
    "Could not fetch URL",
    "(from versions: none)",
)
NOT_FOUND = ("No matching distribution found",)


class Stop(Exception):
    """Ends the set-up with a message that says what to do."""


def check_python(version=sys.version_info, executable=sys.executable):
    """Raise Stop unless this is the Python that the pins were made for."""
    if tuple(version[:2]) != PYTHON:
        this = ".".join(str(part) for part in version[:3])
        raise Stop(
            f"""\
Python 3.11 is needed, this is {this} ({executable}).
Install Python 3.11, for example with
    apt-get install python3.11 python3.11-venv    (Debian 12)
    brew install python@3.11                      (macOS)
    pyenv install 3.11                            (anywhere)
and run the command again. If python3.11 is not on your PATH, name it:
    make book PYTHON=/path/to/python3.11"""
        )


def check_venv_module():
    """Raise Stop where Python cannot make environments; Debian packages that part separately."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise Stop(
            f"""\
This Python ({sys.executable}) cannot make virtual environments: {error}.
Debian and Ubuntu keep that in a package of its own; install it and run the command again:
    apt-get install python3.11-venv"""
        ) from error


def check_space(target):
    """Raise Stop if what ``target`` still lacks does not fit on the disks that it goes to."""
    installed = sum(p.lstat().st_size for p in VENV.rglob("*")) if VENV.exists() else 0
    missing = max(0, INSTALLED[target] - installed)
    downloads = DOWNLOADED[target] * missing / INSTALLED[target]
    needs = {}
    for folder, size in (
        (ROOT, missing + MARGIN),
        (Path(tempfile.gettempdir()), downloads),
        (Path(os.path.expanduser("~")), downloads),
    ):
        if folder.is_dir():
            disk = needs.setdefault(folder.stat().st_dev, [folder, 0])
            disk[1] += size
    for folder, size in needs.values():
        free = shutil.disk_usage(str(folder)).free
        if free < size:
            raise Stop(
                f"The disk of {folder} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} GB are "
                f"needed.\n{full_disk_advice()}"
            )


def full_disk_advice():
    """What to do when the disk is full."""
    return f"""\
Make room: `{sys.executable} -m pip cache purge` empties pip's cache; TMPDIR=/other/disk moves
the downloads. Building the book takes {INSTALLED["book"] / 1e9:.1f} GB in .venv, everything \
{INSTALLED["all"] / 1e9:.1f} GB, and PyTorch with
CUDA several GB more: the head of requirements.txt says how to do without it.
Then run the command again; it goes on from here."""


def advice(output, filename):
    """What to do after pip failed on ``filename``, judged by what it printed."""

    def has(signs):
        return any(sign in output for sign in signs)

    if has(FULL_DISK):
        return f"The disk is full.\n{full_disk_advice()}"
    if has(WRONG_HASH):
        return f"""\
A package in {filename} is not the file that the book was tested with: its hash differs
(see above). It was not installed. Most often a download broke: empty pip's cache,
    {VENV_PYTHON} -m pip cache purge
and run the command again. If that does not help, the mirror you install from has another file:
use a different one. Do not change the hash."""
    if has(NO_NETWORK):
        return """\
The package index cannot be reached, or does not know the package named above. The network is
needed once, to install; after that the book is built, run and read without it. Check the
connection, and set where needed
    HTTPS_PROXY=http://host:port            behind a proxy
    PIP_CERT=/path/to/certificates.pem      if the proxy has certificates of its own
    PIP_INDEX_URL=https://host/simple       for a mirror
    PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder   for a folder of wheels
Then run the command again; it goes on from here."""
    if has(NOT_FOUND):
        return f"""\
The package index lacks a version that {filename} asks for (named above).
If pip installs from a mirror or a folder of wheels (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_NO_INDEX;
`{VENV_PYTHON} -m pip config list`), that is out of date."""
    return f"pip could not install {filename}; it says why above."


def digest(filename):
    """SHA-256 of a requirements file with those it includes (-r), and of the Python it is for."""
    text = (ROOT / filename).read_text(encoding="utf-8")
    included = [
        line[3:].strip() for line in text.splitlines() if line.startswith("-r ")
    ]
    parts = [repr(PYTHON), text] + [digest(name) for name in included]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read_stamp():
    """Return what is installed: {"folder": where, "files": {requirements file: digest}}."""
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"folder": str(ROOT), "files": {}}


def write_stamp(installed):
    """Replace the stamp in one step, so that half of one is never read."""
    new = STAMP.with_suffix(".new")
    new.write_text(
        json.dumps({"folder": str(ROOT), "files": installed}, indent=1), "utf-8"
    )
    new.replace(STAMP)


def environment_is_sound():
    """Whether .venv was made here and has the right Python with pip."""
    # Scripts name the folder they were installed in: they do not work in a copied or moved .venv.
    if read_stamp()["folder"] != str(ROOT):
        return False
    test = f"import sys, pip; sys.exit(sys.version_info[:2] != {PYTHON})"
    try:
        return (
            subprocess.call([str(VENV_PYTHON), "-c", test], stderr=subprocess.DEVNULL)
            == 0
        )
    except OSError:
        return False


def make_environment():
    """Make an empty .venv in place of whatever is there."""
    check_venv_module()
    print(f"Making .venv with {sys.executable}", flush=True)
    result = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        sys.stderr.write(result.stdout)
        if any(sign in result.stdout for sign in FULL_DISK):
            raise Stop(f"The disk is full.\n{full_disk_advice()}")
        raise Stop(f"{sys.executable} could not make {VENV}; it says why above.")


def install(filename, options):
    """Have pip install a requirements file into .venv; raise Stop if it cannot."""
    print(f"Installing {filename}", flush=True)
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--no-input", "--no-compile"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    lines = []
    with subprocess.Popen(
        [*command, *options, "-r", filename],
        cwd=str(ROOT),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        for line in pip.stdout:
            lines.append(line)
            show(line)
    show("")
    if pip.returncode:
        sys.stderr.writelines(lines[-20:])
        raise Stop(advice("".join(lines), filename))


def show(line):
    """Say that the index is silent; on a terminal write any other line over the last one."""
    terminal = sys.stdout.isatty()
    if terminal:
        print("\r\033[K", end="")
    if "Retrying" in line:
        print("  The package index does not answer; pip tries again.")
    elif terminal:
        print(line.strip()[: shutil.get_terminal_size().columns - 1], end="")
    sys.stdout.flush()


def set_up(target):
    """Install what ``target`` needs and .venv lacks."""
    stamp = read_stamp()
    usable = stamp["folder"] == str(ROOT) and VENV_PYTHON.exists()
    installed = dict(stamp["files"]) if usable else {}
    wanted = {name: digest(name) for name in TARGETS[target]}
    missing = [name for name in wanted if installed.get(name) != wanted[name]]
    if not missing:
        return
    check_space(target)
    if not environment_is_sound():
        make_environment()
        installed, missing = {}, list(wanted)
    for name in missing:
        # The line is gone while pip works: an interrupted installation is done again.
        installed.pop(name, None)
        write_stamp(installed)
        install(name, TARGETS[target][name])
        installed[name] = wanted[name]
        write_stamp(installed)


def main(arguments=None):
    """Run the command line; return the exit status."""
    try:
        check_python()
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("target", choices=sorted(TARGETS))
        set_up(parser.parse_args(arguments).target)
    except Stop as stop:
        print(f"\nSet-up stopped.\n{stop}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nSet-up interrupted. The same command goes on from here.", file=sys.stderr
        )
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"\nSet-up stopped.\nThe disk is full.\n{full_disk_advice()}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
