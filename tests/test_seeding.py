"""Randomness by identity: even, independent, the same in any order, and different for whatever differs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from patchcli.pipeline.seeding import Before, Streams, identity

N = 4000
LEAST_P = 1e-3  # numbers below are the same in every run: a test that passes once passes always

Floats = npt.NDArray[np.float64]
Draw = Callable[[Streams], float]

DRAWS: dict[str, Draw] = {
    "random": lambda streams: streams.random.random(),
    "uniform": lambda streams: streams.random.uniform(0, 1),
    "getrandbits": lambda streams: streams.random.getrandbits(32) / 2**32,
    "numpy": lambda streams: float(streams.generator.random()),
    "numpy float32": lambda streams: float(streams.generator.random(dtype=np.float32)),
    "numpy integers": lambda streams: int(streams.generator.integers(2**32, dtype=np.uint32)) / 2**32,
    "numpy normal": lambda streams: float(stats.norm.cdf(streams.generator.normal())),
}

PINNED = (
    0xE729924EFBC0A93AB76C11037E292840,
    0xC82B18146FBF74CA0E0AD4479E37E197,
    0.5824959060399778,
    0.3869462629418501,
)

NEIGHBOURS: dict[str, list[int]] = {
    "0, 1, 2, ...": list(range(N)),
    "high words": [k << 64 for k in range(N)],
    "random": [int.from_bytes(np.random.default_rng(k).bytes(16), "little") for k in range(N)],
    "columns": [identity(0, b"cat/a.png", (x, 0), 1) for x in range(N)],
    "rows": [identity(0, b"cat/a.png", (0, 64 * y), 1) for y in range(N)],
    "copies": [identity(0, b"cat/a.png", (0, 0), copy) for copy in range(1, N + 1)],
    "seeds": [identity(seed, b"cat/a.png", (0, 0), 1) for seed in range(N)],
    "paths": [identity(0, b"cat/%d.png" % k, (0, 0), 1) for k in range(N)],
    "copies of copies": [identity(0, b"cat/a.png", (0, 0), 1, before=(digest, 1)) for digest in range(N)],
}
HASHED = [name for name in NEIGHBOURS if name not in ("0, 1, 2, ...", "high words")]


def first(numbers: Iterable[int], draw: Draw) -> Floats:
    """The first draw of each."""
    streams, found = Streams(), []
    for number in numbers:
        streams.begin(number)
        found.append(draw(streams))
    return np.array(found)


def state(streams: Streams) -> tuple[object, ...]:
    """What will be drawn: some of each kind, 32-bit halves too."""
    generator, single = streams.generator, streams.random
    return (
        int(generator.integers(2**32, dtype=np.uint32)),
        float(generator.random()),
        generator.normal(size=3).tobytes(),
        single.random(),
        single.gauss(0, 1),
        single.sample(range(100), 5),
        int(generator.integers(2**32, dtype=np.uint32)),
    )


def said(number: int, streams: Streams | None = None) -> tuple[object, ...]:
    streams = streams or Streams()
    streams.begin(number)
    return state(streams)


# even


@pytest.mark.parametrize("name", HASHED)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_first_draws_are_even(name: str, draw: Draw) -> None:
    drawn = first(NEIGHBOURS[name], draw)
    assert stats.kstest(drawn, "uniform").pvalue > LEAST_P
    assert len(np.unique(drawn)) > N - 20


@pytest.mark.parametrize("name", ["0, 1, 2, ...", "high words"])
def test_single_numbers_are_even_for_identities_near_each_other(name: str) -> None:
    """Python's generator alone: numpy's needs a hash, which `identity` is."""
    assert stats.kstest(first(NEIGHBOURS[name], DRAWS["random"]), "uniform").pvalue > LEAST_P


@pytest.mark.parametrize("name", ["columns", "copies", "seeds"])
def test_all_the_first_draws_of_a_copy_are_even(name: str) -> None:
    streams, found = Streams(), []
    for number in NEIGHBOURS[name][:1000]:
        streams.begin(number)
        found.append([streams.random.random() for _ in range(8)] + streams.generator.random(8).tolist())
    drawn = np.array(found)
    for column in drawn.T:
        assert stats.kstest(column, "uniform").pvalue > LEAST_P
    between = np.corrcoef(drawn.T) - np.eye(16)
    assert np.abs(between).max() < 5 / len(drawn) ** 0.5


@pytest.mark.parametrize("name", HASHED)
def test_bits_of_identities_are_even(name: str) -> None:
    """Each of the 128 bits is set half of the time, whatever changes from one to the next, and each flips as often."""
    numbers = [np.frombuffer(number.to_bytes(16, "little"), np.uint8) for number in NEIGHBOURS[name]]
    bits = np.unpackbits(np.stack(numbers), axis=1)
    for rate in (bits.mean(axis=0), (bits[1:] ^ bits[:-1]).mean(axis=0)):
        assert np.abs(rate - 0.5).max() < 5 * 0.5 / N**0.5


# independent


@pytest.mark.parametrize("name", HASHED)
@pytest.mark.parametrize("draw", [DRAWS["random"], DRAWS["numpy"]], ids=["random", "numpy"])
def test_neighbours_are_independent(name: str, draw: Draw) -> None:
    drawn = first(NEIGHBOURS[name], draw)
    for distance in (1, 2, 7, 64):
        assert abs(np.corrcoef(drawn[distance:], drawn[:-distance])[0, 1]) < 5 / (N - distance) ** 0.5


@pytest.mark.parametrize("name", HASHED)
def test_the_two_generators_are_independent(name: str) -> None:
    one, two = first(NEIGHBOURS[name], DRAWS["random"]), first(NEIGHBOURS[name], DRAWS["numpy"])
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / N**0.5
    assert not (np.abs(one - two) < 1e-9).any()


def coins(drawn: Floats, others: Floats) -> float:
    """Chi-square of two coins against independence and evenness: the p of each side's four numbers being equal."""
    table = np.histogram2d(drawn < 0.5, others < 0.5, bins=2)[0]
    return float(stats.chisquare(table.ravel()).pvalue)


@pytest.mark.parametrize("name", HASHED)
def test_two_coins_of_a_copy_are_independent(name: str) -> None:
    def second(draw: Draw) -> Draw:
        return lambda streams: (draw(streams), draw(streams))[1]

    one = {key: first(NEIGHBOURS[name], DRAWS[key]) for key in ("random", "numpy")}
    two = {key: first(NEIGHBOURS[name], second(DRAWS[key])) for key in ("random", "numpy")}
    assert coins(one["random"], two["random"]) > LEAST_P
    assert coins(one["numpy"], two["numpy"]) > LEAST_P
    assert coins(one["random"], one["numpy"]) > LEAST_P
    assert coins(one["random"], two["numpy"]) > LEAST_P


def test_coins_of_copies_seeds_and_places_are_independent() -> None:
    def drawn(seed: int, dx: int, copy: int, before: Before = ()) -> Floats:
        numbers = (identity(seed, b"dog/%d.png" % (k // 50), (k % 50 + dx, 0), copy, before=before) for k in range(N))
        return first(numbers, DRAWS["random"])

    plain = drawn(0, 0, 1)
    for other in (drawn(1, 0, 1), drawn(0, 1000, 1), drawn(0, 0, 2), drawn(0, 0, 1, (7, 1)), drawn(2**32, 0, 1)):
        assert coins(plain, other) > LEAST_P
        assert abs(np.corrcoef(plain, other)[0, 1]) < 5 / N**0.5


# the same again


def test_begin_forgets_everything() -> None:
    expected = said(123)
    used = Streams()
    generator, single = used.generator, used.random
    for leave in (
        lambda: generator.integers(2**32, dtype=np.uint32),  # the other half of 64 bits stays for the next
        lambda: single.gauss(0, 1),  # makes two numbers, keeps one
        lambda: generator.normal(size=7),
        lambda: generator.random(dtype=np.float32),
        lambda: generator.integers(5, size=3, dtype=np.uint8),
        lambda: generator.bit_generator.advance(5),  # type: ignore[attr-defined]
        lambda: single.seed(0),
        lambda: generator.shuffle(np.arange(9)),
    ):
        leave()
        assert said(123, used) == expected
    assert used.generator is generator
    assert used.random is single


def test_a_leftover_half_would_show() -> None:
    streams = Streams()
    streams.begin(1)
    streams.generator.integers(2**32, dtype=np.uint32)
    assert streams.generator.bit_generator.state["has_uint32"] == 1
    streams.begin(1)
    assert streams.generator.bit_generator.state["has_uint32"] == 0


@given(st.lists(st.integers(0, 2**128 - 1), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_any_order_gives_the_same(numbers: list[int], shuffled: random.Random) -> None:
    streams = Streams()
    there = {number: said(number, streams) for number in numbers}
    again = shuffled.sample(numbers, len(numbers))
    assert {number: said(number, streams) for number in again} == there
    assert {number: said(number) for number in numbers} == there


def test_global_generators_are_neither_used_nor_changed() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - to show that nothing looks at it
    before = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index] # noqa: NPY002
    expected = said(5)
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before  # type: ignore[index] # noqa: NPY002
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert said(5) == expected


def test_the_numbers_are_these() -> None:
    """Data sets made years apart hold the same copies: what changes these breaks that."""
    assert identity(0, b"cat/a.png", (64, 0), 1) == PINNED[0]
    assert identity(2**63 - 1, b"\xff/\n.png", (2**31 - 1, 2**31 - 1), 2**15 - 1, before=(2**64 - 1, 1)) == PINNED[1]
    streams = Streams()
    streams.begin(PINNED[0])
    assert (streams.random.random(), float(streams.generator.random())) == PINNED[2:]


# different for whatever differs


def test_each_part_counts() -> None:
    seeds = (0, 1, 2**31, 2**32, 2**63 - 1)
    paths = (b"a", b"b", b"a/b", b"A", b"a ", b"", b"\xff", "ä".encode(), b"a\n")
    places = ((0, 0), (1, 0), (0, 1), (10, 0), (1, 1), (2**31 - 1, 0), (0, 2**31 - 1))
    befores: tuple[Before, ...] = ((), (0, 0), (0, 1), (1, 0), (2**64 - 1, 1), (2**64 - 1, 2))
    parts = product(seeds, paths, places, (1, 2, 10, 11, 2**15 - 1), befores)
    found = [identity(seed, path, xy, copy, before=before) for seed, path, xy, copy, before in parts]
    assert len(set(found)) == len(found) == 5 * 9 * 7 * 5 * 6
    assert all(0 <= number < 2**128 for number in found)


def test_a_mask_is_drawn_for_as_its_image_is() -> None:
    """By name without the suffix of an image file, in any case; what is no such suffix counts."""
    one = identity(3, b"cat/a.jpg", (64, 0), 2)
    for path in (b"cat/a", b"cat/a.png", b"cat/a.PNG", b"cat/a.tif", b"cat/a.tiff", b"cat/a.jpeg", b"cat/a.BMP"):
        assert identity(3, path, (64, 0), 2) == one, path
    others = (
        b"dog/a.jpg",
        b"cat/b.jpg",
        b"cat/a.jpg.png.jpg",
        b"cat/a.001",
        b"cat/a.002",
        b"cat/a.jpg/b",
        b"cat/a.pngs",
    )
    assert len({one, *(identity(3, path, (64, 0), 2) for path in others)}) == len(others) + 1
    assert identity(3, b"cat/.png", (0, 0), 1) != identity(3, b"cat/", (0, 0), 1)


def test_a_seed_is_no_change_of_the_text() -> None:
    """XXH3 mixes its own seed with short texts by adding and by exclusive or."""
    seeds = [0, *(1 << k for k in range(63)), *(9 << k for k in range(59))]
    texts = list(product((b"a", b"aaaaaaaa", b"cat/a long name.png"), range(10), range(10), (1, 11)))
    found = [identity(seed, path, (x, y), copy) for seed in seeds for path, x, y, copy in texts]
    assert len(set(found)) == len(found)


def test_parts_cannot_run_into_each_other() -> None:
    """No two of these are one text, wherever the separators are put."""
    paths = (b"a", b"a\x001", b"a\x001,", b"a\x001,1", b"a\x001,1,1", b"a,1", b"a1", b"a\0", b"\0a", b"a\0a")
    numbers = ((1, 1), (11, 1), (1, 11), (111, 1), (1, 111), (11, 11))
    befores: tuple[Before, ...] = ((), (1, 1), (11, 1), (1, 11))
    found = [
        identity(0, path, xy, copy, before=before)
        for path, xy, copy, before in product(paths, numbers, (1, 11, 111), befores)
    ]
    assert len(set(found)) == len(found)


places = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
befores = st.just(()) | st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**15 - 1))
whole = st.tuples(st.integers(0, 2**63 - 1), st.binary(max_size=12), places, st.integers(1, 2**15 - 1), befores)


@given(whole, whole)
def test_equal_exactly_where_all_is_equal(
    one: tuple[int, bytes, tuple[int, int], int, Before],
    two: tuple[int, bytes, tuple[int, int], int, Before],
) -> None:
    first_one, again, other = (identity(*each[:4], before=each[4]) for each in (one, one, two))
    assert first_one == again
    assert (first_one == other) == (one == two)


def test_many_identities_do_not_meet() -> None:
    numbers = [identity(0, b"cat/a.png", (x, y), copy) for x in range(60) for y in range(60) for copy in range(1, 6)]
    assert len(set(numbers)) == len(numbers)
    folded = {(number ^ number >> 64) % 2**64 for number in numbers}
    assert len(folded) == len(numbers)


def test_streams_of_different_identities_differ() -> None:
    found = [said(number) for number in (0, 1, 2**64, 2**64 + 1, 2**127, 2**128 - 1, *NEIGHBOURS["columns"][:100])]
    arrays = [one[1] for one in found]
    assert len(set(arrays)) == len(arrays)
    assert all(one != two for one, two in pairwise(found))
