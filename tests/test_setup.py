"""The set-up in a throw-away checkout: tiny wheels, no network, each failure really provoked."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "book": ["requirements-book.txt", "requirements-assets.txt"],
    "all": [
        "requirements-book.txt",
        "requirements-assets.txt",
        "requirements.txt",
        "requirements-data.txt",
    ],
}
HASHED = ("requirements-assets.txt", "requirements-data.txt")

spec = importlib.util.spec_from_file_location("book_setup", ROOT / "tools" / "setup.py")
book_setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(book_setup)


# --- a small checkout, wheels for it, and commands in it


def make_wheel(folder, name, version):
    """Write a wheel with one module; return its SHA-256."""
    info = f"{name}-{version}.dist-info"
    members = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(
        f"{m},,\n" for m in [*members, f"{info}/RECORD"]
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in members.items():
            wheel.writestr(member, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Checkout:
    """A copy of the set-up with requirements of its own."""

    def __init__(self, folder, wheels):
        self.folder = folder
        self.wheels = wheels
        (folder / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "setup.py", folder / "tools")
        shutil.copy(ROOT / "Makefile", folder)
        for name in FILES["all"]:
            self.write(name, "# nothing\n")
        self.write("requirements-book.txt", "tiny==1.0\n")

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def make_environment(self):
        """Make .venv in no time: without pip of its own, it borrows that of these tests."""
        venv.create(self.folder / ".venv", symlinks=True)
        pip = Path(importlib.util.find_spec("pip").origin).parent
        borrowed = self.folder / "borrowed"
        borrowed.mkdir()
        (borrowed / "pip").symlink_to(pip)
        (self.site_packages / "borrowed.pth").write_text(f"{borrowed}\n")

    @property
    def site_packages(self):
        return self.folder / ".venv" / "lib" / "python3.11" / "site-packages"

    def break_python(self, code):
        """Have every Python that is started in this checkout run ``code`` first."""
        (self.folder / "broken").mkdir(exist_ok=True)
        self.write("broken/sitecustomize.py", code)

    def environment(self, **changes):
        """Neither pip's settings nor make's of this machine; packages only from the wheels."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "MAKE", "MFLAGS", "PYTHON", "CHROMIUM"))
        }
        settings = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PYTHONPATH": str(self.folder / "broken"),
        }
        merged = kept | settings | changes
        return {name: value for name, value in merged.items() if value is not None}

    def run(self, *command, **changes):
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.environment(**changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )

    def set_up(self, target="book", **changes):
        return self.run(sys.executable, "tools/setup.py", target, **changes)

    def installed(self):
        """Return the version of tiny in .venv, None without it."""
        found = importlib.metadata.distributions(
            path=[str(self.site_packages)], name="tiny"
        )
        return next((distribution.version for distribution in found), None)

    def stamped(self):
        path = self.folder / ".venv" / "installed.json"
        return set(json.loads(path.read_text())["files"]) if path.exists() else set()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        make_wheel(folder, "tiny", version)
    return folder


@pytest.fixture
def bare(tmp_path, wheels):
    """A fresh clone: no .venv yet."""
    return Checkout(tmp_path / "checkout", wheels)


@pytest.fixture
def checkout(bare):
    """A clone with an empty .venv."""
    bare.make_environment()
    return bare


@pytest.fixture
def silent_index():
    """The address of an index that takes the call and never answers, and its socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple", server


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# --- what is installed, and when


def test_first_run_makes_the_environment_and_the_second_has_nothing_to_do(bare):
    first = bare.set_up()
    assert first.returncode == 0, first.stderr
    assert "Making .venv" in first.stdout
    assert bare.installed() == "1.0"
    assert bare.stamped() == set(FILES["book"])

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    second = bare.set_up(PIP_FIND_LINKS="/nowhere")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    # Time of the processor: the clock on the wall depends on what else runs.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.5


def test_all_includes_the_book_and_the_book_does_not_include_all(checkout):
    checkout.write("requirements.txt", "-r requirements-book.txt\ntiny==1.0\n")
    assert checkout.set_up("book").returncode == 0
    assert checkout.stamped() == set(FILES["book"])
    result = checkout.set_up("all")
    assert result.returncode == 0, result.stderr
    assert "requirements-book.txt" not in result.stdout
    assert checkout.stamped() == set(FILES["all"])
    assert checkout.set_up("book").stdout == ""


def test_a_changed_pin_is_installed_by_the_next_run(checkout):
    assert checkout.set_up().returncode == 0
    assert checkout.installed() == "1.0"
    checkout.write("requirements-book.txt", "tiny==2.0\n")
    result = checkout.set_up()
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["Installing requirements-book.txt"]
    assert checkout.installed() == "2.0"


def test_a_change_of_an_included_file_counts_for_the_including_one(checkout):
    checkout.write("requirements.txt", "-r requirements-book.txt\n")
    assert checkout.set_up("all").returncode == 0
    checkout.write("requirements-book.txt", "tiny==2.0\n")
    assert "Installing requirements.txt" in checkout.set_up("all").stdout


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_installation_leaves_no_valid_stamp(
    checkout, silent_index, kill
):
    assert checkout.set_up().returncode == 0
    checkout.write("requirements-book.txt", "tiny==2.0\n")
    index, server = silent_index
    process = subprocess.Popen(
        [sys.executable, "tools/setup.py", "book"],
        cwd=checkout.folder,
        env=checkout.environment(
            PIP_NO_INDEX=None, PIP_FIND_LINKS=None, PIP_INDEX_URL=index
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has told them to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    connection, _ = server.accept()  # pip is now waiting for the index
    with connection:
        os.killpg(process.pid, kill)
        _, errors = process.communicate(timeout=120)
    assert (
        process.returncode
        == {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}[kill]
    )
    if kill == signal.SIGINT:
        assert "The same command goes on from here" in errors
    assert checkout.stamped() == {"requirements-assets.txt"}

    # Not even the former state counts as installed: pip may have been half way.
    checkout.write("requirements-book.txt", "tiny==1.0\n")
    assert "Installing requirements-book.txt" in checkout.set_up().stdout
    assert checkout.stamped() == set(FILES["book"])


def test_a_copied_checkout_gets_an_environment_of_its_own(checkout, tmp_path, wheels):
    assert checkout.set_up().returncode == 0
    shutil.copytree(checkout.folder, tmp_path / "copy", symlinks=True)
    copy = Checkout.__new__(Checkout)
    copy.folder, copy.wheels = tmp_path / "copy", wheels
    result = copy.set_up()
    assert result.returncode == 0, result.stderr
    assert "Making .venv" in result.stdout
    assert copy.set_up().stdout == ""


def test_an_environment_without_pip_is_made_anew(bare):
    venv.create(bare.folder / ".venv", symlinks=True)
    result = bare.set_up()
    assert result.returncode == 0, result.stderr
    assert "Making .venv" in result.stdout
    assert bare.installed() == "1.0"


# --- what goes wrong, and what is said about it


def test_the_syntax_is_that_of_an_old_python():
    ast.parse((ROOT / "tools" / "setup.py").read_text(), feature_version=(3, 6))


@pytest.fixture
def commands(tmp_path):
    """An empty folder, to be the whole PATH."""
    folder = tmp_path / "commands"
    folder.mkdir()
    return folder


def add_python(folder, name, version):
    """Put a Python into ``folder`` that takes itself for ``version``."""
    disguise = (
        f"import runpy, sys; sys.version_info = {version}; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    (folder / name).write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit\nexec {sys.executable} -c "{disguise}" "$@"\n'
    )
    (folder / name).chmod(0o755)


def make(checkout, commands, *arguments):
    return checkout.run(shutil.which("make"), *arguments, PATH=str(commands))


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 12, 1)])
def test_a_wrong_python_is_named(bare, commands, version):
    add_python(commands, "python3", version)
    result = make(bare, commands, "book")
    assert result.returncode
    found = ".".join(map(str, version))
    assert f"Python 3.11 is needed, this is {found} (" in result.stderr
    assert "make book PYTHON=/path/to/python3.11" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (bare.folder / ".venv").exists()


def test_python311_is_preferred_to_python3(checkout, commands):
    add_python(commands, "python3", (3, 9, 2))
    add_python(commands, "python3.11", (3, 11, 0))
    result = make(checkout, commands, "book")
    assert "Installing requirements-book.txt" in result.stdout, result.stderr
    assert checkout.installed() == "1.0"


def test_no_python_at_all(bare, commands):
    result = make(bare, commands, "book")
    assert result.returncode
    assert "No Python found. Python 3.11 is needed" in result.stderr
    assert "make book PYTHON=/path/to/python3.11" in result.stderr


def test_the_named_python_does_not_exist(bare, commands):
    result = make(bare, commands, "book", "PYTHON=/nowhere/python3.11")
    assert result.returncode
    assert "No Python found at /nowhere/python3.11" in result.stderr


def test_python_without_its_venv_package(bare):
    bare.break_python("import sys; sys.modules['ensurepip'] = None\n")
    result = bare.set_up()
    assert result.returncode == 1
    assert "cannot make virtual environments" in result.stderr
    assert "apt-get install python3.11-venv" in result.stderr
    assert "Traceback" not in result.stderr


def test_too_little_free_space_is_seen_before_anything_is_written(bare):
    bare.break_python(
        "import shutil\n"
        "from types import SimpleNamespace\n"
        "shutil.disk_usage = lambda path: SimpleNamespace(free=100_000_000)\n"
    )
    result = bare.set_up("all")
    assert result.returncode == 1
    assert "has 0.1 GB free" in result.stderr
    assert "pip cache purge" in result.stderr
    assert "run the command again" in result.stderr
    assert not (bare.folder / ".venv").exists()


def test_the_space_needed_is_what_is_not_installed_yet(monkeypatch, tmp_path):
    def free(size):
        usage = shutil._ntuple_diskusage(10**12, 0, size)
        monkeypatch.setattr(book_setup.shutil, "disk_usage", lambda path: usage)

    monkeypatch.setattr(book_setup, "ROOT", tmp_path)
    monkeypatch.setattr(book_setup, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(book_setup.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(book_setup.INSTALLED, "all", 4000)
    monkeypatch.setitem(book_setup.DOWNLOADED, "all", 1000)
    monkeypatch.setattr(book_setup, "MARGIN", 500)

    free(6500)  # 4000 installed, 1000 downloaded, 1000 cached, 500 margin
    book_setup.check_space("all")
    free(6499)
    with pytest.raises(book_setup.Stop, match="GB are needed"):
        book_setup.check_space("all")
    tmp_path.joinpath(".venv").mkdir()
    tmp_path.joinpath(".venv", "half").write_bytes(bytes(2000))
    free(3500)
    book_setup.check_space("all")
    free(3499)
    with pytest.raises(book_setup.Stop, match="GB are needed"):
        book_setup.check_space("all")


@pytest.mark.parametrize(
    ("target", "during"),
    [
        ("pyvenv.cfg", "Python makes .venv"),
        ("tiny.py", "pip installs"),
        ("installed.new", "the stamp is written"),
    ],
)
def test_the_disk_fills_up(bare, target, during):
    if during != "Python makes .venv":
        bare.make_environment()
    bare.break_python(
        "import builtins, errno, io, os\n"
        "real = io.open\n"
        "def full(file, mode='r', *more, **named):\n"
        f"    if str(file).endswith({target!r}) and 'w' in mode:\n"
        "        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))\n"
        "    return real(file, mode, *more, **named)\n"
        "builtins.open = io.open = full\n"
    )
    result = bare.set_up()
    assert result.returncode == 1, during
    assert "The disk is full" in result.stderr
    assert "run the command again" in result.stderr
    assert "Traceback" not in result.stderr
    assert "requirements-book.txt" not in bare.stamped()


def test_no_network(checkout):
    index = f"http://127.0.0.1:{closed_port()}/simple"
    result = checkout.set_up(
        PIP_NO_INDEX=None, PIP_FIND_LINKS=None, PIP_INDEX_URL=index, PIP_RETRIES="1"
    )
    assert result.returncode == 1
    assert "pip tries again" in result.stdout
    assert "The package index cannot be reached" in result.stderr
    assert "needed once" in result.stderr
    assert "HTTPS_PROXY" in result.stderr
    assert "PIP_INDEX_URL" in result.stderr
    assert checkout.stamped() == set()


def test_no_proxy(checkout):
    proxy = f"http://127.0.0.1:{closed_port()}"
    result = checkout.set_up(
        PIP_NO_INDEX=None,
        PIP_FIND_LINKS=None,
        PIP_INDEX_URL="http://index.invalid/simple",
        PIP_PROXY=proxy,
        PIP_RETRIES="0",
    )
    assert result.returncode == 1
    assert "The package index cannot be reached" in result.stderr


def test_the_index_hangs(checkout, silent_index):
    result = checkout.set_up(
        PIP_NO_INDEX=None,
        PIP_FIND_LINKS=None,
        PIP_INDEX_URL=silent_index[0],
        PIP_RETRIES="0",
        PIP_DEFAULT_TIMEOUT="1",
    )
    assert result.returncode == 1
    assert "The package index cannot be reached" in result.stderr


def test_the_index_is_out_of_date(checkout):
    checkout.write("requirements-book.txt", "tiny==3.0\n")
    result = checkout.set_up()
    assert result.returncode == 1
    assert "lacks a version that requirements-book.txt asks for" in result.stderr
    assert "tiny==3.0" in result.stderr


@pytest.mark.parametrize(("target", "filename"), list(zip(FILES, HASHED, strict=True)))
def test_a_wheel_with_another_hash_is_refused(checkout, wheels, target, filename):
    checkout.write("requirements-book.txt", "")
    wrong = hashlib.sha256(b"another file").hexdigest()
    checkout.write(filename, f"tiny==1.0 --hash=sha256:{wrong}\n")
    result = checkout.set_up(target)
    assert result.returncode == 1
    assert (
        f"A package in {filename} is not the file that the book was tested"
        in result.stderr
    )
    assert "pip cache purge" in result.stderr
    assert checkout.installed() is None
    assert filename not in checkout.stamped()

    right = hashlib.sha256(
        (wheels / "tiny-1.0-py3-none-any.whl").read_bytes()
    ).hexdigest()
    checkout.write(filename, f"tiny==1.0 --hash=sha256:{right}\n")
    assert checkout.set_up(target).returncode == 0
    assert checkout.installed() == "1.0"


@pytest.mark.parametrize(("target", "filename"), list(zip(FILES, HASHED, strict=True)))
def test_a_wheel_without_a_hash_is_refused(checkout, target, filename):
    checkout.write("requirements-book.txt", "")
    checkout.write(filename, "tiny==1.0\n")
    result = checkout.set_up(target)
    assert result.returncode == 1
    assert "hash" in result.stderr.lower()
    assert checkout.installed() is None
    assert filename not in checkout.stamped()


# --- make


def test_make_without_a_target_explains_every_target(bare):
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[
        1
    ].split()
    shown = bare.run("make").stdout
    assert set(phony) - {"help"} == set(re.findall(r"^make (\w+)", shown, re.M))


def test_the_book_is_built_anew_when_a_partial_build_would_hide_something(checkout):
    book = checkout.folder / ".venv" / "bin" / "jupyter-book"
    book.write_text(
        "#!/bin/sh\nmkdir -p _build && touch _build/page && exit $(cat status)\n"
    )
    book.chmod(0o755)
    (checkout.folder / "book" / "_assets").mkdir(parents=True)
    for name in (
        "_config.yml",
        "_toc.yml",
        "book/_assets/book.css",
        "tools/book_extension.py",
    ):
        checkout.write(name, "")
    old = checkout.folder / "_build" / "old"

    def build(status=0):
        checkout.write("status", str(status))
        result = checkout.run("make", "book", f"PYTHON={sys.executable}")
        assert (result.returncode == 0) == (status == 0), result.stderr

    def keeps_the_last_build():
        old.touch()
        build()
        return old.exists()

    build()
    assert keeps_the_last_build()
    for name in ("book/_assets/book.css", "_config.yml", ".venv/installed.json"):
        later = time.time() + 1
        os.utime(checkout.folder / name, (later, later))
        assert not keeps_the_last_build(), name
        os.utime(checkout.folder / name, (0, 0))
    assert keeps_the_last_build()
    build(status=1)
    assert not keeps_the_last_build()
    assert keeps_the_last_build()


def test_tests_without_chromium_stop_before_anything_is_installed(bare, commands):
    add_python(commands, "python3.11", (3, 11, 0))
    result = make(bare, commands, "test")
    assert result.returncode
    assert "No Chromium found" in result.stderr
    assert "apt-get install chromium" in result.stderr
    assert "CHROMIUM=/path/to/chromium" in result.stderr
    assert not (bare.folder / ".venv").exists()


def test_the_bare_machine_gets_what_pip_cannot_install(bare, commands):
    shutil.copytree(ROOT / ".ci", bare.folder / ".ci")
    for name in ("bash", "dirname", "env"):
        (commands / name).symlink_to(shutil.which(name))
    log = commands / "log"
    for name, does in (
        ("apt-get", "exit"),
        ("make", "exit"),
        ("id", "echo 0"),
        ("dpkg", "exit 1"),
        ("python3.11", "exit 1"),
    ):
        (commands / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n{does}\n')
        (commands / name).chmod(0o755)
    result = bare.run(".ci/run", PATH=str(commands))
    assert result.returncode == 0, result.stderr
    update, install, test = [
        line
        for line in log.read_text().splitlines()
        if line.startswith(("apt-get", "make"))
    ]
    assert update == "apt-get update"
    wanted = {"python3.11", "python3.11-venv", "chromium", "fonts-noto-cjk"}
    assert wanted <= set(install.split())
    assert test == "make test"


# --- the pins themselves


def lines(filename):
    """Return the requirements of a file, its continued lines joined."""
    text = (ROOT / filename).read_text().replace("\\\n", " ")
    stripped = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in stripped if line]


def pins(*filenames):
    """Return {canonical name: version} of the pinned packages."""
    found = [
        line.split()[0] for name in filenames for line in lines(name) if line[0] != "-"
    ]
    return {canonicalize_name(n): v for n, v in (line.split("==") for line in found)}


def needs_of(names):
    """Yield (package, requirement) for all that these installed packages need here.

    An extra of a package counts where another one asks for it.
    """
    asked, seen = [(name, "") for name in names], set()
    while asked:
        name, extra = asked.pop()
        if name not in names or (name, extra) in seen:
            continue
        seen.add((name, extra))
        for need in map(Requirement, importlib.metadata.requires(name) or []):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                yield name, need
                asked += [
                    (canonicalize_name(need.name), wanted) for wanted in need.extras
                ]


@pytest.mark.parametrize("filename", FILES["all"])
def test_every_pin_is_exact_and_installed(filename):
    for line in lines(filename):
        if line.startswith("-"):
            continue
        hashes = r"( +--hash=sha256:[0-9a-f]{64})+" if filename in HASHED else ""
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.]+" + hashes, line)
    for name, version in pins(filename).items():
        installed = importlib.metadata.version(name)
        assert installed.split("+")[0] == version, name


def test_everything_builds_on_what_renders_the_book():
    everything = lines("requirements.txt")
    assert everything[0] == "-r requirements-book.txt"
    assert everything[-1] == "-e ."
    assert not pins("requirements.txt").keys() & pins("requirements-book.txt").keys()
    assert "torch" not in pins(*FILES["book"])


@pytest.mark.parametrize("target", FILES)
def test_nothing_is_left_to_chance(target):
    """What a pinned package needs is pinned too, at a version it accepts."""
    chosen = pins(*(name for name in FILES[target] if name not in HASHED))
    for name, need in needs_of(chosen):
        wanted = canonicalize_name(need.name)
        if name == "torch" and wanted.startswith(("nvidia-", "cuda-", "triton")):
            continue  # builds with CUDA; torch pins these itself
        assert wanted in chosen, f"{name} needs {need}"
        assert need.specifier.contains(chosen[wanted], prereleases=True), (
            f"{name}: {need}"
        )


@pytest.mark.parametrize("filename", ["requirements-book.txt", "requirements.txt"])
def test_nothing_is_installed_that_nobody_needs(filename):
    direct, brought = (
        (ROOT / filename).read_text().split("# What they bring with them.\n")
    )
    brought = {
        canonicalize_name(line.split("==")[0])
        for line in brought.splitlines()
        if "==" in line
    }
    every = pins("requirements-book.txt", "requirements.txt")
    needed = {canonicalize_name(need.name) for _, need in needs_of(every)}
    assert brought <= needed
    for line in direct.splitlines():
        if "==" in line:
            assert re.search(r"  # \w", line), f"why {line}?"


def test_every_pin_works_on_the_first_python_311():
    for name in pins(*FILES["all"]):
        requires = importlib.metadata.metadata(name)["Requires-Python"]
        if requires:
            assert Requirement(f"python{requires}").specifier.contains("3.11.0"), name


def test_the_package_is_built_by_the_pinned_setuptools():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    version = pins("requirements-book.txt")["setuptools"]
    assert project["build-system"]["requires"] == [f"setuptools=={version}"]
