"""What is augmented: how many copies of which patches, and into which shard each goes. Numbers only, no pixel."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.pipeline.keras_ranges import KERAS, KerasRanges
from patchcli.pipeline.standardize import Standard
from patchcli.pipeline.tree import Group, Step, plain
from patchcli.plan import MOST_ROWS
from patchcli.specs import Compression, check_choice, check_switch, check_whole, parse_bytes

MOST_COPIES: Final = 2**15 - 1
"""Copies of one patch: `/copy` is int16."""

SHARD_BYTES: Final = 64 * 2**20
"""Smaller than those of `extract`: there is more work in each byte, and a shard is what one worker does."""

ALL: Final = "all"
"""`only_split` that means every split."""

NOTHING: Final = Group("Sequential", ())

Ranks = Callable[["npt.NDArray[np.int64]"], list[int]]

SWITCHES: Final = (
    "keep_original",
    "balance",
    "horizontal_flip",
    "vertical_flip",
    "samplewise_center",
    "samplewise_std_normalization",
    "featurewise_center",
    "featurewise_std_normalization",
    "zca_whitening",
)
"""Options that take true or false."""


@dataclass(frozen=True)
class AugmentSpec:
    """What `augment` does to patches and how they are stored: everything that decides bytes, and nothing else.

    `of` accepts what users write. Raises `UsageError` when a value is out of range or there is nothing to do.

    Attributes
    ----------
    copies : int
        Of each patch; of those of the largest class where `balance` is on.
    only_split : str or None
        The split whose patches are augmented, `all`; None: `train` where there are splits.
    """

    pipeline: Group = NOTHING
    copies: int = 1
    seed: int = 0
    keep_original: bool = True
    balance: bool = False
    only_split: str | None = None
    standard: Standard = field(default_factory=Standard)
    shard_size: int = SHARD_BYTES
    compression: Compression = "none"

    def __post_init__(self) -> None:
        check_whole("copies", self.copies, 0, MOST_COPIES)
        check_whole("seed", self.seed, 0, 2**63 - 1)
        check_whole("shard_size", self.shard_size, 1, 2**63 - 1)
        check_switch("keep_original", self.keep_original)
        check_switch("balance", self.balance)
        check_choice("compression", self.compression, get_args(Compression))
        ways = "a pipeline with --config, or a range such as --rotation-range"
        if not self.pipeline.steps and self.standard.is_nothing:
            raise UsageError(f"nothing to do: give {ways}, or --rescale and the like")
        if not self.pipeline.steps and (self.copies or self.balance):
            raise UsageError(
                f"copies would all be equal to their originals: give {ways}, or --copies 0 without --balance"
            )
        if self.pipeline.steps and not self.copies and not (self.balance and self.keep_original):
            raise UsageError("copies is 0: nothing would be augmented; expected at least 1, or --balance")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the options, without Keras' ranges and standardisation."""
        return tuple(one.name for one in fields(cls) if one.name not in ("pipeline", "standard"))

    @classmethod
    def of(
        cls,
        *,
        pipeline: Group | None = None,
        copies: object = None,
        seed: object = 0,
        shard_size: object = SHARD_BYTES,
        **others: Any,
    ) -> AugmentSpec:
        """From the options as users write them: Keras' ranges and standardisation by their names, None for default."""
        said = _taken(others, KerasRanges.names())
        ranges = KerasRanges.of(**said)
        if pipeline is not None and said:
            raise UsageError(
                f"a pipeline and Keras' ranges were given ({', '.join(said)}): say the ranges in the pipeline, as a "
                f"step of it, such as - {KERAS}: {{rotation_range: 20}}"
            )
        if "cval" in said and ranges.fill_mode != "constant":
            raise UsageError("cval has no effect: it is the level for fill_mode constant")
        if "fill_mode" in said and not ranges.is_warping:
            raise UsageError("fill_mode has no effect: nothing turns, shifts, shears or zooms the patches")
        if "interpolation_order" in said and not ranges.is_warping:
            raise UsageError("interpolation_order has no effect: nothing turns, shifts, shears or zooms the patches")
        standard = Standard.of(**_taken(others, Standard.names()))
        if not ranges.is_nothing:
            pipeline = Group("Sequential", (Step(KERAS, ranges.settings(), 1.0),))
        given = {name: value for name, value in others.items() if value is not None}
        return cls(
            pipeline=NOTHING if pipeline is None else pipeline,
            copies=int(pipeline is not None) if copies is None else whole_number("copies", copies),
            seed=whole_number("seed", seed),
            standard=standard,
            shard_size=parse_bytes(shard_size, name="shard_size"),
            **given,
        )

    def settings(self, pipeline: Group, split: str | None) -> dict[str, Any]:
        """The settings that decide pixels, as plain values under stable names.

        Parameters
        ----------
        pipeline : Group
            As resolved for the patches' shape and dtype.
        split : str or None
            The one that is augmented, of those in the data set.
        """
        return {
            "pipeline": [plain(step) for step in pipeline.steps],
            "standardize": self.standard.settings(),
            "copies": self.copies,
            "seed": self.seed,
            "keep_original": self.keep_original,
            "balance": self.balance,
            "only_split": split,
        }


def whole_number(name: str, value: object) -> int:
    """A whole number of at most 63 bits, also as text from a file."""
    if not re.fullmatch(r"\d{1,19}", str(value), re.ASCII) or int(str(value)) >= 2**63:
        raise UsageError(f"{name} is {value!r}: expected a whole number from 0 to {2**63 - 1:,}")
    return int(str(value))


def _taken(options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Take what is said from some options: None and False are not."""
    return {name: value for name in names if (value := options.pop(name, None)) not in (None, False)}


class Copies(NamedTuple):
    """The rows of the data set to be made, in the order of the input's rows.

    Attributes
    ----------
    origin : int64 (m,)
        Row of the input.
    copy : int16 (m,)
        0 for the original, copies from 1.
    """

    origin: npt.NDArray[np.int64]
    copy: npt.NDArray[np.int16]


def plan_copies(
    spec: AugmentSpec, labels: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_], ranks: Ranks
) -> Copies:
    """Which copies are made of each patch.

    With `balance`, every class comes to as many patches as the largest one has with `copies` copies of each: each of
    its patches gets as many copies as go into that evenly, and the rest goes to the patches of the lowest ranks, which
    are hashes of their identities: the order of the rows makes no difference.

    Parameters
    ----------
    labels : int64 (n,)
    chosen : bool (n,)
        The patches that are augmented; the others pass as they are, once.
    ranks : callable
        Numbers for some rows, int64 (k,), to choose by.

    Raises
    ------
    UsageError
        No patch is chosen, or one would need more than `MOST_COPIES` copies.
    """
    if not chosen.any() and spec.pipeline.steps:
        raise UsageError(f"the split that is augmented has no patches here; --only-split {ALL} augments all")
    n_copies = np.zeros(len(labels), np.int64)
    if chosen.any():
        n_copies[chosen] = _balanced(spec, labels, np.flatnonzero(chosen), ranks) if spec.balance else spec.copies
    if n_copies.max() > MOST_COPIES:
        row = int(n_copies.argmax())
        raise UsageError(
            f"balance would need {n_copies[row]:,} copies of patch {row}, whose class is rare: at most {MOST_COPIES:,} "
            f"can be made; lower --copies, or leave out --balance"
        )
    kept = np.where(chosen, spec.keep_original, True)
    counts = n_copies + kept
    origin = np.repeat(np.arange(len(labels), dtype=np.int64), counts)
    starts = np.cumsum(counts) - counts
    copy = np.arange(len(origin)) - starts[origin] + ~kept[origin]
    return Copies(origin, copy.astype(np.int16))


def _balanced(
    spec: AugmentSpec, labels: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], ranks: Ranks
) -> npt.NDArray[np.int64]:
    """Copies of each of the chosen rows, in their order."""
    counts = np.bincount(labels[chosen])
    target = int(counts.max()) * (spec.copies + spec.keep_original)
    n_copies = np.zeros(len(labels), np.int64)
    for label in np.flatnonzero(counts):
        rows = chosen[labels[chosen] == label]
        whole, rest = divmod(target - len(rows) * spec.keep_original, len(rows))
        n_copies[rows] = whole
        if rest:
            ranked = sorted(zip(ranks(rows), rows.tolist(), strict=True))
            n_copies[[row for _, row in ranked[:rest]]] += 1
    return n_copies[chosen]


def n_repeated(origin: npt.NDArray[np.int64], digest: npt.NDArray[np.uint64]) -> int:
    """Rows whose px are those of another row of the same patch, its original or a copy before it."""
    order = np.lexsort((digest, origin))
    same = (np.diff(origin[order]) == 0) & (digest[order][1:] == digest[order][:-1])
    return int(same.sum())


def deal(n_rows: int, patch_bytes: int, shard_size: int) -> list[range]:
    """Rows of each shard: shards of about equal size, at most about the target; an even number of them from two."""
    n_bytes = n_rows * patch_bytes
    n_shards = -(-n_bytes // min(shard_size, MOST_ROWS * patch_bytes))
    n_shards = min(n_rows, n_shards + (n_shards > 1 and n_shards % 2))
    return [range(n_rows * k // n_shards, n_rows * (k + 1) // n_shards) for k in range(n_shards)]
