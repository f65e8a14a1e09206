"""Three ways to batches: from the images of a class tree, from arrays, from a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from patchcli.errors import UsageError
from patchcli.readers.arrays import PatchSet
from patchcli.readers.cuts import ArrayCuts, Cutting
from patchcli.readers.folders import cut_folder, look_at_folder
from patchcli.readers.keras.arguments import ClassMode, Saving, check_class_mode, saving_of, seed_of
from patchcli.readers.keras.finishing import Finishing
from patchcli.readers.keras.flows import ArrayFlow, DirectoryFlow, SetFlow
from patchcli.readers.keras.generated import Generated, Stored
from patchcli.readers.keras.sources import Uncut
from patchcli.readers.keras.subsets import Subset, by_class, check_not_empty, check_subset, of_arrays, of_images
from patchcli.readers.samples import Path, patches_of
from patchcli.specs import MAX_PIXELS, Size, check_choice, parse_bytes, whole

_CHANNELS: Final = {"grayscale": 1, "rgb": 3, "rgba": 4}


class Flowing(Finishing):
    """The flows of a generator; how images are cut and split is said by who inherits.

    Attributes
    ----------
    cutting : Cutting
    background : (int, int, int)
    validation_split : float
    """

    cutting: Cutting
    background: tuple[int, int, int]
    validation_split: float

    def flow_from_directory(
        self,
        directory: Path,
        target_size: tuple[int, int] | None = None,
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: ClassMode = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: Subset = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        *,
        cache: int | str = "256MiB",
        on_error: str = "stop",
        max_pixels: int = MAX_PIXELS,
        **loading: Any,
    ) -> DirectoryFlow:
        """Patches of the images of `directory/<class>/**`, cut as they are needed.

        Images come in random order, and their patches are shuffled among those of as many images as half the cache
        holds. Asked for in order, as `model.fit` and `next` do, each image is decoded once an epoch; when all of them
        fit the cache, once.

        Parameters
        ----------
        target_size : (int, int), optional
            Height and width, px, that images are resized to before they are cut; None: they keep their sizes.
        color_mode : {"rgb", "rgba", "grayscale"}
        classes : sequence of str, optional
            Labelled in this order; by default all folders, in byte order.
        class_mode : {"categorical", "binary", "sparse", "input", None}
        seed : int, optional
            None: drawn from numpy's global state, which `keras.utils.set_random_seed` sets.
        save_to_dir : path, optional
            Where every patch that is shown is saved, `{prefix}_{position}_{epoch}.{format}`.
        subset : {"training", "validation"}, optional
        cache : int or str
            Bytes of decoded images that are held, such as "1GiB".
        on_error : {"stop", "skip"}
            What to do about images whose headers cannot be read. One whose px turn out to be broken ends the training
            when its turn comes; `patchcli extract` finds all of them beforehand.
        loading
            `workers`, `use_multiprocessing`, `max_queue_size`, as for `keras.utils.PyDataset`.

        Raises
        ------
        UsageError, UnreadableInputs
        """
        check_class_mode(class_mode)
        check_choice("color_mode", color_mode, tuple(_CHANNELS))
        check_choice("on_error", on_error, ("stop", "skip"))
        check_subset(subset, self.validation_split)
        folder = look_at_folder(
            directory,
            classes=classes,
            max_pixels=(max_pixels := whole("max_pixels", max_pixels, 1, 2**63 - 1)),
            keep_going=on_error == "skip",
            follow_links=follow_links,
        )
        chosen = by_class([image.label for image in folder.images], subset, self.validation_split)
        images = [image for image, take in zip(folder.images, chosen, strict=True) if take]
        cuts = cut_folder(
            directory,
            images,
            self.cutting,
            channels=_CHANNELS[color_mode],
            background=self.background,
            max_pixels=max_pixels,
            cache=parse_bytes(cache, name="cache"),
            size=_size(target_size),
            interpolation=interpolation,
            keep_aspect_ratio=keep_aspect_ratio,
        )
        check_not_empty(len(cuts), len(images), cuts.patch, subset)
        check_class_mode(class_mode, len(folder.classes))
        return DirectoryFlow(
            directory,
            folder,
            cuts,
            self._generated(cuts, subset, seed := seed_of(seed)),
            class_mode=class_mode,
            **self._showing(batch_size, shuffle, seed, saving_of(save_to_dir, save_prefix, save_format), loading),
        )

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: Subset = None,
        **loading: Any,
    ) -> ArrayFlow:
        """Patches of the images of an array; what belongs to an image belongs to each of its patches.

        Parameters
        ----------
        x : array (n, height, width, C), or (n, C, height, width) with channels first
            Or a pair of it and a list of further inputs, arrays (n, ...). uint8 and uint16 are augmented as such, all
            else as float32.
        y, sample_weight : array (n, ...), optional
        subset : {"training", "validation"}, optional
            The validation subset is the first part of the images, as in Keras.
        ignore_class_split : bool
            Do not mind when a subset lacks some of the values of `y`.

        Raises
        ------
        UsageError
        """
        check_subset(subset, self.validation_split)
        images, targets = of_arrays(
            x,
            y,
            sample_weight,
            data_format=self.data_format,
            subset=subset,
            validation_split=self.validation_split,
            ignore_class_split=ignore_class_split,
        )
        cuts = ArrayCuts(images.pixels, images.numbers, self.cutting)
        check_not_empty(len(cuts), len(images.numbers), cuts.patch, subset)
        return ArrayFlow(
            cuts,
            self._generated(cuts, subset, seed := seed_of(seed)),
            targets.of(images.numbers, cuts),
            class_mode=None,
            **self._showing(batch_size, shuffle, seed, saving_of(save_to_dir, save_prefix, save_format), loading),
        )

    def flow_from_hdf5(
        self,
        patches: PatchSet | Path,
        batch_size: int = 32,
        class_mode: ClassMode = "categorical",
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: Subset = None,
        split: str | None = None,
        **loading: Any,
    ) -> SetFlow:
        """Patches of a data set that `patchcli extract` or `augment` wrote.

        Parameters
        ----------
        patches : PatchSet or path
        subset : {"training", "validation"}, optional
            By image, as in `flow_from_directory`; validation takes no copies that `patchcli augment` made.
        split : str, optional
            Only this split of the data set. Where there are splits, only patches of `train` are augmented.

        Raises
        ------
        UsageError, DamagedFile
        """
        check_class_mode(class_mode)
        check_subset(subset, self.validation_split)
        stored = patches_of(patches, split)
        self._check_same_patch(stored)
        if subset is not None:
            taken = of_images(stored, subset, self.validation_split)[stored.source]
            if stored.copy is not None and subset == "validation":
                taken &= stored.copy == 0
            stored = stored.subset(taken)
        height, width, _ = stored.patch_shape
        check_not_empty(len(stored), len(stored), Size(width, height), subset)
        check_class_mode(class_mode, len(stored.classes))
        return SetFlow(
            stored,
            self._generated(Stored(stored), subset, seed := seed_of(seed)),
            class_mode=class_mode,
            **self._showing(batch_size, shuffle, seed, saving_of(save_to_dir, save_prefix, save_format), loading),
        )

    def _showing(
        self, batch_size: int, shuffle: bool, seed: int, saving: Saving | None, loading: dict[str, Any]
    ) -> dict[str, Any]:
        """What all flows are told alike."""
        own = {"data_format": self.data_format, "dtype": self.dtype}
        return {"batch_size": batch_size, "shuffle": shuffle, "seed": seed, "saving": saving, **own, **loading}

    def _generated(self, uncut: Uncut, subset: Subset, seed: int) -> Generated:
        return Generated(uncut, self, None if subset == "validation" else self.pipeline, seed)

    def _check_same_patch(self, stored: PatchSet) -> None:
        if self.cutting.patch is None:
            return
        height, width, _ = stored.patch_shape
        if self.cutting.patch != (width, height):
            raise UsageError(
                f"{stored.path}: holds patches of {Size(width, height)} px, patch_size is {self.cutting.patch}: leave "
                f"patch_size out, for a data set is cut already"
            )


def _size(target_size: Any) -> Size | None:
    """A size, from Keras' order (height, width)."""
    if target_size is None:
        return None
    if not isinstance(target_size, (tuple, list)) or len(target_size) != 2:
        raise UsageError(f"target_size is {target_size!r}: expected (height, width), px")
    height, width = (whole("target_size", length, 1, 2**31 - 1) for length in target_size)
    return Size(width, height)
