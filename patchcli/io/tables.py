"""The small tables of a file: what each row of `/patches` is, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from patchcli.io import h5, layout
from patchcli.io.shard import coords_attributes
from patchcli.plan import portion_grid
from patchcli.records import Portion, Recipe, Skipped
from patchcli.specs import ExtractSpec
from patchcli.stats import Moments


@dataclass(frozen=True)
class SourceColumns:
    """The images of a file, one a row.

    Attributes
    ----------
    path, group : tuple of bytes
    width, height : int32 (m,)
        Upright, px.
    sha256 : S64 (m,)
        Of the image's file, hex digits.
    label : int64 (m,)
    """

    path: tuple[bytes, ...]
    width: npt.NDArray[np.int32]
    height: npt.NDArray[np.int32]
    sha256: npt.NDArray[np.bytes_]
    label: npt.NDArray[np.int64]
    group: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.path)

    def tables(self) -> dict[str, h5.Array]:
        """`/sources/*` in their fixed order."""
        return {
            "sources/path": layout.names_table(self.path),
            "sources/width": self.width,
            "sources/height": self.height,
            "sources/sha256": self.sha256,
            "sources/label": self.label,
            "sources/group": layout.names_table(self.group),
        }


@dataclass(frozen=True)
class RowColumns:
    """What each row of `/patches` is; `digest` is filled as the patches are made.

    Attributes
    ----------
    labels : int64 (n,)
    digest : uint64 (n,)
    coords : int32 (n, 2)
    source : int32 (n,)
        Row of the sources.
    split : uint8 (n,), optional
    origin : int64 (n,), optional
        Row of the data set that the patch is a copy of.
    copy : int16 (n,), optional
        0 for the original, copies from 1.
    """

    labels: npt.NDArray[np.int64]
    digest: npt.NDArray[np.uint64]
    coords: npt.NDArray[np.int32]
    source: npt.NDArray[np.int32]
    split: npt.NDArray[np.uint8] | None = field(default=None)
    origin: npt.NDArray[np.int64] | None = field(default=None)
    copy: npt.NDArray[np.int16] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.labels)

    @staticmethod
    def names(recipe: Recipe) -> tuple[str, ...]:
        """The columns that files of a data set have."""
        names = ["labels", "digest", "coords", "source"]
        return (*names, *["split"] * bool(recipe.splits), *["origin", "copy"] * recipe.copies)

    def tables(self, recipe: Recipe) -> dict[str, h5.Array]:
        """The columns in their fixed order, and the attributes of `/coords`."""
        tables: dict[str, h5.Array] = {}
        for one in fields(self):
            column = getattr(self, one.name)
            if column is not None:
                tables[one.name] = column
            if one.name == "coords":
                tables |= coords_attributes(recipe)
        return tables


def cut_columns(portions: Sequence[Portion], spec: ExtractSpec, recipe: Recipe) -> tuple[RowColumns, SourceColumns]:
    """Columns of a shard of cut images, known before a pixel is read; digests and SHA-256 are still empty."""
    images = [portion.image for portion in portions]
    coords = []
    for portion in portions:
        grid = portion_grid(portion, spec)
        coords.append(grid.coords[portion.start * grid.x.n : portion.stop * grid.x.n])
    counts = [len(some) for some in coords]
    source = np.repeat(np.arange(len(images), dtype=np.int32), counts)
    sources = SourceColumns(
        path=tuple(image.path for image in images),
        width=np.array([image.width for image in images], np.int32),
        height=np.array([image.height for image in images], np.int32),
        sha256=np.zeros(len(images), "S64"),
        label=np.array([image.label for image in images], np.int64),
        group=(b"",) * len(images),
    )
    rows = RowColumns(
        labels=sources.label[source],
        digest=np.zeros(sum(counts), np.uint64),
        coords=np.concatenate(coords) if coords else np.empty((0, 2), np.int32),
        source=source,
        split=np.array([image.split for image in images], np.uint8)[source] if recipe.splits else None,
    )
    return rows, sources


def file_tables(
    rows: RowColumns,
    sources: SourceColumns,
    recipe: Recipe,
    skipped: Sequence[Skipped],
    total: Moments,
    more: Mapping[str, h5.Array] | None = None,
) -> dict[str, h5.Array]:
    """All tables of a file in their fixed order, `more` of them last.

    They are of the same shapes whether digests and `total` are filled or not.
    """
    tables = rows.tables(recipe)
    tables["classes"] = layout.names_table(recipe.classes)
    if recipe.splits:
        tables["splits"] = layout.names_table(recipe.splits)
    tables |= sources.tables()
    tables |= {
        "skipped/path": layout.names_table([one.path for one in skipped]),
        "skipped/reason": layout.names_table([one.reason.encode() for one in skipped]),
        "skipped/kind": layout.names_table([one.kind.encode() for one in skipped]),
    }
    return tables | _stats_tables(recipe, total) | dict(more or {})


def _stats_tables(recipe: Recipe, total: Moments) -> dict[str, h5.Array]:
    """Mean and standard deviation per channel, and the sums that they come from, so that files add up.

    The sums are exact for uint8; beyond that the squares of a large set pass 64 bits, and they are float64.
    """
    channels, kind = recipe.channels, np.uint64 if recipe.dtype == "uint8" else np.float64
    mean, std = total.mean_std() if total.n else (np.full(channels, np.nan), np.full(channels, np.nan))
    return {
        "stats/mean": mean,
        "stats/std": std,
        "stats/n_pixels": np.array([total.n], np.uint64),
        "stats/sum": np.array(total.sums or [0] * channels, kind),
        "stats/sum_of_squares": np.array(total.squares or [0] * channels, kind),
    }
