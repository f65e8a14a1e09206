"""What holds for the project as a whole: size of its files, one version, documented commands, cheap imports."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import patchcli

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.dirname(sys.executable)
COMMANDS = ("extract", "augment", "inspect")
HEAVY = ("h5py", "albumentations", "cv2", "torch", "keras", "tensorflow", "jax", "dask", "PIL", "numpy")


def sources(*places: str) -> Iterator[str]:
    """Text files of the project, relative to its root."""
    for place in places:
        path = os.path.join(ROOT, place)
        if os.path.isfile(path):
            yield place
        for folder, folders, names in os.walk(path):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (os.path.relpath(os.path.join(folder, name), ROOT) for name in names)


def text(name: str) -> str:
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def output(*command: str) -> str:
    """What a command prints, run in the project's root and without the settings of a make that may be running us."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_a_file_has_one_job() -> None:
    lengths = {name: text(name).count("\n") for name in sources("patchcli") if name.endswith(".py")}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_no_path_of_somebodys_machine() -> None:
    places = [rf"/{top}/\w" for top in ("home", "root", "Users", "work")]
    names = sources("patchcli", "tests", "configs", ".ci", "Makefile", "README.md", "CHANGELOG.md", "pyproject.toml")
    assert [name for name in names if re.search(rf"(?<![\w.~])(?:{'|'.join(places)})", text(name))] == []


def test_the_version_stands_in_one_place() -> None:
    number = re.escape(patchcli.__version__)
    quoted = [name for name in sources("patchcli", "pyproject.toml") if re.search(rf"[\"']{number}[\"']", text(name))]
    assert quoted == [os.path.join("patchcli", "__init__.py")]
    assert re.search(rf"\b{number}\b", text("CHANGELOG.md"))
    assert patchcli.__version__ in output(os.path.join(BIN, "patchcli"), "--version")


def test_every_command_is_documented() -> None:
    listed = output(os.path.join(BIN, "patchcli"), "--help").partition("Commands:")[2]
    assert tuple(re.findall(r"^  (\w+)", listed, re.MULTILINE)) == COMMANDS
    for command in COMMANDS:
        assert f"patchcli {command}" in text("CHANGELOG.md")


def test_the_readme_names_the_commands_and_targets_that_exist() -> None:
    assert [command for command in COMMANDS if f"patchcli {command}" not in text("README.md")] == []
    shown = re.findall(r"^(?:    |\$ )+(patchcli|make) ([a-z][a-z-]*)", text("README.md"), re.MULTILINE)
    assert {word for program, word in shown if program == "patchcli"} <= set(COMMANDS)
    assert {word for program, word in shown if program == "make"} <= set(targets())


def targets() -> list[str]:
    match = re.search(r"^\.PHONY: (.*)$", text("Makefile"), re.MULTILINE)
    assert match
    return match[1].split()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_every_target_with_a_line_each() -> None:
    lines = output("make").splitlines()
    assert [line.split()[:2] for line in lines] == [["make", target] for target in targets()]
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize(
    "code",
    [
        "import patchcli",
        "import patchcli; patchcli.__version__, dir(patchcli)",
        "from patchcli.cli import main; main(['--help'], standalone_mode=False)",
        "from patchcli.cli import main; main(['extract', '--help'], standalone_mode=False)",
        "from patchcli.cli import main; main(['augment', '--help'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code: str) -> None:
    report = f"import sys; print('imported:', [name for name in {HEAVY} if name in sys.modules])"
    assert output(sys.executable, "-c", f"{code}\n{report}").endswith("imported: []\n")


def test_no_module_takes_the_name_of_something_public() -> None:
    """Importing a module sets its name in the package: a function of that name would be gone."""
    modules = {name.partition(".")[0] for name in os.listdir(os.path.join(ROOT, "patchcli"))}
    assert modules & set(patchcli.__all__) == set()


@pytest.mark.skipif(importlib.util.find_spec("importlinter") is None, reason="import-linter is not installed")
def test_imports_go_down_only() -> None:
    assert "0 broken" in output(os.path.join(BIN, "lint-imports"), "--no-cache")
