"""The small tables of a file: what each row of `/patches` is, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from patchcli.io import h5, layout
from patchcli.io.shard import coords_attributes
from patchcli.plan import portion_grid
from patchcli.records import Image, Portion, Recipe, Skipped
from patchcli.specs import ExtractSpec
from patchcli.stats import Moments


@dataclass(frozen=True)
class ShardRows:
    """Where the rows of a shard come from; `digest` and `sha256` are filled as its images are read.

    Attributes
    ----------
    coords : int32 (n, 2)
    source : int32 (n,)
        Row of `images`.
    digest : uint64 (n,)
    """

    images: tuple[Image, ...]
    coords: npt.NDArray[np.int32]
    source: npt.NDArray[np.int32]
    digest: npt.NDArray[np.uint64]
    sha256: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.source)

    @classmethod
    def of(cls, portions: Sequence[Portion], spec: ExtractSpec) -> ShardRows:
        """From the portions of a shard: all known before a pixel is read."""
        coords = []
        for portion in portions:
            grid = portion_grid(portion, spec)
            coords.append(grid.coords[portion.start * grid.x.n : portion.stop * grid.x.n])
        counts = [len(some) for some in coords]
        return cls(
            tuple(portion.image for portion in portions),
            np.concatenate(coords) if coords else np.empty((0, 2), np.int32),
            np.repeat(np.arange(len(portions), dtype=np.int32), counts),
            np.zeros(sum(counts), np.uint64),
        )


def shard_tables(rows: ShardRows, recipe: Recipe, skipped: Sequence[Skipped], total: Moments) -> dict[str, h5.Array]:
    """Tables of a shard in their fixed order; of the same shapes whether `rows` and `total` are filled yet or not."""
    images = rows.images
    labels = np.array([image.label for image in images], np.int64)
    sha256 = np.array(rows.sha256 or [b""] * len(images), "S64")
    tables: dict[str, h5.Array] = {
        "labels": labels[rows.source],
        "digest": rows.digest,
        "coords": rows.coords,
        **coords_attributes(recipe),
        "source": rows.source,
    }
    if recipe.splits:
        tables["split"] = np.array([image.split for image in images], np.uint8)[rows.source]
    return tables | closing_tables(recipe, images, sha256, skipped, total)


def closing_tables(
    recipe: Recipe, images: Sequence[Image], sha256: h5.Array, skipped: Sequence[Skipped], total: Moments
) -> dict[str, h5.Array]:
    """The tables that every file ends with: classes, splits, sources, what was left out, statistics."""
    tables: dict[str, h5.Array] = {"classes": layout.names_table(recipe.classes, text=True)}
    if recipe.splits:
        tables["splits"] = layout.names_table(recipe.splits, text=True)
    tables |= {
        "sources/path": layout.names_table([image.path for image in images]),
        "sources/width": np.array([image.width for image in images], np.int32),
        "sources/height": np.array([image.height for image in images], np.int32),
        "sources/sha256": sha256,
        "sources/label": np.array([image.label for image in images], np.int64),
        "sources/group": layout.names_table([b""] * len(images)),
        "skipped/path": layout.names_table([one.path for one in skipped]),
        "skipped/reason": layout.names_table([one.reason.encode() for one in skipped], text=True),
        "skipped/kind": layout.names_table([one.kind.encode() for one in skipped], text=True),
    }
    return tables | stats_tables(recipe.channels, total)


def stats_tables(channels: int, total: Moments) -> dict[str, h5.Array]:
    """Mean and standard deviation per channel, and the exact sums that they come from, so that files add up."""
    mean, std = total.mean_std() if total.n else (np.full(channels, np.nan), np.full(channels, np.nan))
    return {
        "stats/mean": mean,
        "stats/std": std,
        "stats/n_pixels": np.array([total.n], np.uint64),
        "stats/sum": np.array(total.sums or [0] * channels, np.uint64),
        "stats/sum_of_squares": np.array(total.squares or [0] * channels, np.uint64),
    }
