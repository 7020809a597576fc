"""Makes .venv and installs what a make target needs: ``python3 tools/setup.py book`` or ``all``.

pip installs uv, and uv installs the wheels that locks/ names by their hashes. A stamp records what
is installed, so that a second run has nothing to do. Standard library only, in the syntax of Python
3.6: an older interpreter must be able to read this file and say that it is too old.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON, UV, STAMP = VENV / "bin/python", VENV / "bin/uv", VENV / "installed.json"
BOOK = ["locks/uv.txt", "locks/book.txt", "requirements-assets.txt"]
ALL = [*BOOK, "locks/all.txt", "requirements-data.txt", "requirements.txt"]
PARTS = {"book": BOOK, "all": ALL}
GIGABYTES = {"book": 0.5, "all": 2.5}  # .venv and the built book, measured

# The machine may say where packages come from, and never where they go or what else is installed.
# So of the settings of pip only these count (name for pip: name for uv) ...
SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
PIP_ONLY = ("no-index", "cache-dir", "no-cache-dir", "client-cert", "keyring-provider")
# ... and of the variables of uv those that begin so. Those of Python would change what it imports.
UV_KEPT = (
    "UV_CACHE",
    "UV_NO_CACHE",
    "UV_LINK_MODE",
    "UV_CONCURRENT",
    "UV_OFFLINE",
    "UV_HTTP",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_EXTRA_INDEX",
    "UV_FIND_LINKS",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_KEYRING",
    "UV_REQUEST_TIMEOUT",
)
LISTING = (
    "import importlib.metadata as m; "
    "print([(d.metadata['Name'], d.version) for d in m.distributions()])"
)
# Words of pip and uv that tell what went wrong, and what to do about it. The first that fit count.
ADVICE = {
    ("No space left", "quota exceeded"): """\
The disk is full. The book takes 0.5 GB, everything 2.5 GB, and PyTorch with CUDA several more: the
head of requirements.txt says how to do without it. `uv cache clean` and `pip cache purge` make
room; UV_CACHE_DIR=/other/disk moves what uv keeps.""",
    ("Hash mismatch", "DO NOT MATCH THE HASHES"): f"""\
A package (named above) is not the file that the book was tested with: its hash differs. It was not
installed. Most often a download broke or a mirror has another file: `{UV} cache clean`
and another try, or another mirror. Do not change the hash.""",
    ("Failed to fetch", "Request failed", "Retrying", "(from versions: none)"): """\
The package index cannot be reached, or does not know the package named above. The network is
needed once, to install; after that the book is built, run and read without it. Check the
connection, and set where needed
    HTTPS_PROXY=http://host:port            behind a proxy
    PIP_CERT=/path/to/certificates.pem      if the proxy has certificates of its own
    PIP_INDEX_URL=https://host/simple       for a mirror
    PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder   for a folder of wheels""",
    ("No solution found", "No matching distribution"): f"""\
The package index lacks a version that the book asks for (named above). If pip is set to a mirror
or a folder of wheels (`{PYTHON} -m pip config list`), that is out of date.""",
}


class Stop(Exception):
    """Ends the set-up with a message that says what to do."""


def run(*command, show=True, **settings):
    """Run a command and show what it says, or only if it fails; then raise Stop with advice."""
    said = ""
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=str(ROOT),
        env={**settings, **clean_environment()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout:
            said += line
            if show and not line.startswith((" + ", " - ", "Using Python")):
                print("  " + line, end="", flush=True)
    if process.returncode:
        print("" if show else said)
        fits = (text for signs, text in ADVICE.items() if any(s in said for s in signs))
        raise Stop(next(fits, "The installation failed; it says why above."))


def clean_environment():
    """Return the variables of the machine, without those that redirect an installation."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "PYTHON", "UV_")) or name.startswith(UV_KEPT)
    }


def read_settings():
    """Return what pip is told about where packages come from: variables for pip, then for uv.

    The options of uv come last: it has no variable for ``--no-index``.
    """
    listed = subprocess.run(
        [str(PYTHON), "-I", "-m", "pip", "config", "list"],
        env={**os.environ, "PIP_QUIET": "0", "PIP_PYTHON": ""},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ).stdout
    told = {}
    for scope in ("global.", "install.", ":env:."):  # the last one counts
        for line in listed.splitlines():
            if line.startswith(scope):
                name, _, value = line[len(scope) :].partition("=")
                told[name] = ast.literal_eval(value).split()
    # pip reads no file of the machine: what counts of it stands in the variables.
    pip = {
        "PIP_" + name.upper().replace("-", "_"): " ".join(told[name])
        for name in (*SETTINGS, *PIP_ONLY)
        if name in told
    }
    uv = {SETTINGS[name]: " ".join(told[name]) for name in SETTINGS if name in told}
    if "find-links" in told:
        uv["UV_FIND_LINKS"] = ",".join(told["find-links"])
    no_index = told.get("no-index", ["no"])[0].lower() in ("1", "on", "true", "yes")
    options = ["--no-index"] if no_index else []
    return {"PIP_CONFIG_FILE": os.devnull, **pip}, uv, options


def make_environment():
    """Make .venv anew, with nothing but pip."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise Stop(
            f"This Python ({sys.executable}) cannot make environments: {error}.\n"
            "Debian and Ubuntu keep that in a package of its own: apt-get install python3-venv"
        ) from error
    if not os.access(str(ROOT), os.W_OK):
        raise PermissionError(13, "", str(ROOT))
    print(f"Making .venv with Python {sys.version.split()[0]}", flush=True)
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV)
    run(PYTHON, "-m", "ensurepip", show=False)  # by venv, it would not say why it fails


def install(target):
    """Install the locked wheels; for everything then torch and the book's own code."""
    print(f"Installing what `{target}` needs", flush=True)
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < GIGABYTES[target]:
        print(
            f"  {free:.1f} GB are free; it takes {GIGABYTES[target]} GB, less what is cached."
        )
    for_pip, settings, options = read_settings()
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", BOOK[0], **for_pip)
    uv = [UV, "pip", "install", "--python", PYTHON, "--only-binary", ":all:", *options]
    uv += ["--index-strategy", "unsafe-best-match"]  # as pip chooses
    locks = [f"--requirement={name}" for name in PARTS[target][1:] if name != ALL[-1]]
    run(*uv, "--no-deps", "--require-hashes", *locks, **settings)
    if target == "all":
        run(*uv, "--no-build-isolation", "-r", ALL[-1], **settings)


def look(target):
    """Raise Stop unless .venv has what was to be installed there."""
    command = [str(PYTHON), "-I", "-c", LISTING]
    said = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8").stdout

    def key(name, version):
        return re.sub("[-_.]+", "-", name).lower(), version.split("+")[0]

    found = {key(*pair) for pair in ast.literal_eval(said)}
    text = "\n".join((ROOT / name).read_text("utf-8") for name in PARTS[target])
    # A pin with a marker is perhaps for another machine.
    for pin in re.findall(r"^([\w.-]+)==([\w.]+)(?!.*;)", text, re.M):
        if key(*pin) not in found:
            raise Stop(
                f"{'=='.join(pin)} was installed, but not in {VENV}. A setting of this machine\n"
                "sends packages elsewhere: look for target, prefix or user in the configuration\n"
                "of uv (uv.toml) and pip."
            )


def digest(files):
    """SHA-256 of what files of the checkout hold."""
    return hashlib.sha256(
        b"\0".join((ROOT / f).read_bytes() for f in files)
    ).hexdigest()


def set_up(target):
    """Install what ``target`` needs and .venv lacks."""
    this = ".".join(str(part) for part in sys.version_info[:3])
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        raise Stop(
            f"Python 3.11, 3.12, 3.13 or 3.14 is needed, this is {this} ({sys.executable}).\n"
            "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), run the command\n"
            "again, or name it: make book PYTHON=/path/to/python3.13"
        )
    # Scripts name the folder they were installed in: they do not work in a copied or moved .venv.
    here = {"folder": str(ROOT), "python": list(sys.version_info[:2])}
    wanted = {part: digest(PARTS[part]) for part in PARTS if part in ("book", target)}
    try:
        stamp = json.loads(STAMP.read_text("utf-8"))
        sound = PYTHON.exists() and {**stamp, **here} == stamp
    except (OSError, TypeError, ValueError):
        sound = False
    if not sound:
        make_environment()
        stamp = {}
    elif {**stamp, **wanted} == stamp:
        return
    # The stamp is empty while something is installed: what was interrupted is done again.
    STAMP.write_text(json.dumps(here), "utf-8")
    install(target)
    look(target)
    STAMP.write_text(json.dumps({**stamp, **here, **wanted}, indent=1), "utf-8")


if __name__ == "__main__":
    try:
        set_up({"book": "book", "all": "all"}[sys.argv[1]])
    except PermissionError as error:
        sys.exit(
            f"\nSet-up stopped.\nUser {os.geteuid()} may not write {error.filename}: clone the"
            " book again as this user, or change the owner of the checkout (chown -R)."
        )
    except (Stop, OSError) as stop:
        sys.exit(f"\nSet-up stopped.\n{stop}")
    except KeyboardInterrupt:
        print(
            "\nSet-up interrupted. The same command goes on from here.", file=sys.stderr
        )
        sys.exit(130)
