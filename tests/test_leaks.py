"""What stands in two splits or two classes, against a slow version that looks at all pairs of rows."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import example, given
from hypothesis import strategies as st

from patchcli.leaks import Twins, find_twins

Tables = dict[str, npt.NDArray[Any]]
Found = set[tuple[str, tuple[int, int], bool, tuple[tuple[int, int], ...]]]

COLUMNS = (("leak", "split"), ("conflict", "labels"))


def made(*rows: tuple[int, int, int, int], sha256: list[bytes] | None = None, splits: bool = True) -> Tables:
    """Tables with rows of (source, split, label, digest); images of different content unless `sha256` says more."""
    columns = np.array(rows, np.int64).reshape(-1, 4)
    n_sources = int(columns[:, 0].max(initial=-1)) + 1
    tables: Tables = {
        "source": columns[:, 0].astype(np.int32),
        "labels": columns[:, 2],
        "digest": columns[:, 3].astype(np.uint64),
        "sources/sha256": np.array(sha256 or [b"%064d" % source for source in range(n_sources)], "S64"),
    }
    return tables | ({"split": columns[:, 1].astype(np.uint8)} if splits else {})


@st.composite
def tables(draw: st.DrawFn) -> Tables:
    n_sources = draw(st.integers(1, 5))
    small = st.integers(0, 2)
    row = st.tuples(st.integers(0, n_sources - 1), small, small, st.integers(0, 6))
    rows = draw(st.lists(row, max_size=12))
    contents = [b"", b"a" * 64, b"b" * 64, b"c" * 64]
    sha256 = draw(st.lists(st.sampled_from(contents), min_size=n_sources, max_size=n_sources))
    return made(*rows, sha256=sha256, splits=draw(st.booleans()))


def never_blank(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    assert np.all(np.diff(rows) > 0)
    return np.ones(len(rows), np.int8)


def blank_if(digest: npt.NDArray[np.uint64], blank: set[int]) -> Any:
    def shown(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        never_blank(rows)
        return np.array([int(digest[row]) not in blank for row in rows], np.int8)

    return shown


def as_set(twins: Twins) -> Found:
    found: Found = set()
    for twin in twins.found:
        found.add((twin.kind, twin.sources, twin.whole, tuple((int(a), int(b)) for a, b in twin.rows)))
    return found


def first_pairs(keys: list[Any], values: list[int], source: list[int]) -> list[tuple[int, int]]:
    """Of all pairs of rows with the same key: the first row, with the first of each image with another value."""
    pairs = []
    for a, b in combinations(range(len(keys)), 2):
        if keys[a] is None or keys[a] != keys[b] or values[a] == values[b]:
            continue
        begins = all(keys[before] != keys[a] for before in range(a))
        said = [(keys[row], values[row], source[row]) for row in range(b)]
        if begins and (keys[b], values[b], source[b]) not in said:
            pairs.append((a, b))
    return pairs


def slow(given: Tables, blank: set[int]) -> tuple[Found, int]:
    source, digest = given["source"].tolist(), given["digest"].tolist()
    contents = [bytes(content) for content in given["sources/sha256"].tolist()]
    files: list[Any] = [contents[one] or one for one in source]
    found: Found = set()
    for kind, column in COLUMNS:
        values = given[column].tolist() if column in given else [0] * len(source)
        whole = set()
        for a, b in first_pairs(files, values, source):
            sources = min(source[a], source[b]), max(source[a], source[b])
            whole.add(sources)
            found.add((kind, sources, True, ((a, b),)))
        patches: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for a, b in first_pairs([None if one in blank else one for one in digest], values, source):
            sources = min(source[a], source[b]), max(source[a], source[b])
            if sources not in whole:
                patches.setdefault(sources, []).append((a, b))
        # in the order of the digests
        found |= {
            (kind, sources, False, tuple(sorted(pairs, key=lambda pair: (digest[pair[0]], pair))))
            for sources, pairs in patches.items()
        }
    exempt = sum(
        digest[row] in blank
        and any(
            digest[other] == digest[row] and given[column][other] != given[column][row]
            for other in range(len(digest))
            for _, column in COLUMNS
            if column in given
        )
        for row in range(len(digest))
    )
    return found, exempt


@given(tables(), st.sets(st.integers(0, 6), max_size=3))
@example(made((0, 0, 0, 0)), set())
def test_twins_are_those_of_all_pairs(given: Tables, blank: set[int]) -> None:
    twins = find_twins(given, blank_if(given["digest"], blank))
    assert (as_set(twins), twins.n_blank) == slow(given, blank)


@given(tables())
def test_each_pair_is_what_it_is_said_to_be(given: Tables) -> None:
    for twin in find_twins(given, never_blank).found:
        column = dict(COLUMNS)[twin.kind]
        for a, b in twin.rows.tolist():
            assert given[column][a] != given[column][b]
            assert sorted((given["source"][a], given["source"][b])) == list(twin.sources)
            if twin.whole:
                assert len({bytes(given["sources/sha256"][one]) for one in twin.sources}) == 1
            else:
                assert given["digest"][a] == given["digest"][b]


def test_a_file_in_two_splits() -> None:
    twins = find_twins(made((0, 0, 0, 1), (0, 0, 0, 2), (1, 1, 0, 1), (1, 1, 0, 2), sha256=[b"a", b"a"]), never_blank)
    assert as_set(twins) == {("leak", (0, 1), True, ((0, 2),))}


def test_a_file_in_two_classes() -> None:
    twins = find_twins(made((0, 0, 0, 1), (1, 0, 1, 1), sha256=[b"a", b"a"]), never_blank)
    assert as_set(twins) == {("conflict", (0, 1), True, ((0, 1),))}


def test_a_file_in_two_splits_and_two_classes_is_both() -> None:
    twins = find_twins(made((0, 0, 0, 1), (1, 1, 1, 1), sha256=[b"a", b"a"]), never_blank)
    assert [twin.kind for twin in twins.found] == ["leak", "conflict"]
    assert all(twin.whole for twin in twins.found)


def test_one_image_in_two_splits() -> None:
    """Its patches went to two splits: its file needs no twin."""
    twins = find_twins(made((0, 0, 0, 1), (0, 1, 0, 2)), never_blank)
    assert as_set(twins) == {("leak", (0, 0), True, ((0, 1),))}


def test_identical_patches_are_named_by_pairs_of_images() -> None:
    given = made((0, 0, 0, 5), (0, 0, 0, 7), (1, 1, 0, 7), (1, 1, 0, 5), (2, 1, 0, 9), (2, 1, 0, 5))
    assert as_set(find_twins(given, never_blank)) == {
        ("leak", (0, 1), False, ((0, 3), (1, 2))),
        ("leak", (0, 2), False, ((0, 5),)),
    }


def test_patches_of_the_same_files_are_not_said_again() -> None:
    given = made((0, 0, 0, 5), (1, 1, 0, 5), (2, 1, 0, 5), sha256=[b"a", b"a", b"c"])
    assert as_set(find_twins(given, never_blank)) == {
        ("leak", (0, 1), True, ((0, 1),)),
        ("leak", (0, 2), False, ((0, 2),)),
    }


def test_each_copy_in_another_split_is_named_once() -> None:
    given = made((0, 0, 0, 1), (0, 0, 0, 2), (1, 1, 0, 3), (1, 1, 0, 4), (2, 2, 0, 5), (3, 0, 0, 6), sha256=[b"a"] * 4)
    assert as_set(find_twins(given, never_blank)) == {
        ("leak", (0, 1), True, ((0, 2),)),
        ("leak", (0, 2), True, ((0, 4),)),
    }


def test_the_same_within_one_split_and_class_is_nothing() -> None:
    given = made((0, 0, 0, 5), (1, 0, 0, 5), sha256=[b"a", b"a"])
    assert find_twins(given, never_blank) == Twins((), 0, 0)


def test_without_splits_there_are_no_leaks() -> None:
    given = made((0, 0, 0, 5), (1, 1, 0, 5), sha256=[b"a", b"a"], splits=False)
    assert find_twins(given, never_blank) == Twins((), 0, 0)


def test_blank_patches_are_exempt_and_counted() -> None:
    given = made((0, 0, 0, 5), (1, 1, 1, 5), (1, 1, 1, 5), (2, 0, 0, 6), (3, 1, 0, 6))
    twins = find_twins(given, blank_if(given["digest"], {5}))
    assert as_set(twins) == {("leak", (2, 3), False, ((3, 4),))}
    assert twins.n_blank == 3


def test_blank_patches_do_not_hide_that_files_are_the_same() -> None:
    given = made((0, 0, 0, 5), (1, 1, 0, 5), sha256=[b"a", b"a"])
    assert len(find_twins(given, blank_if(given["digest"], {5})).found) == 1


def test_images_of_unknown_content_are_all_different() -> None:
    assert find_twins(made((0, 0, 0, 1), (1, 1, 0, 2), sha256=[b"", b""]), never_blank) == Twins((), 0, 0)


def test_no_rows_and_no_images() -> None:
    assert find_twins(made(), never_blank) == Twins((), 0, 0)
    nothing = made() | {"sources/sha256": np.array([b"a"], "S64")}
    assert find_twins(nothing, never_blank) == Twins((), 0, 0)


def test_only_patches_that_matter_are_looked_at() -> None:
    """A million rows are cheap as long as pixels are read for suspects alone."""
    asked: list[int] = []

    def shown(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        asked.extend(rows.tolist())
        return np.ones(len(rows), np.int8)

    find_twins(made((0, 0, 0, 1), (0, 0, 0, 1), (0, 0, 0, 2), (1, 1, 0, 2), (1, 1, 0, 3)), shown)
    assert asked == [2]


def test_where_a_patch_cannot_be_read_one_that_is_the_same_is_looked_at() -> None:
    given = made((0, 0, 0, 1), (1, 1, 0, 1), (0, 0, 0, 2), (1, 1, 0, 2))

    def shown(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        return np.array([1 if row == 1 else -1 for row in rows.tolist()], np.int8)

    twins = find_twins(given, shown)
    assert as_set(twins) == {("leak", (0, 1), False, ((0, 1),))}
    assert (twins.n_blank, twins.n_unread) == (0, 2)
