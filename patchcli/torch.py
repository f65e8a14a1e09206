"""Training with torch: data sets, samplers and class weights over what `patchcli extract` and `augment` wrote.

from torch.utils.data import DataLoader

ds = patchcli.torch.PatchDataset("out.h5", split="train", augment={"horizontal_flip": True})
loader = DataLoader(ds, batch_size=64, sampler=patchcli.torch.ShuffleWindow(ds), num_workers=2)
for x, y in loader:  # uint8 (64, C, H, W), int64 (64,)
    ...
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401 - asked for by name, so that what is missing is said in our words
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"patchcli.torch needs torch ({error}): pip install 'patchcli[torch]'") from None

from patchcli.readers.torch.dataset import PatchDataset
from patchcli.readers.torch.iterable import PatchIterable
from patchcli.readers.torch.samplers import ShuffleWindow, WeightedSampler, class_weights

__all__ = ["PatchDataset", "PatchIterable", "ShuffleWindow", "WeightedSampler", "class_weights"]
