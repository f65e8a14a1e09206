"""The command line: options and where they come from, exit codes, messages, what is printed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from photos import crops

import patchcli
from patchcli.cli import main


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crops(tmp_path_factory.mktemp("photos") / "data", per_class=3)


def invoke(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], env=env, prog_name="patchcli")


def extract(tree: Path, out: Path, *more: object, env: dict[str, str] | None = None) -> Result:
    return invoke("extract", tree, out, "--executor", "serial", *more, env=env)


def settings(out: Path) -> dict[str, Any]:
    return patchcli.open(out).settings


def test_extract_says_what_it_made(tree: Path, tmp_path: Path) -> None:
    done = extract(tree, tmp_path / "out.h5", "--patch", 64, "--overlap", 0.5)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    n = len(patchcli.open(tmp_path / "out.h5"))
    assert f"{n:,} patches of 64x64 px, RGB" in done.stdout
    for word in ("brick", "retina", "4 classes", "1 shard", "bytes", "never covered", "left out", "patches/s"):
        assert word in done.stdout
    again = extract(tree, tmp_path / "out.h5", "--patch", 64, "--overlap", 0.5)
    assert again.exit_code == 0
    assert "already done" in again.stdout


def test_json_has_the_same_facts(tree: Path, tmp_path: Path) -> None:
    (tree / "brick/.hidden.jpg").touch()
    done = extract(tree, tmp_path / "out.h5", "--patch", 150, "--json")
    (tree / "brick/.hidden.jpg").unlink()
    facts = json.loads(done.stdout)
    assert facts["patches"] == len(patchcli.open(tmp_path / "out.h5")) == sum(c["patches"] for c in facts["classes"])
    assert facts["bytes"] == (tmp_path / "out.h5").stat().st_size
    assert facts["left_out"] == [
        {"kind": "ignored", "reason": "hidden file", "files": 1, "examples": ["brick/.hidden.jpg"]}
    ]
    assert facts["pixels_uncovered"] > 0
    assert facts["state"] == "made"


def test_switches_come_from_the_environment_and_files_too(tree: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[inspect]\njson = true\n[extract]\npatch = 64\n")
    env = {"PATCHCLI_EXTRACT_JSON": "1", "PATCHCLI_EXTRACT_CONFIG": str(config)}
    facts = json.loads(extract(tree, tmp_path / "out.h5", env=env).stdout)
    assert facts["patch_shape"] == [64, 64, 3]
    for done in (
        invoke("inspect", tmp_path / "out.h5", "--config", config),
        invoke("inspect", tmp_path / "out.h5", env={"PATCHCLI_INSPECT_JSON": "1"}),
    ):
        assert json.loads(done.stdout)["patches"] == facts["patches"]
    assert "Traceback" in extract(tree, tmp_path, env={"PATCHCLI_EXTRACT_DEBUG": "1"}).stderr


@pytest.mark.parametrize("arguments", [(), ("extract",), ("inspect",)])
def test_help_shows_each_example_on_its_own_line(arguments: tuple[str, ...]) -> None:
    lines = invoke(*arguments, "--help").stdout.splitlines()
    assert not any("\\b" in line or "\b" in line for line in lines)
    examples = [line for line in lines if line.startswith("  patchcli ")]
    assert len(examples) >= 2
    assert all(line.count("patchcli ") == 1 for line in examples)


def test_class_names_stay_on_their_line(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree / "brick", tmp_path / "data" / "new\nline")
    assert "new\\x0aline" in extract(tmp_path / "data", tmp_path / "out.h5").stdout


def test_dry_run(tree: Path, tmp_path: Path) -> None:
    done = extract(tree, tmp_path / "out.h5", "--patch", 64, "--dry-run")
    assert done.exit_code == 0
    assert "nothing written" in done.stdout
    assert "a worker" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_values_come_from_file_environment_and_command_line_in_that_order(tree: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('patch = 50\noverlap = 0.2\nedge = "shift"\n')
    out = tmp_path / "out.h5"
    assert extract(tree, out, "--config", config).exit_code == 0
    assert settings(out)["patch_size"] == [50, 50]
    assert settings(out)["stride"] == [40, 40]
    assert settings(out)["edge"] == "shift"
    env = {"PATCHCLI_EXTRACT_PATCH": "60"}
    assert extract(tree, out, "--config", config, "--overwrite", env=env).exit_code == 0
    assert settings(out)["patch_size"] == [60, 60]
    assert extract(tree, out, "--config", config, "--overwrite", "--patch", "70", env=env).exit_code == 0
    assert settings(out)["patch_size"] == [70, 70]
    assert settings(out)["edge"] == "shift"


def test_a_stronger_stride_beats_a_weaker_overlap(tree: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[extract]\noverlap = 0.5\n")
    out = tmp_path / "out.h5"
    assert extract(tree, out, "--config", config, "--stride", "40x30").exit_code == 0
    assert settings(out)["stride"] == [40, 30]
    both = extract(tree, out, "--overlap", "0.5", "--stride", "32")
    assert both.exit_code == 2
    assert "--overlap and --stride" in both.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("pach = 64", "pach is not an option of extract; did you mean patch?"),
        ("patch = = 3", "not TOML"),
        ("patch = {a = 1}", "patch is a mapping: expected text, a number or a list"),
        ("help = true", "help is not an option of extract in a file: say it on the command line"),
        ("version = true", "version is not an option of extract in a file"),
        ("seed = [2]", "seed is a list: expected text or a number"),
        ("classes = [true]", "classes is a list: expected text, a number or a list"),
        ("classes = []", "classes is empty: expected a value"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tree: Path, tmp_path: Path, content: str, expected: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text(content)
    done = extract(tree, tmp_path / "out.h5", "--config", config)
    assert done.exit_code == 2
    assert expected in done.stderr
    assert "c.toml" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--overlap", "1"], "could be 1 px or the whole patch"),
        (["--overlap", "-0.5"], "expected 0 or more"),
        (["--overlap", "64"], "less than the patch"),
        (["--patch", "0"], "patch"),
        (["--patch", "sixty"], "expected a whole number"),
        (["--patch", "1000"], "larger than every image"),
        (["--edge", "wrap"], "--edge"),
        (["--classes", "brik"], "did you mean brick?"),
        (["--background", "nocolour"], "background"),
        (["--shard-size", "0"], "shard_size"),
        (["--workers", "0"], "--workers"),
        (["--pad-value", "300", "--edge", "pad"], "pad_value"),
    ],
)
def test_usage_errors_end_with_2(tree: Path, tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = extract(tree, tmp_path / "out.h5", *arguments)
    assert done.exit_code == 2, done.output
    assert expected in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_value_is_blamed_on_the_place_where_it_was_said(tree: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("workers = 0\n")
    out = tmp_path / "out.h5"
    for more, env, said in (
        (["--config", config], {}, f"workers in {config}"),
        ([], {"PATCHCLI_EXTRACT_CONFIG": str(config)}, f"workers in {config}"),
        ([], {"PATCHCLI_EXTRACT_WORKERS": "0"}, "PATCHCLI_EXTRACT_WORKERS"),
        (["-j", "0"], {}, "'--workers' / '-j'"),
    ):
        done = extract(tree, out, *more, env=env)
        assert done.exit_code == 2
        assert f"Invalid value for {said}: 0 is not in the range" in done.stderr
    (tmp_path / "c.yaml").write_text("copies: -1\n")
    for more, env, said in (
        (["--config", tmp_path / "c.yaml"], {}, f"copies in {tmp_path / 'c.yaml'}"),
        ([], {"PATCHCLI_AUGMENT_COPIES": "-1"}, "PATCHCLI_AUGMENT_COPIES"),
    ):
        done = invoke("augment", config, out, *more, env=env)
        assert done.exit_code == 2
        assert f"Invalid value for {said}: " in done.stderr


def test_exit_codes_of_conflict_and_unreadable(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert extract(tree, out, "--patch", 64).exit_code == 0
    conflict = extract(tree, out, "--patch", 128)
    assert conflict.exit_code == 1
    assert "patch_size: 64 -> 128" in conflict.stderr
    (tree / "brick/bad.jpg").write_text("<!DOCTYPE html><html>")
    try:
        bad = extract(tree, tmp_path / "bad.h5", "--patch", 64)
        assert bad.exit_code == 3
        assert "brick/bad.jpg: an HTML page" in bad.stderr
        assert extract(tree, tmp_path / "bad.h5", "--patch", 64, "--on-error", "skip").exit_code == 0
    finally:
        (tree / "brick/bad.jpg").unlink()


def test_a_traceback_is_shown_on_demand_only(tree: Path, tmp_path: Path) -> None:
    for more in ([], ["--debug"]):
        done = command("extract", tree, tmp_path / "out.h5", "--patch", 1000, *more)
        assert done.returncode == 2
        assert ("Traceback" in done.stderr) is bool(more)


def test_underscores_and_aliases(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert extract(tree, out, "--patch_size", "64", "--on_error", "skip").exit_code == 0
    assert settings(out)["patch_size"] == [64, 64]


def test_classes_in_the_order_asked_for(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert extract(tree, out, "--classes", "retina,brick").exit_code == 0
    ps = patchcli.open(out)
    assert ps.classes == ("retina", "brick")
    assert {one.path for one in ps.skipped} == {b"grass/", b"ihc/"}


def test_inspect(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    extract(tree, out, "--patch", 64, "--shard-size", "300kB")
    done = invoke("inspect", out)
    assert done.exit_code == 0, done.output
    n = len(patchcli.open(out))
    assert f"{n:,} patches of 64x64 px, RGB, uint8" in done.stdout
    facts = json.loads(invoke("inspect", out, "--json").stdout)
    assert facts["patches"] == n
    assert [c["name"] for c in facts["classes"]] == ["brick", "grass", "ihc", "retina"]
    assert facts["settings"]["patch_size"] == [64, 64]
    files = [out, *out.with_suffix(".shards").iterdir()]
    assert facts["bytes"] == sum(path.stat().st_size for path in files)
    assert len(facts["shards"]) == len(files) - 1
    made = json.loads(extract(tree, out, "--patch", 64, "--shard-size", "300kB", "--json").stdout)
    for found, one in zip(facts["classes"], made["classes"], strict=True):
        assert {key: found[key] for key in one} == one
    for key in ("patches", "images", "pixels", "pixels_uncovered", "pixels_padded", "plan_id"):
        assert facts[key] == made[key]
    shard = min(out.with_suffix(".shards").iterdir())
    assert "one shard of a larger set" in invoke("inspect", shard).stdout
    shard.unlink()
    missing = invoke("inspect", out)
    assert missing.exit_code == 1
    assert shard.name in missing.stdout
    assert "rebuilds them" in missing.stderr


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x89HDF\r\n\x1a\n"])
def test_inspect_refuses_what_is_not_ours(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.h5"
    if content is not None:
        path.write_bytes(content)
    done = invoke("inspect", path)
    assert done.exit_code == 1
    assert "x.h5" in done.stderr
    assert "Traceback" not in done.output


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "patchcli", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_as_a_real_process(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    done = command("extract", tree, out, "--patch", 64, "--overlap", 0.5)
    assert (done.returncode, done.stderr) == (0, "")
    assert "patches" in done.stdout
    assert command("inspect", out).returncode == 0
    assert command("extract", tree, out, "--patch", 32).returncode == 1
    assert command("extract", tree, out, "--nonsense").returncode == 2
    for one in ([], ["extract"], ["inspect"]):
        assert command(*one, "--version").stdout.strip() == f"patchcli, version {patchcli.__version__}"


def test_every_option_has_a_default_that_can_be_read() -> None:
    options = invoke("extract", "--help").stdout.partition("Options:\n")[2]
    for entry in re.split(r"\n(?=  -)", options):
        assert "[default: " in " ".join(entry.split()) or entry.split()[0] in ("--version", "-h,"), entry


def test_a_reader_that_goes_away_is_no_error(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    extract(tree, out, "--patch", 64)
    line = f"{sys.executable} -m patchcli inspect {out} --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_under_standard_output(tree: Path, tmp_path: Path, more: list[str]) -> None:
    out = tmp_path / "out.h5"
    extracted: list[object] = ["extract", tree, out, "--patch", 64, "--executor", "serial"]
    for arguments in (extracted, ["inspect", out]):
        with open("/dev/full", "w") as full:
            called = [sys.executable, "-m", "patchcli", *map(str, arguments), *more]
            done = subprocess.run(called, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: standard output cannot be written: No space left on device; the work")
        assert len(done.stderr.splitlines()) == 1
    assert len(patchcli.open(out)) > 0


@pytest.mark.parametrize("columns", [0, 80])
def test_a_terminal_without_a_width_gets_lines(tree: Path, tmp_path: Path, columns: int) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    code = "from patchcli.cli.progress import Meter; print(Meter('auto').style)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert done.stdout.strip() == ("bar" if columns else "log")


def test_a_fifo_does_not_hang(tree: Path, tmp_path: Path) -> None:
    data = tmp_path / "data/a"
    data.mkdir(parents=True)
    os.mkfifo(data / "pipe.png")
    (data / "folder.png").mkdir()
    (data / "0.jpg").write_bytes((tree / "brick/0.jpg").read_bytes())
    done = command("extract", tmp_path / "data", tmp_path / "out.h5", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["left_out"] == [
        {"kind": "ignored", "reason": "not a regular file", "files": 1, "examples": ["a/pipe.png"]}
    ]


def test_log_lines_are_plain_and_on_stderr(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchcli.cli.progress._LINE_SECONDS", 0.0)
    done = extract(tree, tmp_path / "out.h5", "--progress", "log")
    lines = done.stderr.splitlines()
    assert any(line.startswith("scanned ") for line in lines)
    assert any(re.fullmatch(r"cut \d+ of \d+ patches \(\d+%\), [\d,]+ patches/s, .+ left", line) for line in lines)
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr


def test_the_bar_is_shown_on_demand(tree: Path, tmp_path: Path) -> None:
    done = extract(tree, tmp_path / "out.h5", "--progress", "bar")
    assert "cut" in done.stderr
    assert extract(tree, tmp_path / "none.h5", "--progress", "none").stderr == ""


@pytest.mark.slow
def test_help_starts_fast() -> None:
    def fastest(*arguments: str) -> float:
        seconds = []
        for _ in range(9):
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    assert fastest("-m", "patchcli", "--help") < 2.5 * fastest("-c", "import click")


def test_a_script_needs_no_guard(tree: Path, tmp_path: Path) -> None:
    """Worker processes do not run the user's script again."""
    script = tmp_path / "mine.py"
    script.write_text(
        "import patchcli\n"
        "print('once')\n"
        f"summary = patchcli.extract({str(tree)!r}, {str(tmp_path / 'out.h5')!r}, patch=64, shard_size='200kB')\n"
        "print(summary.shards > 1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("once\nTrue\n", "")


def test_pytables_and_h5dump_read_the_files(tree: Path, tmp_path: Path) -> None:
    import tables

    out = tmp_path / "out.h5"
    extract(tree, out, "--patch", 64, "--overlap", 0.5)
    ps = patchcli.open(out)
    with tables.open_file(str(out)) as file:
        assert (file.root.patches[3:6] == ps[3:6]).all()
        assert (file.root.coords[:] == ps.coords).all()
        assert file.root.sources.path[:].tolist() == list(ps.sources.path)
    if shutil.which("h5dump"):
        shown = subprocess.run(["h5dump", "-d", "/coords", out], capture_output=True, text=True, check=True).stdout
        assert f"SIMPLE{{({len(ps)},2)/({len(ps)},2)}}" in "".join(shown.split())
