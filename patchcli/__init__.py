"""patchcli: folders of class-labelled images to training patches.

    import patchcli

    patchcli.extract("data/", "out.h5", patch=64, overlap=0.5)
    patchcli.augment("out.h5", "more.h5", rotation_range=20, horizontal_flip=True, copies=4)
    patchcli.verify("out.h5").ok
    ps = patchcli.open("out.h5")
    ps[0], ps.labels[0], ps.classes

Everything is imported when it is first used: `import patchcli` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Augmented", "PatchSet", "__version__", "augment", "extract", "inspect", "open", "verify"]

if TYPE_CHECKING:
    from patchcli.readers.arrays import PatchSet, open
    from patchcli.readers.augmented import Augmented
    from patchcli.report.summary import inspect
    from patchcli.run.augment import augment
    from patchcli.run.extract import extract
    from patchcli.run.verify import verify

_PLACES = {
    "Augmented": "patchcli.readers.augmented",
    "PatchSet": "patchcli.readers.arrays",
    "open": "patchcli.readers.arrays",
    "augment": "patchcli.run.augment",
    "extract": "patchcli.run.extract",
    "inspect": "patchcli.report.summary",
    "verify": "patchcli.run.verify",
}


_FRAMEWORKS = ("keras", "tensorflow", "torch")
"""Modules that need a framework, imported when they are named: `patchcli.torch.PatchDataset`."""


def __getattr__(name: str) -> Any:
    if name in _FRAMEWORKS:
        return importlib.import_module(f"patchcli.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'patchcli' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_FRAMEWORKS])
