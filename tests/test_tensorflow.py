"""A data set as tf.data: the batches of PatchSequence, with a signature, epoch after epoch. In a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ABSENT = importlib.util.find_spec("tensorflow") is None

SCRIPT = """
import json, sys
import keras
import numpy as np
import tensorflow as tf
import patchcli, patchcli.keras, patchcli.tensorflow

path, splits = sys.argv[1:]
augment = {"rotation_range": 20, "horizontal_flip": True}
said = {}

ds = patchcli.tensorflow.dataset(path, 24, seed=3, augment=augment)
same = patchcli.keras.PatchSequence(path, 24, seed=3, augment=augment)
x, y = ds.element_spec
said["spec"] = [x.shape.as_list(), x.dtype.name, y.shape.as_list(), y.dtype.name, int(ds.cardinality())]
for epoch in range(3):
    passed = [(x.numpy(), y.numpy()) for x, y in ds]
    said[f"pass {epoch}"] = [
        len(passed) == len(same)
        and all(
            np.array_equal(x, same.batch(epoch, k)[0]) and np.array_equal(y, same.batch(epoch, k)[1])
            for k, (x, y) in enumerate(passed)
        )
    ]
ds = patchcli.tensorflow.dataset(path, 24, seed=3, augment=augment, epoch=2)
said["later"] = all(np.array_equal(x.numpy(), same.batch(2, k)[0]) for k, (x, _) in enumerate(ds))

others = dict(class_mode="categorical", data_format="channels_first", dtype="float32", drop_last=True, shuffle=False)
ds = patchcli.tensorflow.dataset(splits, 7, split="val", **others)
x, y = ds.element_spec
said["other spec"] = [x.shape.as_list(), x.dtype.name, y.shape.as_list(), y.dtype.name]
val = patchcli.open(splits).subset(split="val")
x, y = next(iter(ds))
said["other"] = [
    np.array_equal(x.numpy(), val[:7].transpose(0, 3, 1, 2)), y.numpy().argmax(1).tolist() == val.labels[:7].tolist()
]
for name, mode in (("none", None), ("input", "input"), ("binary", "sparse")):
    batch = next(iter(patchcli.tensorflow.dataset(path, 5, class_mode=mode)))
    said[name] = [part.shape.as_list() for part in (batch if isinstance(batch, tuple) else (batch,))]

layers = keras.layers
model = keras.Sequential([layers.Rescaling(1 / 255), layers.GlobalAveragePooling2D(), layers.Dense(4)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
losses = model.fit(patchcli.tensorflow.dataset(path, 16, augment=augment), epochs=6, verbose=0).history["loss"]
said["learns"] = losses[-1] < losses[0]
halves = [sum(1 for _ in patchcli.tensorflow.dataset(path, 16).shard(2, rank)) for rank in range(2)]
said["sharded"] = sum(halves)
try:
    patchcli.tensorflow.dataset(path, class_mode="many")
except ValueError as error:
    said["refused"] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(cut: Path, cut_splits: Path) -> Any:
    if ABSENT:
        pytest.skip("tensorflow is not installed: `make frameworks` does so")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, cut, cut_splits],
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_signature_and_a_length_are_there(said: Any) -> None:
    assert said["spec"] == [[None, 32, 32, 3], "uint8", [None], "int64", 4]
    assert said["other spec"] == [[7, 3, 32, 32], "float32", [7, 4], "float32"]


@pytest.mark.parametrize("epoch", range(3))
def test_each_pass_is_the_next_epoch_of_a_patch_sequence(said: Any, epoch: int) -> None:
    assert said[f"pass {epoch}"] == [True]


def test_a_pass_may_begin_with_any_epoch(said: Any) -> None:
    assert said["later"] is True


def test_splits_formats_and_class_modes(said: Any) -> None:
    assert said["other"] == [True, True]
    assert said["none"] == [[5, 32, 32, 3]]
    assert said["input"] == [[5, 32, 32, 3], [5, 32, 32, 3]]
    assert said["binary"] == [[5, 32, 32, 3], [5]]


def test_keras_learns_from_it_and_it_can_be_sharded(said: Any) -> None:
    assert said["learns"] is True
    assert said["sharded"] == 5


def test_what_cannot_be_is_said(said: Any) -> None:
    assert "class_mode is 'many': expected one of 'categorical'" in said["refused"]


def test_without_tensorflow_it_says_what_is_missing() -> None:
    script = "import sys; sys.modules['tensorflow'] = None; import patchcli; patchcli.tensorflow"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"KERAS_BACKEND": "numpy"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "patchcli.tensorflow needs TensorFlow" in done.stderr
    assert "pip install 'patchcli[tensorflow]'" in done.stderr
