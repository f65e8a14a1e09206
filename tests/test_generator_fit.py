"""The generator under Keras' own training: backends, threads, processes and memory, each in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from demo_images import packaged
from PIL import Image as Pillow

pytestmark = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")

TRAINING = """
import json, sys
import keras
from patchcli.keras import PatchImageDataGenerator

def losses(root, workers, processes):
    keras.utils.set_random_seed(0)
    generator = PatchImageDataGenerator(
        patch_size=32, overlap=0.5, rotation_range=20, horizontal_flip=True, rescale=1 / 255, validation_split=0.5
    )
    options = {"seed": 1, "batch_size": 16, "workers": workers, "use_multiprocessing": processes}
    training, validation = (
        generator.flow_from_directory(root, subset=subset, **options) for subset in ("training", "validation")
    )
    layers = keras.layers
    model = keras.Sequential([
        layers.Input((32, 32, 3)), layers.Conv2D(4, 5), layers.GlobalAveragePooling2D(), layers.Dense(4, "softmax")
    ])
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", metrics=["accuracy"])
    epochs = []
    noting = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(training.epoch))
    history = model.fit(
        training, validation_data=validation, epochs=2, verbose=0, callbacks=[noting]
    ).history
    assert epochs == [0, 1], epochs
    assert training.epoch == 2, training.epoch
    scores = model.predict(validation, verbose=0)
    assert scores.shape == (validation.n, 4), scores.shape
    return [*history["loss"], *history["val_loss"]]

if __name__ == "__main__":
    ways = [(1, False), (2, False), (2, True)]
    print(json.dumps({str(way): losses(sys.argv[1], *way) for way in ways}))
"""

ENQUEUED = """
import hashlib, json, sys
import numpy as np
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from patchcli.keras import PatchImageDataGenerator

def digests(root, workers, processes):
    generator = PatchImageDataGenerator(
        patch_size=32, overlap=0.5, rotation_range=20, zoom_range=0.2, brightness_range=(0.5, 1.5)
    )
    flow = generator.flow_from_directory(
        root, seed=1, batch_size=16, cache="100kB", workers=workers, use_multiprocessing=processes, max_queue_size=3
    )
    adapter = PyDatasetAdapter(flow, shuffle=False)
    assert (adapter.enqueuer is not None) == (workers > 1 or processes and workers > 0)
    found = []
    for _ in range(2):
        adapter.on_epoch_begin()
        batches = adapter._get_iterator()
        for _ in range(len(flow)):
            said = b"".join(np.ascontiguousarray(part).tobytes() for part in next(batches))
            found.append(hashlib.sha256(said).hexdigest())
        adapter.on_epoch_end()
    return found

if __name__ == "__main__":
    ways = [(0, False), (2, False), (4, False), (1, True), (2, True), (4, True)]
    print(json.dumps({str(way): digests(sys.argv[1], *way) for way in ways}))
"""

MEMORY = """
import json, re, sys
from pathlib import Path
from patchcli.keras import PatchImageDataGenerator

def peak():
    # not ru_maxrss, which a process inherits from who starts it
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

if __name__ == "__main__":
    root, shuffle, cache = sys.argv[1], sys.argv[2] == "True", sys.argv[3]
    generator = PatchImageDataGenerator(patch_size=128, horizontal_flip=True)
    flow = generator.flow_from_directory(root, seed=1, shuffle=shuffle, batch_size=16, cache=cache)
    before, n = peak(), 0
    for k in range(len(flow)):
        n += len(flow[k][0])
    print(json.dumps({"grown": peak() - before, "n": n, "decoded": flow.n_decoded}))
"""


ONCE = """
import json, sys, warnings
import keras
from patchcli.keras import PatchImageDataGenerator

root, workers = sys.argv[1], int(sys.argv[2])
flow = PatchImageDataGenerator(patch_size=32, overlap=0.5).flow_from_directory(
    root, seed=1, batch_size=8, cache="120kB", workers=workers
)
model = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4, "softmax")])
model.compile("sgd", "categorical_crossentropy")
said = {"images": len(flow.images), "batches": len(flow)}
for fits in range(2):
    before = flow.n_decoded
    model.fit(flow, epochs=3, verbose=0)  # Keras shuffles by default
    said[f"fit {fits}"] = flow.n_decoded - before
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(flow, epochs=1, steps_per_epoch=2, verbose=0)
said["warned"] = [str(one.message) for one in caught if "steps_per_epoch is 2" in str(one.message)]
print(json.dumps(said))
"""


def told(script: str, folder: Path, *arguments: object, backend: str, seconds: float = 240) -> Any:
    """What a script prints, as JSON; it must end well and leave nothing behind."""
    path, rest = folder / "script.py", folder / "rest"
    path.write_text(script)
    rest.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, path, *map(str, arguments)],
        env=os.environ
        | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "TMPDIR": str(rest)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert not [path for path in rest.iterdir() if path.name.startswith("patchcli")]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_models_learn_the_same_whatever_the_workers(root: Path, tmp_path: Path, backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: Keras cannot train with it")
    found = told(TRAINING, tmp_path, root, backend=backend)
    expected = found.pop("(1, False)")
    assert expected[1] < expected[0]  # it learns
    assert len(found) == 2
    for way, losses in found.items():
        assert losses == pytest.approx(expected, rel=1e-4), way


@pytest.mark.parametrize("workers", [1, 2])
def test_fit_decodes_each_image_once_an_epoch(root: Path, tmp_path: Path, workers: int) -> None:
    """Though Keras would shuffle the batches: the flow has shuffled them, and most images do not fit the cache."""
    said = told(ONCE, tmp_path, root, workers, backend="jax")
    assert said["images"] >= 8
    assert said["batches"] > 12
    # the first fit looks at a batch before it begins; threads ask for two batches at once, and meet an image twice
    most = said["images"] * (3 if workers == 1 else 4)
    assert said["images"] < said["fit 1"] <= most  # some stay from one epoch to the next
    assert said["images"] < said["fit 0"] <= most + 10
    assert len(said["warned"]) == 1


def test_processes_of_keras_get_the_same_batches(root: Path, tmp_path: Path) -> None:
    found = told(ENQUEUED, tmp_path, root, backend="numpy")
    expected = found.pop("(0, False)")
    assert len(set(expected)) == len(expected) > 20
    assert len(found) == 5
    for way, digests in found.items():
        assert digests == expected, way


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of 2048 px, 12.6 MB of pixels each: 151 MB together."""
    root = tmp_path_factory.mktemp("large") / "data"
    with Pillow.open(packaged("ihc.png")) as image:
        whole = image.convert("RGB").resize((2048, 2048))
    for number in range(12):
        (root / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        whole.rotate(90 * number).save(root / f"{number % 2}" / f"{number}.jpg", quality=60 + number)
    return root


@pytest.mark.parametrize("shuffle", [False, True])
def test_memory_is_bounded_by_the_cache(large: Path, tmp_path: Path, shuffle: bool) -> None:
    found = told(MEMORY, tmp_path, large, shuffle, "16MB", backend="numpy")
    assert (found["n"], found["decoded"]) == (12 * 16**2, 12)
    # the cache, an image that is decoded at the time with what that takes, and the batches: not all of 151 MB
    assert found["grown"] < 80e6
    # a check that it can fail: held altogether they need what they are
    found = told(MEMORY, tmp_path, large, shuffle, "1GB", backend="numpy")
    assert found["grown"] > 140e6
