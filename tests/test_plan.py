"""Plans hold every window once, in order, in shards of about the size asked for, and depend on what they say alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcli.account import account_classes
from patchcli.errors import UsageError
from patchcli.grid import plan_grid
from patchcli.plan import SPLIT_ABOVE, Plan, check_not_empty, plan, portion_grid
from patchcli.records import Image, Scan, Skipped
from patchcli.specs import ExtractSpec, Size

BASE = Image(b"", 0, -1, 1000, 64, 64, "RGB", False, 1)


def scan_of(images: Sequence[Image], *, classes: int = 2, splits: Sequence[bytes] = ()) -> Scan:
    names = tuple(b"class%d" % number for number in range(classes))
    return Scan(b"/src", names, tuple(splits), tuple(sorted(images, key=lambda one: one.path)), ())


def images_of(sizes: Sequence[tuple[int, int]]) -> list[Image]:
    return [
        replace(BASE, path=b"class%d/%05d.png" % (number % 2, number), label=number % 2, width=width, height=height)
        for number, (width, height) in enumerate(sizes)
    ]


def plan_of(images: Sequence[Image], **options: Any) -> Plan:
    return plan(scan_of(images), ExtractSpec.of(**options))


sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))
many_sizes = st.lists(sizes, min_size=1, max_size=25)
edges = st.sampled_from(["drop", "shift", "pad", "reflect"])


@given(many_sizes, edges, st.integers(5, 40), st.integers(1, 40), st.integers(1, 200_000), st.booleans())
def test_shards_hold_every_window_once_and_in_order(
    shapes: list[tuple[int, int]], edge: str, patch: int, stride: int, shard_size: int, shuffle: bool
) -> None:
    made = plan_of(images_of(shapes), patch=patch, stride=stride, edge=edge, shard_size=shard_size, shuffle=shuffle)
    spec = made.spec
    planned = [
        (source, row)
        for source, image in enumerate(made.images)
        for row in range(plan_grid(image.size, spec.patch_size, spec.stride, spec.edge).y.n)
    ]
    dealt = [(portion.source, row) for shard in made.shards for portion in shard for row in portion.rows]
    assert dealt == planned
    assert all(made.images[portion.source] == portion.image for shard in made.shards for portion in shard)
    assert made.recipe.n_shards == len(made.shards)
    assert all(made.rows(shard) > 0 for shard in range(len(made.shards)))
    n_patches = sum(plan_grid(Size(*shape), spec.patch_size, spec.stride, spec.edge).n_patches for shape in shapes)
    assert sum(map(made.rows, range(len(made.shards)))) == made.n_patches == n_patches
    assert made.n_bytes == n_patches * patch * patch * 3


@given(many_sizes, st.integers(1000, 200_000))
def test_an_image_is_whole_unless_it_exceeds_four_targets(shapes: list[tuple[int, int]], shard_size: int) -> None:
    made = plan_of(images_of(shapes), patch=16, stride=8, shard_size=shard_size)
    for shard in made.shards:
        for portion in shard:
            grid = portion_grid(portion, made.spec)
            if grid.n_patches * made.recipe.patch_bytes <= SPLIT_ABOVE * shard_size:
                assert portion.rows == range(grid.y.n)
            else:
                assert len(shard) == 1


@pytest.mark.parametrize(("n_rows", "n_shards"), [(10, 1), (40, 1), (41, 5), (100, 10)])
def test_an_image_beyond_four_targets_is_cut_into_parts_near_the_target(n_rows: int, n_shards: int) -> None:
    target = 64 * 64 * 3 * 10
    made = plan_of(images_of([(64, 64 * n_rows)]), patch=64, shard_size=target)
    rows = [made.rows(shard) for shard in range(len(made.shards))]
    assert len(rows) == n_shards
    assert max(rows) - min(rows) <= 1


@given(st.integers(2, 400), st.integers(1, 60))
def test_several_shards_of_ordinary_images_are_an_even_number_near_the_target(n_images: int, per_shard: int) -> None:
    patch_bytes = 16 * 16 * 3
    made = plan_of(images_of([(32, 32)] * n_images), patch=16, shard_size=4 * patch_bytes * per_shard)
    n_bytes = [made.rows(shard) * patch_bytes for shard in range(len(made.shards))]
    image_bytes, target = 4 * patch_bytes, made.spec.shard_size
    if len(n_bytes) == 1:
        assert n_bytes[0] <= target
    elif per_shard > 1 or n_images % 2 == 0:
        assert len(n_bytes) % 2 == 0
        assert max(n_bytes) <= target + image_bytes
        assert max(n_bytes) - min(n_bytes) <= image_bytes


@given(st.lists(st.tuples(st.integers(16, 120), st.integers(16, 120)), min_size=40, max_size=120), st.integers(2, 12))
def test_shards_of_mixed_images_stay_near_the_target(shapes: list[tuple[int, int]], wanted: int) -> None:
    one = plan_of(images_of(shapes), patch=16, shard_size="1GiB")
    largest = max((w // 16) * (h // 16) for w, h in shapes) * one.recipe.patch_bytes
    target = max(one.n_bytes // wanted, 4 * largest)
    made = plan_of(images_of(shapes), patch=16, shard_size=target)
    n_bytes = [made.rows(shard) * made.recipe.patch_bytes for shard in range(len(made.shards))]
    n_shards = -(-made.n_bytes // target)
    n_shards += n_shards > 1 and n_shards % 2
    assert len(n_bytes) == n_shards
    assert all(abs(some - made.n_bytes / n_shards) <= largest for some in n_bytes)


def test_a_plan_depends_on_its_inputs_alone() -> None:
    images = images_of([(100, 90), (64, 64), (33, 200), (20, 20)])
    first, second = plan_of(images, patch=32, shuffle=True), plan_of(images, patch=32, shuffle=True)
    assert first == second
    more = plan(scan_of(images), ExtractSpec.of(patch=32, shuffle=True))
    assert (more.recipe.plan_id, more.shards) == (first.recipe.plan_id, first.shards)
    moved = replace(scan_of(images), root=b"/elsewhere")
    elsewhere = plan(moved, ExtractSpec.of(patch=32, shuffle=True))
    assert elsewhere.recipe.plan_id == first.recipe.plan_id


SETTINGS: dict[str, list[Any]] = {
    "patch": [32, "32x16", 16],
    "stride": [16, "16x8"],
    "edge": ["shift", "pad", "reflect"],
    "classes": ["class0,class1", "class1,class0"],
    "mode": ["gray", "rgb", "rgba"],
    "background": [(0, 0, 0), (1, 2, 3)],
    "shuffle": [True],
    "shard_size": [1000, "1MiB"],
    "compression": ["gzip", "lzf", "lz4", "zstd"],
}


def test_each_setting_has_a_plan_of_its_own() -> None:
    images = images_of([(100, 90), (64, 64)])
    ids = [plan_of(images).recipe.plan_id]
    ids += [plan_of(images, **{name: value}).recipe.plan_id for name, values in SETTINGS.items() for value in values]
    ids += [plan_of(images, shuffle=True, seed=1).recipe.plan_id, plan_of(images, shuffle=True, seed=2).recipe.plan_id]
    ids += [plan_of(images, edge="pad", pad_value=1).recipe.plan_id]
    assert len(set(ids)) == len(ids)
    assert all(len(plan_id) == 32 for plan_id in ids)


def test_other_spellings_of_the_same_settings_have_the_same_plan() -> None:
    images = images_of([(100, 90), (64, 64)])
    assert (
        plan_of(images, patch=64, overlap="0.5").recipe.plan_id
        == plan_of(images, patch="64x64", stride=32).recipe.plan_id
    )
    assert plan_of(images, seed=1, pad_value=3).recipe.plan_id == plan_of(images).recipe.plan_id
    assert plan_of(images, layout="classes").recipe.plan_id == plan_of(images).recipe.plan_id


@pytest.mark.parametrize(
    "change",
    [
        {"path": b"class0/other.png"},
        {"n_bytes": 1001},
        {"width": 65},
        {"height": 65},
        {"label": 1},
        {"split": 0},
        {"orientation": 3},
        {"path": b"class0/\xff.png"},
    ],
)
def test_each_fact_of_a_source_has_a_plan_of_its_own(change: dict[str, Any]) -> None:
    images = images_of([(64, 64), (64, 64)])
    changed = [replace(images[0], **change), images[1]]
    assert plan_of(changed).recipe.plan_id != plan_of(images).recipe.plan_id
    assert plan_of(images[:1]).recipe.plan_id != plan_of(images).recipe.plan_id


def test_class_names_and_splits_belong_to_the_plan() -> None:
    scan = scan_of(images_of([(64, 64), (64, 64)]))
    spec = ExtractSpec.of()
    variants = [
        scan,
        replace(scan, classes=(b"class0", b"clazz1")),
        replace(scan, classes=(b"class0", b"class1", b"class2")),
        replace(scan, splits=(b"train",)),
        replace(scan, splits=(b"train", b"val")),
        replace(scan, classes=(b"class0", b"class1", b"train"), splits=(b"val",)),
    ]
    ids = [plan(variant, spec).recipe.plan_id for variant in variants]
    assert len(set(ids)) == len(ids)


def test_an_unused_colour_background_decides_only_where_it_shows() -> None:
    """A coloured ground makes colour images of transparent gray ones."""
    gray = [replace(image, model="LA", alpha=True) for image in images_of([(64, 64), (64, 64)])]
    assert plan_of(gray).recipe.channels == 1
    assert plan_of(gray, background=(255, 0, 0)).recipe.channels == 3
    assert plan_of([*gray[:1], replace(gray[1], model="RGB")]).recipe.channels == 3
    assert plan_of(gray, mode="rgba").recipe.channels == 4
    palette = [replace(image, model="P") for image in gray]
    assert plan_of(palette).recipe.channels == 3


@given(st.lists(st.binary(min_size=1, max_size=6), unique=True, min_size=2, max_size=20), st.integers(0, 2**63 - 1))
def test_a_shuffle_is_a_function_of_seed_and_path(names: list[bytes], seed: int) -> None:
    images = [replace(BASE, path=b"class0/" + name) for name in names]
    every = [image.path for image in plan_of(images, shuffle=True, seed=seed).images]
    fewer = [image.path for image in plan_of(images[1:], shuffle=True, seed=seed).images]
    assert sorted(every) == sorted(image.path for image in images)
    assert [path for path in every if path != images[0].path] == fewer
    larger = [replace(image, width=640, n_bytes=5) for image in images]
    assert [image.path for image in plan_of(larger, shuffle=True, seed=seed).images] == every


def test_a_shuffle_mixes_classes_and_follows_the_seed() -> None:
    images = [replace(BASE, path=b"class%d/%03d.png" % (label, n), label=label) for label in (0, 1) for n in range(50)]
    orders = [[image.path for image in plan_of(images, shuffle=True, seed=seed).images] for seed in range(3)]
    assert len(set(map(tuple, orders))) == 3
    labels = [image.label for image in plan_of(images, shuffle=True).images]
    assert sum(a != b for a, b in pairwise(labels)) > 10
    assert [image.path for image in plan_of(images).images] == [image.path for image in images]


@given(many_sizes, edges)
def test_images_with_patches_are_planned_and_the_others_are_skipped(shapes: list[tuple[int, int]], edge: str) -> None:
    images = images_of(shapes)
    made = plan_of(images, patch=40, stride=20, edge=edge)
    spec = made.spec
    used = {one.path for one in images if plan_grid(one.size, spec.patch_size, spec.stride, spec.edge).n_patches}
    assert {one.path for one in made.images} == used
    assert {one.path for one in made.skipped} == {one.path for one in images} - used
    assert {one.kind for one in made.skipped} <= {"small"}


@given(many_sizes, edges)
def test_the_account_of_a_class_is_the_sum_over_its_images(shapes: list[tuple[int, int]], edge: str) -> None:
    made = plan_of(images_of(shapes), patch=40, stride=20, edge=edge)
    patch, stride, edge_policy = made.spec.patch_size, made.spec.stride, made.spec.edge
    triples = [(image.label, image.width, image.height) for image in made.images]
    accounts = account_classes(made.recipe.classes, triples, patch, stride, edge_policy)
    assert [account.name for account in accounts] == ["class0", "class1"]
    for label, account in enumerate(accounts):
        grids = [plan_grid(image.size, patch, stride, edge_policy) for image in made.images if image.label == label]
        assert account.images == len(grids)
        assert account.patches == sum(grid.n_patches for grid in grids)
        assert account.pixels == sum(grid.x.length * grid.y.length for grid in grids)
        assert account.pixels_uncovered == sum(grid.n_uncovered for grid in grids)
        assert account.pixels_padded == sum(grid.n_padded for grid in grids)
    assert sum(account.patches for account in accounts) == made.n_patches


def test_images_without_a_window_are_skipped_with_a_reason_among_the_others() -> None:
    ignored = Skipped(b"class0/zzz.txt", "not an image", "ignored")
    scan = replace(scan_of(images_of([(63, 64), (64, 64)])), skipped=(ignored,))
    made = plan(scan, ExtractSpec.of(patch=64))
    small = Skipped(b"class0/00000.png", "63x64 is smaller than a patch of 64", "small")
    assert made.skipped == (small, ignored)
    assert [image.path for image in made.images] == [b"class1/00001.png"]


def test_a_patch_larger_than_every_image_is_a_usage_error() -> None:
    made = plan_of(images_of([(63, 64), (10, 10)]), patch=64)
    with pytest.raises(UsageError, match="patch 64 is larger than every image") as error:
        check_not_empty(made, 0)
    assert all(word in str(error.value) for word in ("63x64", "2 images", "--patch"))
    check_not_empty(made, 1)  # the unreadable image is to blame, and is reported as such


def test_no_images_at_all_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no images"):
        check_not_empty(plan_of([]), 0)


def test_a_worker_needs_room_for_its_largest_image() -> None:
    small, large = plan_of(images_of([(64, 64)])), plan_of(images_of([(64, 64), (10_000, 10_000)]))
    assert large.worker_bytes - small.worker_bytes >= 10**8 * 3 * 2
