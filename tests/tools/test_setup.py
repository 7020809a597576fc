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
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")
# Settings of this machine, and of make, that a checkout does not get.
OURS = ("PIP_", "UV_", "MAKE", "MFLAGS", "PYTHON", "CHROMIUM", "SSL_", "HTTP", "http")

spec = importlib.util.spec_from_file_location("book_setup", ROOT / "tools" / "setup.py")
book_setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(book_setup)


# --- a small checkout, wheels for it, and commands in it


def make_wheel(folder, name, version, script=None):
    """Write a wheel with one module, or one command; return the line that asks for it."""
    about = f"{name}-{version}.dist-info"
    module = f"{name}-{version}.data/scripts/{name}" if script else f"{name}.py"
    members = {
        module: script or "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{about}/RECORD"
    members[record] = "".join(f"{member},,\n" for member in [*members, record])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in members.items():
            info = zipfile.ZipInfo(member)
            info.external_attr = 0o100755 << 16
            wheel.writestr(info, text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


def says(result, *texts):
    """What a command wrote on errors holds all of the texts, and no traceback."""
    assert "Traceback" not in result.stderr
    for text in texts:
        assert text in result.stderr
    return result


class Checkout:
    """A copy of the set-up with requirements of its own."""

    def __init__(self, folder, wheels):
        self.folder, self.wheels = folder, wheels
        for name in ("tools/setup.py", "tools/find_python.sh", "Makefile"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for name in book_setup.ALL:
            self.write(name, "# nothing\n")
        self.write("locks/uv.txt", wheels.lines["uv"])
        self.write("locks/book.txt", wheels.lines["1.0"])

        # Whatever imports pip or uv from there fails; what is installed there counts for nothing.
        elsewhere = folder.parent / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        for name in ("pip.py", "uv.py"):
            (elsewhere / name).write_text(
                "raise RuntimeError('of another environment')"
            )
        self.astray = {"PIP_USER": "1", "PYTHONPATH": str(elsewhere)}

    def write(self, name, text):
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def make_environment(self):
        """Make .venv in no time: without pip of its own, it borrows that of these tests."""
        venv.create(self.folder / ".venv", symlinks=True)
        pip = Path(importlib.util.find_spec("pip").origin).parent
        self.write("borrowed/none", "")
        (self.folder / "borrowed" / "pip").symlink_to(pip)
        (self.site_packages / "borrowed.pth").write_text(f"{self.folder}/borrowed\n")
        stamp = {"folder": str(self.folder), "python": list(sys.version_info[:2])}
        self.write(".venv/installed.json", json.dumps(stamp))

    @property
    def site_packages(self):
        return next((self.folder / ".venv" / "lib").glob("python3.*/site-packages"))

    def environment(self, **changes):
        """Settings that would lead astray, not this machine's or make's; only the wheels."""
        settings = {
            **self.astray,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels.folder),
            "UV_CACHE_DIR": str(self.folder.parent / "cache"),
        }
        kept = {n: value for n, value in os.environ.items() if not n.startswith(OURS)}
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

    def set_up(self, target="book", fails=(), **changes):
        """Run the set-up; it succeeds, or stops and says what is to be read on failure."""
        result = self.run(sys.executable, "tools/setup.py", target, **changes)
        assert result.returncode == bool(fails), result.stderr
        return says(result, *fails)

    def make(self, commands, *arguments, fails):
        """Run make with nothing else on the PATH; it stops, and says this."""
        result = self.run(shutil.which("make"), *arguments, PATH=str(commands))
        assert result.returncode
        return says(result, *fails)

    def installed(self):
        """Return the version of tiny in .venv, None without it."""
        path = [str(self.site_packages)]
        found = importlib.metadata.distributions(path=path, name="tiny")
        return next((distribution.version for distribution in found), None)

    def stamped(self):
        path = self.folder / ".venv" / "installed.json"
        return set(json.loads(path.read_text())) - {"folder", "python"}


class Wheels:
    """A folder with uv and two versions of a package; what a lock says of them."""

    def __init__(self, folder):
        self.folder = folder
        self.lines = {v: make_wheel(folder, "tiny", v) for v in ("1.0", "2.0")}
        uv = f'#!/bin/sh\nexec {find_uv_bin()} "$@"\n'
        self.lines["uv"] = make_wheel(folder, "uv", "1.0", uv)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    return Wheels(tmp_path_factory.mktemp("wheels"))


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
def index(wheels, tmp_path):
    """Settings with an index that takes the call and never answers, and its socket."""
    uv = tmp_path / "only-uv"
    uv.mkdir()
    shutil.copy(next(wheels.folder.glob("uv-*")), uv)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        yield (
            {"PIP_NO_INDEX": None, "PIP_FIND_LINKS": str(uv), "PIP_INDEX_URL": address},
            server,
        )


# --- what is installed, and when


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkout", "Bü cher"])
def test_first_run_makes_the_environment_and_the_second_has_nothing_to_do(
    tmp_path, wheels, name
):
    bare = Checkout(tmp_path / name, wheels)
    assert "Making .venv" in bare.set_up().stdout
    assert bare.installed() == "1.0"
    assert bare.stamped() == {"book"}

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    second = bare.set_up(PIP_FIND_LINKS="/nowhere")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (second.stdout, second.stderr) == ("", "")
    # Time of the processor: the clock on the wall depends on what else runs.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.5


def test_everything_adds_to_the_book(checkout, wheels):
    checkout.write("locks/book.txt", "# nothing\n")
    checkout.write("locks/all.txt", wheels.lines["1.0"])
    checkout.set_up("book")
    assert checkout.installed() is None
    assert "Making .venv" not in checkout.set_up("all").stdout
    assert checkout.installed() == "1.0"
    assert checkout.stamped() == {"book", "all"}
    assert checkout.set_up("book").stdout == ""


def test_a_changed_pin_is_installed_by_the_next_run(checkout, wheels):
    checkout.set_up("all")
    checkout.write("locks/book.txt", wheels.lines["2.0"])
    checkout.set_up()
    assert checkout.installed() == "2.0"
    assert "Installing" in checkout.set_up("all").stdout


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_installation_goes_on_the_next_time(
    checkout, wheels, index, kill
):
    checkout.set_up()
    checkout.write("locks/book.txt", wheels.lines["2.0"])
    settings, server = index
    process = subprocess.Popen(
        [sys.executable, "tools/setup.py", "book"],
        cwd=checkout.folder,
        env=checkout.environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has told them to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    connection, _ = server.accept()  # pip or uv is now waiting for the index
    with connection:
        os.killpg(process.pid, kill)
        _, errors = process.communicate(timeout=120)
    expected = {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}
    assert process.returncode == expected[kill]
    if kill == signal.SIGINT:
        assert "The same command goes on from here" in errors
    # Not even the former state counts as installed: uv may have been half way.
    assert checkout.stamped() == set()
    checkout.set_up()
    assert checkout.installed() == "2.0"


@pytest.mark.slow
def test_a_copied_checkout_gets_an_environment_of_its_own(checkout, tmp_path):
    checkout.set_up()
    original, checkout.folder = checkout.folder, tmp_path / "copy"
    shutil.copytree(original, checkout.folder, symlinks=True)
    # As make does it: with the Python of the .venv that is made anew.
    result = checkout.run(".venv/bin/python", "tools/setup.py", "book")
    assert result.returncode == 0, result.stderr
    assert "Making .venv" in result.stdout
    assert checkout.set_up().stdout == ""


def test_an_environment_that_is_not_right_is_made_anew(checkout, monkeypatch):
    commands = []
    monkeypatch.setattr(
        book_setup, "run", lambda *command, **_: commands.append(command)
    )
    monkeypatch.setattr(book_setup, "look", lambda target: None)
    for name in ("ROOT", "VENV", "PYTHON", "UV", "STAMP"):
        there = checkout.folder / getattr(book_setup, name).relative_to(ROOT)
        monkeypatch.setattr(book_setup, name, there)
    options = ("-m", "venv", "--clear", "--without-pip")
    remakes = (sys.executable, *options, checkout.folder / ".venv")
    book_setup.set_up("book")
    assert remakes not in commands
    stamp = book_setup.STAMP.read_text()
    for wrong in (stamp.replace(f"{sys.version_info[1]}", "10"), stamp[:-1], "[]"):
        book_setup.STAMP.write_text(wrong)
        commands.clear()
        book_setup.set_up("book")
        assert commands[0] == remakes
        commands.clear()
        book_setup.set_up("book")
        assert commands == []
    book_setup.PYTHON.unlink()
    book_setup.PYTHON.symlink_to("/nowhere")
    # The new one, which run did not make.
    with pytest.raises(OSError, match="bin/python"):
        book_setup.set_up("book")
    assert commands[0] == remakes


def test_uv_is_told_what_pip_is_told(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = http://a/simple\nextra-index-url =\n  http://b\n  http://c\n"
        "cert = /global.pem\nproxy = http://proxy:1\n[install]\nfind-links = /one /two\n"
        "cert = /install.pem\n[download]\nretries = 7\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "a b")
    monkeypatch.setenv("PIP_CERT", "/variable.pem")
    monkeypatch.setattr(book_setup, "PYTHON", sys.executable)
    pip, variables, options = book_setup.read_settings()
    assert options == []
    expected = {
        "UV_DEFAULT_INDEX": "http://a/simple",
        "UV_INDEX": "http://b http://c",
        "UV_FIND_LINKS": "/one,/two",
        "UV_INSECURE_HOST": "a b",
        "SSL_CERT_FILE": "/variable.pem",
        "ALL_PROXY": "http://proxy:1",
    }
    assert variables.items() >= expected.items()
    assert "UV_HTTP_RETRIES" not in variables
    assert (
        pip.items()
        >= {"PIP_CERT": "/variable.pem", "PIP_PROXY": "http://proxy:1"}.items()
    )
    assert (pip["PIP_CONFIG_FILE"], "PIP_RETRIES" in pip) == (os.devnull, False)
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    assert book_setup.read_settings()[2] == ["--no-index"]


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "elsewhere"


PLACES = [
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_PYTHON",
    "PIP_SRC",
    "PIP_BUILD_TRACKER",
    "UV_PROJECT_ENVIRONMENT",
    "UV_PYTHON",
    "UV_TARGET",
    "UV_PREFIX",
    "UV_CONFIG_FILE",
    "PYTHONUSERBASE",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "JUPYTER_PATH",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "PIP_CONSTRAINT",
    "PIP_REQUIREMENT",
]
SWITCHES = [
    "PIP_USER",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_DRY_RUN",
    "PIP_QUIET",
    "PIP_NO_DEPS",
    "UV_SYSTEM_PYTHON",
    "UV_BREAK_SYSTEM_PACKAGES",
    "UV_NO_BINARY",
    "UV_DRY_RUN",
    "UV_NO_INSTALLER_METADATA",
    "UV_MANAGED_PYTHON",
    "UV_REQUIRE_HASHES",
    "PYTHONNOUSERSITE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONOPTIMIZE",
    "PYTHONSAFEPATH",
]


def test_variables_of_the_user_lead_nothing_astray(checkout, elsewhere):
    astray = {name: str(elsewhere) for name in PLACES} | dict.fromkeys(SWITCHES, "1")
    checkout.set_up(**astray, PIP_NO_BINARY=":all:")
    assert checkout.installed() == "1.0"
    assert checkout.stamped() == {"book"}
    assert not list(elsewhere.rglob("tiny*"))


@pytest.mark.parametrize("setting", ["user = true", "target = {}", "prefix = {}"])
def test_files_of_pip_lead_nothing_astray(checkout, elsewhere, setting):
    path = checkout.folder / "pip.conf"
    path.write_text("[install]\n" + setting.format(elsewhere))
    checkout.set_up(PIP_CONFIG_FILE=str(path), PIP_USER=None)
    assert checkout.installed() == "1.0"


def test_the_variables_that_the_table_names_are_tried():
    text = (
        (ROOT / "CONTRIBUTING.md").read_text().split("### Machines")[1].split("\n#")[0]
    )
    named = set(re.findall(r"`([A-Z]+_?[A-Z_]{4,})`", text))
    unexported = re.findall("^unexport (.*)", (ROOT / "Makefile").read_text(), re.M)
    assert len(named) > 10
    assert named <= {*PLACES, *SWITCHES, *" ".join(unexported).split()}


def test_a_clone_keeps_the_bytes_whatever_git_is_told(tmp_path):
    if not shutil.which("git"):
        pytest.skip("needs git")
    source, clone = tmp_path / "source", tmp_path / "clone"
    source.mkdir()
    shutil.copy(ROOT / ".gitattributes", source)
    (source / "vocab.txt").write_bytes(b"one\ntwo\r\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (
        ["init", "-q", source],
        ["-C", source, "add", "."],
        ["-C", source, *who, "commit", "-q", "-m", "all"],
        ["-c", "core.autocrlf=true", "clone", "-q", source, clone],
    ):
        subprocess.run(["git", *command], check=True)
    assert (clone / "vocab.txt").read_bytes() == b"one\ntwo\r\n"


def test_what_is_not_seen_in_the_environment_is_not_stamped(checkout, elsewhere):
    (elsewhere / "uv").mkdir()
    (elsewhere / "uv" / "uv.toml").write_text(f"[pip]\ntarget = '{elsewhere}'\n")
    told = ["tiny==1.0 was installed, but not in", "uv.toml"]
    checkout.set_up(fails=told, XDG_CONFIG_HOME=str(elsewhere))
    assert checkout.stamped() == set()
    checkout.set_up()
    assert checkout.installed() == "1.0"


def test_make_works_with_the_python_of_another_home(checkout, elsewhere):
    add_command(checkout.folder / ".venv" / "bin" / "jupyter-book", "mkdir _build; env")
    for name in ("_config.yml", "_toc.yml", "tools/book_extension.py"):
        checkout.write(name, "")
    result = checkout.run("make", "book", PYTHONHOME=str(elsewhere), JUPYTER_PATH="/x")
    assert result.returncode == 0, result.stderr
    assert not re.search("^(PYTHONHOME|PYTHONPATH|JUPYTER_PATH)=", result.stdout, re.M)


def test_a_checkout_that_may_not_be_written_is_named(bare):
    bare.folder.chmod(0o555)
    # Root writes everywhere, unless it gives that up.
    meek = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [sys.executable, "tools/setup.py", "book"]
    result = bare.run(*(meek if os.geteuid() == 0 else []), *command)
    bare.folder.chmod(0o755)
    assert result.returncode == 1
    says(result, f"User {os.geteuid()} may not write {bare.folder}", "chown")


# --- which Python

NAME_A_PYTHON = "make book PYTHON=/path/to/python3"


@pytest.fixture
def commands(tmp_path):
    """An empty folder, to be the whole PATH."""
    folder = tmp_path / "commands"
    folder.mkdir()
    return folder


def add_python(folder, name, version=sys.version_info[:3], lacks=""):
    """Put a Python into ``folder`` that takes itself for ``version``."""
    disguise = (
        f"import runpy, sys; sys.version_info = {tuple(version)}; sys.modules.update("
        f"dict.fromkeys('{lacks}'.split())); sys.argv = sys.argv[1:]; exec(sys.argv[1]) if "
        "sys.argv[0] == '-c' else runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    add_command(folder / name, f'exec {sys.executable} -c "{disguise}" "$@"')


def add_command(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_newest_python_is_taken_that_works(bare, commands):
    def found():
        result = bare.run("/bin/sh", "tools/find_python.sh", PATH=str(commands))
        return result.stdout.strip(), result.returncode

    assert found() == ("", 1)
    add_python(commands, "python3", (3, 9, 2))
    assert found() == ("python3", 1)
    add_python(commands, "python3.11", (3, 11, 2), lacks="ensurepip")
    assert found() == ("python3.11", 1)
    for name in reversed(PYTHONS[:4]):
        add_python(commands, name, (3, int(name[-2:]), 0))
        assert found() == (name, 0)
    add_command(commands / "python3.14", "exit 127")  # pyenv's, without a 3.14
    add_python(commands, "python3.13", (3, 13, 0), lacks="venv")
    assert found() == ("python3.12", 0)
    bare.make_environment()
    assert found() == (".venv/bin/python", 0)


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 15, 0)])
def test_a_wrong_python_is_named(bare, commands, version):
    add_python(commands, "python3", version)
    found = ".".join(map(str, version))
    told = [f"3.13 or 3.14 is needed, this is {found} (", NAME_A_PYTHON]
    bare.make(commands, "book", fails=told)
    assert not (bare.folder / ".venv").exists()


def test_no_python_at_all(bare, commands):
    told = ["No Python found. Python 3.11", NAME_A_PYTHON]
    bare.make(commands, "book", fails=told)
    told = ["No Python found at /nowhere/python3"]
    bare.make(commands, "book", "PYTHON=/nowhere/python3", fails=told)


def test_python_without_its_venv_package(bare, commands):
    add_python(commands, "python3", lacks="ensurepip")
    told = ["cannot make environments", "apt-get install python3-venv"]
    bare.make(commands, "book", fails=told)


def test_the_syntax_is_that_of_an_old_python():
    ast.parse((ROOT / "tools" / "setup.py").read_text(), feature_version=(3, 6))


# --- what goes wrong, and what is said about it

NO_INDEX = "The package index cannot be reached"


@pytest.mark.parametrize("full", ["cache", "checkout/.venv"])
def test_the_disk_fills_up(bare, full):
    disk = bare.folder.parent / full
    disk.mkdir()
    small = 'mount -t tmpfs -o size=64k none "$1" && shift && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", small, "sh"]
    if not shutil.which("unshare") or bare.run(*command, disk, "true").returncode:
        pytest.skip("no disk can be mounted here")
    if full == "cache":
        bare.make_environment()
    result = bare.run(*command, disk, sys.executable, "tools/setup.py", "book")
    assert result.returncode == 1
    says(result, "The disk is full", "uv cache clean")


def test_a_small_disk_is_announced(monkeypatch, capsys):
    usage = shutil._ntuple_diskusage(10**12, 0, 10**8)
    monkeypatch.setattr(book_setup.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(book_setup, "run", lambda *command, **settings: None)
    monkeypatch.setattr(book_setup, "PYTHON", sys.executable)
    book_setup.install("all")
    assert "0.1 GB are free" in capsys.readouterr().out


@pytest.mark.parametrize("asks", ["pip", "uv"])
def test_no_network(checkout, index, asks):
    settings, server = index
    server.close()
    if asks == "pip":
        settings["PIP_FIND_LINKS"] = None
    told = [NO_INDEX, "needed once", "HTTPS_PROXY", "PIP_INDEX_URL"]
    checkout.set_up(fails=told, PIP_RETRIES="1", **settings)
    assert checkout.stamped() == set()


def test_no_proxy(checkout, index):
    settings, server = index
    proxy = "http://{}:{}".format(*server.getsockname())
    server.close()
    settings |= {"PIP_INDEX_URL": "http://index.invalid/simple", "PIP_PROXY": proxy}
    checkout.set_up(fails=[NO_INDEX], PIP_RETRIES="0", **settings)


@pytest.mark.slow
def test_the_index_hangs(checkout, index):
    hasty = {"PIP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "1"}
    checkout.set_up(fails=[NO_INDEX], **hasty, **index[0])


def test_the_index_is_out_of_date(checkout):
    checkout.write("locks/book.txt", f"tiny==3.0 --hash=sha256:{64 * '0'}\n")
    result = checkout.set_up(fails=["lacks a version that the book asks for"])
    assert "tiny==3.0" in result.stdout


@pytest.mark.parametrize("filename", ["locks/uv.txt", "locks/book.txt"])
def test_a_wheel_with_another_hash_is_refused(checkout, filename):
    right = (checkout.folder / filename).read_text()
    checkout.write(filename, right.split("sha256:")[0] + f"sha256:{64 * '0'}\n")
    checkout.set_up(fails=["is not the file that the book was tested with"])
    assert checkout.installed() is None
    assert checkout.stamped() == set()
    checkout.write(filename, right)
    checkout.set_up()
    assert checkout.installed() == "1.0"


@pytest.mark.parametrize("filename", ["locks/book.txt", "requirements-data.txt"])
def test_a_wheel_without_a_hash_is_refused(checkout, filename):
    checkout.write("locks/book.txt", "# nothing\n")
    checkout.write(filename, "tiny==1.0\n")
    result = checkout.set_up("all", fails=["Set-up stopped"])
    assert "hash" in result.stdout.lower()
    assert checkout.installed() is None
    assert checkout.stamped() == set()


# --- make


def test_make_without_a_target_explains_every_target(bare):
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    shown = bare.run("make").stdout
    assert set(phony[1].split()) - {"help"} == set(
        re.findall(r"^make (\w+)", shown, re.M)
    )


def test_the_book_is_built_anew_when_a_partial_build_would_hide_something(checkout):
    book = checkout.folder / ".venv" / "bin" / "jupyter-book"
    add_command(book, "mkdir -p _build && touch _build/page && exit $(cat status)")
    (checkout.folder / "book" / "_assets").mkdir(parents=True)
    style = "book/_assets/book.css"
    for name in ("_config.yml", "_toc.yml", style, "tools/book_extension.py"):
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
    for name in (style, "_config.yml", ".venv/installed.json"):
        later = time.time() + 1
        os.utime(checkout.folder / name, (later, later))
        assert not keeps_the_last_build(), name
        os.utime(checkout.folder / name, (0, 0))
    assert keeps_the_last_build()
    build(status=1)
    assert not keeps_the_last_build()
    assert keeps_the_last_build()


def test_tests_without_chromium_stop_before_anything_is_installed(bare, commands):
    add_python(commands, "python3")
    told = ["No Chromium found", "apt-get install chromium"]
    bare.make(commands, "test", fails=[*told, "CHROMIUM=/path/to/chromium"])
    assert not (bare.folder / ".venv").exists()


def test_the_bare_machine_gets_what_pip_cannot_install(bare, commands):
    shutil.copytree(ROOT / ".ci", bare.folder / ".ci")
    for name in ("bash", "dirname", "env"):
        (commands / name).symlink_to(shutil.which(name))
    log = commands / "log"
    does = {"apt-get": "exit", "make": "exit", "id": "echo 0", "dpkg": "exit 1"}
    for name, script in does.items():
        add_command(commands / name, f'echo {name} "$@" >> {log}\n{script}')
    result = bare.run(".ci/run", PATH=str(commands))
    assert result.returncode == 0, result.stderr
    said = log.read_text()
    update, install, test = re.findall("^(?:apt-get|make).*", said, re.M)
    assert update == "apt-get update"
    wanted = {"python3", "python3-venv", "chromium", "fonts-noto-cjk"}
    assert wanted <= set(install.split())
    assert test == "make test"

    add_python(commands, "python3.12", (3, 12, 1))
    log.unlink()
    assert bare.run(".ci/run", PATH=str(commands)).returncode == 0
    assert "python3" not in log.read_text()


# --- the pins themselves


def pins(*filenames):
    """Yield (canonical name, version, marker, hashes) of the requirements in these files."""
    for filename in filenames:
        text = (ROOT / filename).read_text().replace("\\\n", " ")
        for line in text.splitlines():
            line = re.sub(r"(^|\s)#.*", "", line).strip()
            if line and line[0] != "-":
                asked, *hashes = re.split(r"\s+--hash=sha256:", line)
                pin, _, marker = asked.partition(";")
                found = re.fullmatch(r"([\w.-]+)==([\w.]+)", pin.strip())
                yield canonicalize_name(found[1]), found[2], marker.strip(), hashes


LOCKED = [name for name in book_setup.ALL if name != "requirements.txt"]
ASKED = ["requirements-book.txt", "requirements.txt"]


@pytest.mark.parametrize("filename", LOCKED)
def test_every_pin_has_hashes_and_is_what_is_installed(filename):
    for name, version, marker, hashes in pins(filename):
        assert hashes, name
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes), name
        if not marker or Marker(marker).evaluate():
            assert importlib.metadata.version(name) == version


@pytest.mark.parametrize(
    ("files", "asks", "left_out"),
    [(book_setup.BOOK, ASKED[:1], set()), (LOCKED, ASKED, {"torch"})],
    ids=["book", "all"],
)
def test_the_locks_are_those_of_the_requirements(files, asks, left_out):
    locked = {(name, version) for name, version, *_ in pins(*files)}
    asked = {(name, version) for name, version, *_ in pins(*asks)}
    assert {name for name, _ in asked - locked} == left_out, "run `make lock`"
    names = [name for name, _ in locked]
    assert len(names) == len(set(names)), "one version of a package for all"
    assert not any(name.startswith(("nvidia-", "cuda-", "triton")) for name in names)


def test_the_locks_name_no_index():
    for filename in LOCKED:
        assert "://" not in (ROOT / filename).read_text(), filename


def test_every_pin_is_for_the_first_release_of_each_python():
    for name, _, marker, _ in pins(*LOCKED, "requirements.txt"):
        for python in ("3.11", "3.12", "3.13", "3.14"):
            here = {"python_version": python, "python_full_version": f"{python}.0"}
            if marker and not Marker(marker).evaluate(here):
                continue
            # Installed here, so it can be asked.
            if not marker or Marker(marker).evaluate():
                needs = importlib.metadata.metadata(name)["Requires-Python"] or ""
                assert SpecifierSet(needs).contains(f"{python}.0"), (name, python)


def test_every_direct_requirement_says_why():
    for filename in ASKED:
        for line in (ROOT / filename).read_text().splitlines():
            assert "==" not in line or re.search(r"  # \w", line), line


def test_the_package_is_built_by_the_pinned_setuptools():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (version,) = [v for name, v, *_ in pins("locks/book.txt") if name == "setuptools"]
    assert project["build-system"]["requires"] == [f"setuptools=={version}"]
