"""What the README shows is what the program prints; every option it names is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from demo_images import arrange

COMMANDS = ("extract", "augment", "inspect")
FRAMEWORK = re.compile(r"import patchcli\.(keras|torch|tensorflow)")
README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def patchcli(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line of the README; the program is called by module, whatever PATH holds."""
    words = shlex.split(line)
    assert words[0] == "patchcli"
    return subprocess.run(
        [sys.executable, "-m", "patchcli", *words[1:]], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    arrange(str(tmp_path / "demo"), "medical")
    (tmp_path / "configs").symlink_to(README.parent / "configs")
    return tmp_path


def without_time(text: str) -> str:
    text = re.sub(r"^  time .*$", "  time", text, flags=re.MULTILINE)
    return re.sub(r" read in .*$", " read", text, flags=re.MULTILINE).strip()


def test_what_is_shown_is_real(here: Path) -> None:
    shown = blocks("console")
    assert len(shown) == 3
    for block in shown:
        command, _, output = block.partition("\n")
        done = patchcli(command.removeprefix("$ "), here)
        assert done.returncode == 0, done.stderr
        assert without_time(done.stdout) == without_time(output)


def test_the_pipeline_example_runs(here: Path) -> None:
    assert patchcli(blocks("console")[0].partition("\n")[0].removeprefix("$ "), here).returncode == 0
    (here / "aug.yaml").write_text(blocks("yaml")[0])
    done = patchcli("patchcli augment demo/medical.h5 out.h5 --config aug.yaml --copies 1", here)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_python_example_runs(here: Path) -> None:
    for block in blocks("console")[:2]:
        assert patchcli(block.partition("\n")[0].removeprefix("$ "), here).returncode == 0
    plain = [block for block in blocks("python") if not FRAMEWORK.search(block)]
    assert len(plain) == 3
    example = "\n".join(plain) + "\nassert ps[[5, 2, 2]].shape == (3, 128, 128, 3)\n"
    done = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=here, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


MODEL = """
import keras
model = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
model.compile("adam", "mse")
"""
CHECKS = {
    "keras": (MODEL, "assert [part.shape for part in train[0]] == [(32, 64, 64, 1), (32, 3)]; assert train.epoch == 3"),
    "torch": ("", "assert tuple(x.shape[1:]) == (3, 128, 128) and str(x.dtype) == 'torch.uint8'; assert ds.epoch == 1"),
}


@pytest.mark.parametrize("framework", CHECKS)
def test_the_training_examples_run(here: Path, framework: str) -> None:
    pytest.importorskip({"keras": "jax"}.get(framework, framework), reason=f"{framework} cannot be run here")
    arrange(str(here / "demo"), "textures")
    assert patchcli(blocks("console")[0].partition("\n")[0].removeprefix("$ "), here).returncode == 0
    (block,) = (block for block in blocks("python") if f"import patchcli.{framework}" in block)
    before, after = CHECKS[framework]
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{block}\n{after}"],
        cwd=here,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_left_to_be_filled_in() -> None:
    assert "@@" not in README.read_text(encoding="utf-8")


def test_every_command_runs(here: Path) -> None:
    (here / "data").symlink_to(here / "demo/medical")
    lines = re.findall(r"^    (patchcli .*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        again = "" if line.startswith("patchcli inspect") or "--preview" in line else " --overwrite"
        done = patchcli(line + again, here)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_every_option_that_is_named_exists(here: Path) -> None:
    helps = "".join(patchcli(f"patchcli {command} --help", here).stdout for command in COMMANDS)
    own = {"--cpus-per-task", "--requeue", "--signal"}  # SLURM's
    for option in set(re.findall(r"--[a-z][a-z-]+", README.read_text(encoding="utf-8"))) - own:
        assert option in helps, option


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_tested(command: str) -> None:
    """An option that no test names is an option that nobody has tried."""
    helps = subprocess.run(
        [sys.executable, "-m", "patchcli", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    written = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for option in set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", helps, re.MULTILINE)):
        name = option.removeprefix("--").replace("-", "_")
        assert option in written or re.search(rf"\b{name}(=|['\"]:)", written), option
