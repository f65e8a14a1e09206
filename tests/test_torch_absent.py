"""Who does not use torch does not pay for it, and who lacks it is told what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter, from a place that holds nothing."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments], capture_output=True, text=True, timeout=120, cwd="/"
    )


def test_reading_and_augmenting_import_no_framework(cut: Path) -> None:
    done = python(
        "import sys, patchcli\n"
        "ps = patchcli.open(sys.argv[1])\n"
        "ps[0], ps.class_weight(), dir(patchcli)\n"
        "patchcli.Augmented(sys.argv[1], horizontal_flip=True).copy(0, 1)\n"
        "print(sorted({'torch', 'keras', 'tensorflow', 'jax'} & sys.modules.keys()))",
        str(cut),
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    "way", ["import patchcli.torch", "import patchcli; patchcli.torch", "from patchcli import torch"]
)
def test_without_torch_it_says_what_to_install(way: str) -> None:
    done = python(f"import sys; sys.modules['torch'] = None; {way}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: patchcli.torch needs torch (")
    assert last.endswith("): pip install 'patchcli[torch]'")


def test_torch_is_reached_by_name_alone() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    done = python(
        "import sys, patchcli\n"
        "assert 'torch' in dir(patchcli) and 'torch' not in sys.modules\n"
        "assert patchcli.torch.__name__ == 'patchcli.torch'\n"
        "assert set(patchcli.torch.__all__) <= set(dir(patchcli.torch))\n"
        "import torch\n"
        "print(torch.__name__)"
    )
    assert (done.stdout, done.stderr) == ("torch\n", "")
