"""Pixels are those of Pillow, upright, on every file that is accepted; whatever would lose something is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import struct
import subprocess
import sys
import textwrap
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Tree
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, ImageCms, ImageOps
from PIL import Image as Pillow

from patchcli.errors import UsageError
from patchcli.io.headers import NotAnImage, Unreadable, parse_color, quiet_pillow, read_header
from patchcli.io.images import Decoder, file_sha256, turn
from patchcli.io.scan import scan
from patchcli.records import Image
from patchcli.specs import MAX_PIXELS

Pixels = npt.NDArray[np.uint8]

WHITE = (255, 255, 255)
TARGETS = {1: "L", 3: "RGB", 4: "RGBA"}
SETS = ("clothing10", "exif_orientation", "wbc", "histology", "formats", "geotiff", "microscopy")
TO_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
TO_STORED = TO_UPRIGHT | {6: Pillow.Transpose.ROTATE_90, 8: Pillow.Transpose.ROTATE_270}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """As scan and workers run: oddities of files are no warnings."""
    with quiet_pillow(MAX_PIXELS):
        yield


def with_pillow(encoded: bytes, channels: int, background: tuple[int, int, int] = WHITE) -> Pixels:
    """The rules of the contract in Pillow's words; raises whatever Pillow raises."""
    with Pillow.open(io.BytesIO(encoded)) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
        assert converted is not None
        image = converted
    if image.mode == "YCbCr":
        image = image.convert("RGB")
    if image.has_transparency_data and channels != 4:
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, background), image.convert("RGBA"))
    pixels: Pixels = np.asarray(image.convert(TARGETS[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)


def planned(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """The record of a file as the scan makes it, relative to the root folder of the machine."""
    name = os.fsencode(path)
    return Image(name.lstrip(b"/"), 0, -1, os.path.getsize(name), *read_header(name, max_pixels))


def decoded(path: Path, channels: int = 3, background: tuple[int, int, int] = WHITE) -> Pixels:
    return Decoder(channels, background).decode(b"/", planned(path))[0]


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Pillow.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    if mode == "LAB":
        return Pillow.frombytes("LAB", (width, height), values[..., :3].tobytes())
    return Pillow.fromarray(values).convert(mode)


def smooth(width: int, height: int, seed: int = 0) -> Pillow.Image:
    """Like a photo: what JPEG was made for."""
    return noise(max(2, width // 8), max(2, height // 8), seed=seed).resize((width, height), Pillow.Resampling.BICUBIC)


def encode(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, colour: int, lines: bytes = b"") -> bytes:
    """A PNG as its bytes say: Pillow does not write all kinds that it reads."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(lines)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(
    values: npt.NDArray[Any], *, photometric: int = 1, extra: tuple[int, ...] = (), order: Literal["<", ">"] = "<"
) -> bytes:
    """A TIFF of one strip, (height, width, bands), as a satellite or a microscope writes it."""
    height, width, bands = values.shape
    values = values.astype(values.dtype.newbyteorder(order))
    depth, sample = values.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    fields: list[tuple[int, int, tuple[int, ...]]] = [
        (256, 3, (width,)),
        (257, 3, (height,)),
        (258, 3, (depth,) * bands),
        (259, 3, (1,)),
        (262, 3, (photometric,)),
        (273, 4, (8,)),
        (277, 3, (bands,)),
        (278, 3, (height,)),
        (279, 4, (values.nbytes,)),
        (338, 3, extra),
        (339, 3, (sample,) * bands),
    ]
    fields = [field for field in fields if field[2]]
    pixels = values.tobytes() + bytes(values.nbytes % 2)
    at = 8 + len(pixels)
    beyond, entries = b"", b""
    for tag, kind, numbers in fields:
        content = struct.pack(f"{order}{len(numbers)}{'HI'[kind == 4]}", *numbers)
        if len(content) > 4:
            place = at + 2 + 12 * len(fields) + 4 + len(beyond)
            beyond += content
            content = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, kind, len(numbers)) + content.ljust(4, b"\0")
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", at)
    return start + pixels + struct.pack(order + "H", len(fields)) + entries + bytes(4) + beyond


def exif(orientation: int) -> Pillow.Exif:
    tags = Pillow.Exif()
    tags[0x0112] = orientation
    return tags


def xmp(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
    ) % orientation


def at_the_end(encoded: bytes, name: bytes, content: bytes = b"") -> bytes:
    """Move a PNG's chunk behind the pixels, or put a new one there."""
    at = encoded.find(name) - 4
    if at >= 0 and not content:
        (length,) = struct.unpack_from(">I", encoded, at)
        chunk = encoded[at : at + length + 12]
        encoded = encoded[:at] + encoded[at + length + 12 :]
    else:
        chunk = png_chunk(name, content)
    return encoded[:-12] + chunk + encoded[-12:]


# --- equal to Pillow


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", SETS)
def test_pixels_of_real_files_are_those_of_pillow(shared_data: Path, name: str, channels: int) -> None:
    root = os.fsencode(shared_data / name / "data")
    found = scan(root, max_pixels=MAX_PIXELS)
    assert found.images
    decoder = Decoder(channels, WHITE)
    wrong = []
    for image in found.images:
        encoded = Path(os.fsdecode(os.path.join(root, image.path))).read_bytes()
        try:
            expected: Pixels | None = with_pillow(encoded, channels)
        except Exception:
            expected = None
        try:
            pixels, sha256 = decoder.decode(root, image)
        except Unreadable:
            if expected is not None:
                wrong.append((image.path, "refused, but Pillow reads it"))
            continue
        if expected is None:
            wrong.append((image.path, "read, but Pillow refuses it"))
        elif not np.array_equal(pixels, expected):
            wrong.append((image.path, "other pixels than Pillow's"))
        assert pixels.shape == (image.height, image.width, channels)
        assert sha256 == hashlib.sha256(encoded).hexdigest().encode()
    assert wrong == []


MODES: dict[str, tuple[str, ...]] = {
    "1": ("PNG", "TIFF", "BMP", "GIF", "PPM"),
    "L": ("PNG", "TIFF", "BMP", "GIF", "PPM", "JPEG", "JPEG2000"),
    "LA": ("PNG", "TIFF", "JPEG2000"),
    "P": ("PNG", "TIFF", "BMP", "GIF"),
    "RGB": ("PNG", "TIFF", "BMP", "PPM", "JPEG", "JPEG2000", "WEBP"),
    "RGBA": ("PNG", "TIFF", "BMP", "JPEG2000", "WEBP"),
    "CMYK": ("TIFF", "JPEG"),
    "YCbCr": ("TIFF",),
    "LAB": ("TIFF",),
}


@pytest.mark.parametrize(("mode", "kind"), [(mode, kind) for mode, kinds in MODES.items() for kind in kinds])
def test_every_colour_model_of_every_format(tmp_path: Path, mode: str, kind: str) -> None:
    encoded = encode(noise(37, 23, mode), kind)
    (tmp_path / "a").write_bytes(encoded)
    for channels in (1, 3, 4):
        for background in (WHITE, (10, 200, 30)):
            try:
                expected = with_pillow(encoded, channels, background)
            except (ValueError, OSError):  # Pillow 12 writes YCbCr that it cannot read
                with pytest.raises(Unreadable):
                    decoded(tmp_path / "a", channels, background)
                continue
            np.testing.assert_array_equal(decoded(tmp_path / "a", channels, background), expected)


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encode(noise(37, 23, "1"), "PNG"))
    assert set(np.unique(decoded(tmp_path / "a", 1))) == {0, 255}


@pytest.mark.parametrize(("mode", "transparency"), [("L", 7), ("RGB", (1, 2, 3)), ("P", 3), ("P", bytes(range(256)))])
def test_a_transparent_colour_is_composited(tmp_path: Path, mode: str, transparency: Any) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = (
        Pillow.fromarray(values)
        if mode != "RGB"
        else Pillow.merge("RGB", [Pillow.fromarray(values + n) for n in (0, 1, 2)])
    )
    if mode == "P":
        image = image.convert("P")
    encoded = encode(image, "PNG", transparency=transparency)
    (tmp_path / "a").write_bytes(encoded)
    assert planned(tmp_path / "a").alpha
    for channels in (1, 3, 4):
        got = decoded(tmp_path / "a", channels, (9, 99, 199))
        np.testing.assert_array_equal(got, with_pillow(encoded, channels, (9, 99, 199)))
    assert decoded(tmp_path / "a", 4)[..., 3].min() == 0
    assert (decoded(tmp_path / "a", 3, (9, 99, 199)) == (9, 99, 199)).all(axis=-1).any()


def test_strips_are_joined_without_a_seam(tmp_path: Path) -> None:
    encoded = encode(noise(3000, 1000, "RGBA"), "PNG", compress_level=0)
    (tmp_path / "a.png").write_bytes(encoded)
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), with_pillow(encoded, 3))


def test_the_first_frame_is_read(tmp_path: Path) -> None:
    first, second = noise(20, 10, "RGB", 1), noise(20, 10, "RGB", 2)
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        (tmp_path / kind).write_bytes(encode(first, kind, save_all=True, append_images=[second], **options))
        if kind != "GIF":
            np.testing.assert_array_equal(decoded(tmp_path / kind), np.asarray(first))
        np.testing.assert_array_equal(decoded(tmp_path / kind), with_pillow((tmp_path / kind).read_bytes(), 3))


# --- the fast way for JPEG


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    quality=st.sampled_from([1, 30, 75, 90, 100]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    progressive=st.booleans(),
    restart=st.integers(0, 3),
    gray=st.booleans(),
    keep_rgb=st.booleans(),
    tail=st.sampled_from([b"", b"\0", b"tail" * 100]),
)
def test_every_kind_of_jpeg_has_the_pixels_of_pillow(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int],
    quality: int,
    subsampling: str,
    progressive: bool,
    restart: int,
    gray: bool,
    keep_rgb: bool,
    tail: bytes,
) -> None:
    image = smooth(*size).convert("L" if gray else "RGB")
    options = {} if gray or keep_rgb else {"subsampling": subsampling}
    encoded = encode(
        image,
        "JPEG",
        quality=quality,
        progressive=progressive,
        restart_marker_rows=restart,
        keep_rgb=keep_rgb,
        **options,
    )
    path = tmp_path_factory.getbasetemp() / "kind.jpg"
    path.write_bytes(encoded + tail)
    for channels in (1, 3, 4):
        np.testing.assert_array_equal(decoded(path, channels), with_pillow(encoded, channels))


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_an_ordinary_jpeg_takes_the_fast_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, channels: int
) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(smooth(64, 48).convert(mode), "JPEG"))
    expected = decoded(tmp_path / "a.jpg", channels).copy()

    def slow(*arguments: object) -> None:
        raise AssertionError("went through Pillow")

    monkeypatch.setattr(Decoder, "_pillow", slow)
    np.testing.assert_array_equal(decoded(tmp_path / "a.jpg", channels), expected)


def mutations(encoded: bytes, n: int, seed: int) -> Iterator[bytes]:
    """One changed byte (half of them near the start), or a part of the file."""
    choose = random.Random(seed)
    for _ in range(n):
        what = choose.randrange(5)
        at = choose.randrange(min(len(encoded), 700) if what < 2 else len(encoded))
        if what == 4:
            yield encoded[:at]
        else:
            yield encoded[:at] + bytes([choose.randrange(256)]) + encoded[at + 1 :]


def check_like_pillow(path: Path, encoded: bytes, channels: int) -> str:
    """Pixels equal Pillow's, and there are none where Pillow refuses; says what happened."""
    path.write_bytes(encoded)
    try:
        pixels = Decoder(channels, WHITE).decode(b"/", planned(path, 10**6))[0]
    except (Unreadable, NotAnImage):
        return "refused"
    expected = with_pillow(encoded, channels)  # what Pillow raises here is the failure: we gave pixels
    np.testing.assert_array_equal(pixels, expected)
    return "read"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True, "quality": 50}, {"restart_marker_rows": 1, "subsampling": 0}, {"keep_rgb": True}],
    ids=["baseline", "progressive", "restart", "rgb"],
)
def test_damaged_jpegs_are_read_as_pillow_does_or_refused(tmp_path: Path, options: dict[str, Any], seed: int) -> None:
    image = smooth(61, 45)
    encoded = encode(image, "JPEG", exif=exif(6), comment=b"a comment", **options)
    seen = [check_like_pillow(tmp_path / "a.jpg", some, 3) for some in mutations(encoded, 200, seed)]
    gray = encode(
        image.convert("L"), "JPEG", **{k: v for k, v in options.items() if k not in ("subsampling", "keep_rgb")}
    )
    seen += [check_like_pillow(tmp_path / "a.jpg", some, 1) for some in mutations(gray, 100, seed)]
    assert set(seen) == {"read", "refused"}


def test_a_damaged_jpeg_that_pillow_reads_is_read(tmp_path: Path) -> None:
    """Where simplejpeg has a doubt, Pillow decides."""
    encoded = encode(smooth(61, 45), "JPEG")
    at = encoded.index(b"\xff\xda") + 40
    n_read = 0
    for value in range(0, 255, 5):
        some = encoded[:at] + bytes([value]) + encoded[at + 1 :]
        try:
            with_pillow(some, 3)
        except Exception:
            continue
        n_read += check_like_pillow(tmp_path / "a.jpg", some, 3) == "read"
    assert n_read > 10


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "TIFF"])
def test_damaged_files_of_other_formats_are_read_as_pillow_does_or_refused(tmp_path: Path, kind: str) -> None:
    encoded = encode(smooth(31, 25), kind)
    seen = [check_like_pillow(tmp_path / "a.png", some, 3) for some in mutations(encoded, 100, 1)]
    assert "refused" in seen


# --- upright


def upright_and_stored(orientation: int) -> tuple[Pillow.Image, Pillow.Image]:
    upright = smooth(40, 24)
    return upright, upright.transpose(TO_STORED[orientation]) if orientation > 1 else upright


WRITERS: dict[str, Callable[[Pillow.Image, int], bytes]] = {
    "PNG": lambda image, n: encode(image, "PNG", exif=exif(n)),
    "PNG, tags after the pixels": lambda image, n: at_the_end(encode(image, "PNG", exif=exif(n)), b"eXIf"),
    "PNG, XMP after the pixels": lambda image, n: at_the_end(
        encode(image, "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(n)
    ),
    "PNG, XMP after the pixels and other tags before": lambda image, n: at_the_end(
        encode(image, "PNG", exif=described()), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(n)
    ),
    "TIFF": lambda image, n: encode(image, "TIFF", tiffinfo={274: n}),
    "TIFF, LZW": lambda image, n: encode(image, "TIFF", tiffinfo={274: n}, compression="tiff_lzw"),
    "TIFF, XMP": lambda image, n: encode(image, "TIFF", tiffinfo={700: xmp(n)}),
    "WEBP": lambda image, n: encode(image, "WEBP", lossless=True, exif=exif(n)),
}


def described() -> Pillow.Exif:
    tags = Pillow.Exif()
    tags[0x010E] = "a description"
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("writer", WRITERS)
def test_an_image_is_turned_upright(tmp_path: Path, writer: str, orientation: int) -> None:
    upright, stored = upright_and_stored(orientation)
    encoded = WRITERS[writer](stored, orientation)
    (tmp_path / "a").write_bytes(encoded)
    np.testing.assert_array_equal(with_pillow(encoded, 3), np.asarray(upright))
    header = read_header(os.fsencode(tmp_path / "a"), MAX_PIXELS)
    assert (header.width, header.height) == (40, 24)
    np.testing.assert_array_equal(decoded(tmp_path / "a"), np.asarray(upright))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tags", ["exif", "xmp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_turned_upright(tmp_path: Path, orientation: int, tags: str, mode: str) -> None:
    upright, stored = (image.convert(mode) for image in upright_and_stored(orientation))
    options: dict[str, Any] = {"exif": exif(orientation)} if tags == "exif" else {"xmp": xmp(orientation)}
    encoded = encode(stored, "JPEG", quality=95, **options)
    (tmp_path / "a.jpg").write_bytes(encoded)
    for channels in (1, 3):
        pixels = decoded(tmp_path / "a.jpg", channels)
        assert pixels.shape == (24, 40, channels)
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, with_pillow(encoded, channels))
    difference = decoded(tmp_path / "a.jpg", 3).astype(int) - np.asarray(upright.convert("RGB"))
    assert np.abs(difference).mean() < 8


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 4]))
def test_turning_is_that_of_pillow(orientation: int, width: int, height: int, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    image = Pillow.fromarray(pixels[..., 0])
    expected = np.asarray(image.transpose(TO_UPRIGHT[orientation])) if orientation > 1 else pixels[..., 0]
    np.testing.assert_array_equal(turn(pixels, orientation)[..., 0], expected)
    assert turn(pixels, orientation).shape == (*expected.shape, channels)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, value: int) -> None:
    (tmp_path / "a.png").write_bytes(encode(noise(40, 24), "PNG", exif=exif(value)))
    assert planned(tmp_path / "a.png").orientation == 1
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), np.asarray(noise(40, 24)))


def test_the_same_scene_in_every_orientation_is_the_same_scene(shared_data: Path) -> None:
    root = os.fsencode(shared_data / "exif_orientation" / "data")
    found = scan(root, max_pixels=MAX_PIXELS)
    assert len(found.images) == 18
    decoder = Decoder(3, WHITE)
    for label, size in enumerate([(1800, 1200), (1200, 1800)]):
        scenes = [image for image in found.images if image.label == label]
        assert {image.size for image in scenes} == {size}
        thumbnails = [decoder.decode(root, image)[0][::16, ::16].astype(int) for image in scenes]
        assert all(np.abs(thumbnail - thumbnails[0]).mean() < 6 for thumbnail in thumbnails)


# --- refused


U2, I2, I4, F4 = (np.dtype(name) for name in ("u2", "i2", "i4", "f4"))


def grays(kind: np.dtype[Any], bands: int = 1) -> npt.NDArray[Any]:
    return np.arange(16 * 12 * bands).reshape(12, 16, bands).astype(kind)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "16-bit gray PNG": (lambda: png(4, 1, 16, 0, bytes(9)), "16-bit samples"),
    "16-bit gray PNG with alpha": (lambda: png(2, 1, 16, 4, bytes(9)), "16-bit samples"),
    "16-bit RGB PNG": (lambda: png(1, 1, 16, 2, bytes(7)), "16-bit samples"),
    "16-bit RGBA PNG": (lambda: png(1, 1, 16, 6, bytes(9)), "16-bit samples"),
    "16-bit gray TIFF": (lambda: tiff(grays(U2)), "16-bit samples"),
    "16-bit gray TIFF, big-endian": (lambda: tiff(grays(U2), order=">"), "16-bit samples"),
    "16-bit RGB TIFF": (lambda: tiff(grays(U2, 3), photometric=2), "16-bit"),
    "16-bit RGB TIFF, big-endian": (lambda: tiff(grays(U2, 3), photometric=2, order=">"), "16-bit"),
    "16-bit RGBA TIFF": (lambda: tiff(grays(U2, 4), photometric=2, extra=(2,)), "16-bit"),
    "signed 16-bit TIFF": (lambda: tiff(grays(I2)), "16 or 32 bits"),
    "32-bit TIFF": (lambda: tiff(grays(I4)), "16 or 32 bits"),
    "float TIFF": (lambda: tiff(grays(F4)), "float"),
    "five bands": (lambda: tiff(grays(np.dtype("u1"), 5), photometric=2, extra=(0, 0)), "5 bands"),
    "16-bit PGM": (lambda: b"P5 4 1 65535\n" + bytes(8), "16"),
    "16-bit PPM": (lambda: b"P6 1 1 65535\n" + bytes(6), "16-bit samples"),
    "16-bit JPEG 2000": (lambda: encode(Pillow.fromarray(grays(U2)[..., 0]), "JPEG2000"), "16-bit samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_lose_something_is_refused(tmp_path: Path, name: str) -> None:
    draw, reason = REFUSED[name]
    (tmp_path / "a.tif").write_bytes(draw())
    with pytest.raises(Unreadable, match=reason) as error:
        read_header(os.fsencode(tmp_path / "a.tif"), MAX_PIXELS)
    assert "only" in str(error.value)


def test_a_fourth_band_that_pillow_drops_is_refused_in_words_that_hold(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(grays(np.dtype("u1"), 4), photometric=2, extra=(0,)))
    with pytest.raises(Unreadable) as error:
        read_header(os.fsencode(tmp_path / "a.tif"), MAX_PIXELS)
    assert "4 bands: only images of 1, 3 or 4" not in str(error.value)


@pytest.mark.parametrize(
    ("bands", "photometric", "extra"), [(1, 1, ()), (1, 0, ()), (3, 2, ()), (4, 2, (2,)), (4, 2, (1,)), (2, 1, (2,))]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_plain_tiffs_are_read(
    tmp_path: Path, bands: int, photometric: int, extra: tuple[int, ...], order: Literal["<", ">"]
) -> None:
    encoded = tiff(grays(np.dtype("u1"), bands), photometric=photometric, extra=extra, order=order)
    (tmp_path / "a.tif").write_bytes(encoded)
    for channels in (1, 3, 4):
        np.testing.assert_array_equal(decoded(tmp_path / "a.tif", channels), with_pillow(encoded, channels))


def test_jpeg_2000_with_much_before_the_pixels_is_read(tmp_path: Path) -> None:
    encoded = encode(noise(40, 24), "JPEG2000")
    at = encoded.index(b"jp2c") - 4
    box = struct.pack(">I4s", 8 + 70_000, b"uuid") + np.random.default_rng(0).bytes(70_000)
    (tmp_path / "a.jp2").write_bytes(encoded[:at] + box + encoded[at:])
    np.testing.assert_array_equal(decoded(tmp_path / "a.jp2"), with_pillow(encoded, 3))


@pytest.mark.parametrize("name", ["cat.png", "cat.jpg", "cat.eps", "cat"])
def test_postscript_is_never_run_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    drawing = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n"

    def run(*arguments: object, **options: object) -> None:
        raise AssertionError("PostScript was run")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    monkeypatch.setattr(subprocess, "check_call", run)
    path = tmp_path / name
    path.write_bytes(drawing)
    Pillow.init()
    with pytest.raises((Unreadable, NotAnImage)):
        read_header(os.fsencode(path), MAX_PIXELS)
    record = Image(os.fsencode(path)[1:], 0, -1, len(drawing), 40, 30, "RGB", False, 1)
    with pytest.raises(Unreadable):
        Decoder(3, WHITE).decode(b"/", record)


def test_pillow_is_only_asked_for_the_format_that_the_content_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.eps").write_bytes(encode(noise(8, 4), "PNG"))
    asked: list[object] = []
    open_image = Pillow.open

    def noted(file: Any, mode: Any = "r", formats: Any = None) -> Pillow.Image:
        asked.append(formats)
        return open_image(file, mode, formats)

    monkeypatch.setattr(Pillow, "open", noted)
    decoded(tmp_path / "a.eps")
    assert asked == [("PNG",)] * 2


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "JPEG"])
def test_bombs_are_refused_by_their_header(tmp_path: Path, kind: str) -> None:
    small = encode(noise(8, 8), kind)
    bomb = {
        "PNG": png(30_000, 30_000, 8, 2),
        "GIF": small[:6] + struct.pack("<HH", 60_000, 60_000) + small[10:],
        "BMP": small[:18] + struct.pack("<II", 60_000, 60_000) + small[26:],
        "TIFF": tiff(grays(np.dtype("u1")))
        .replace(struct.pack("<HHIH", 256, 3, 1, 16), struct.pack("<HHIH", 256, 3, 1, 60_000))
        .replace(struct.pack("<HHIH", 257, 3, 1, 12), struct.pack("<HHIH", 257, 3, 1, 60_000)),
        "JPEG": small.replace(struct.pack(">BHH", 8, 8, 8), struct.pack(">BHH", 8, 60_000, 60_000)),
    }[kind]
    (tmp_path / "a").write_bytes(bomb)
    with pytest.raises(Unreadable, match="more than 178,956,970 px, see --max-pixels"):
        read_header(os.fsencode(tmp_path / "a"), MAX_PIXELS)


def test_the_limit_of_px_is_exact(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        (tmp_path / kind).write_bytes(encode(noise(40, 30), kind))
        assert read_header(os.fsencode(tmp_path / kind), 1200)[:2] == (40, 30)
        with pytest.raises(Unreadable, match="1,199 px, see --max-pixels"):
            read_header(os.fsencode(tmp_path / kind), 1199)


LIMITED = """
    import json, os, resource, sys
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    from patchcli.io.headers import Unreadable, quiet_pillow
    from patchcli.io.images import Decoder
    from patchcli.io.scan import scan
    from patchcli.specs import MAX_PIXELS

    root = os.fsencode(sys.argv[1])
    found = scan(root, max_pixels=MAX_PIXELS)
    said = {os.fsdecode(one.path): one.reason for one in found.skipped}
    with quiet_pillow(MAX_PIXELS):
        for image in found.images:
            try:
                Decoder(3, (255, 255, 255)).decode(root, image)
                said[os.fsdecode(image.path)] = ""
            except Unreadable as error:
                said[os.fsdecode(image.path)] = str(error)
    print(json.dumps(said))
"""


def test_hostile_files_end_as_reasons_within_limits(shared_data: Path) -> None:
    root = shared_data / "formats" / "data"
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), root], capture_output=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr.decode()
    assert b"Traceback" not in run.stderr
    said: dict[str, str] = json.loads(run.stdout)
    files = [os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names]
    assert set(said) == set(files)
    assert all(reason for path, reason in said.items() if path.startswith("bomb/"))
    broken = {path for path, reason in said.items() if path.startswith("corrupt_truncated/") and reason}
    assert broken >= {
        f"corrupt_truncated/{name}" for name in ("truncated_jpeg.jpg", "truncated_image.png", "broken.png")
    }
    for reason in said.values():
        assert "\n" not in reason
        assert len(reason) < 200
        assert str(root) not in reason


def test_truncated_images_are_unreadable(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000"):
        encoded = encode(noise(200, 150), kind)
        for part in (0.3, 0.9):
            (tmp_path / "a.png").write_bytes(encoded[: int(len(encoded) * part)])
            with pytest.raises(Unreadable):
                decoded(tmp_path / "a.png")


# --- the file itself


def test_a_file_that_changed_since_the_scan_is_unreadable(tree: Tree) -> None:
    root = tree("cat/a.png", "cat/a.jpg", "cat/a.tif", "cat/b.bmp", size=(8, 4))
    found = {image.path: image for image in scan(os.fsencode(root), max_pixels=MAX_PIXELS).images}
    decoder = Decoder(3, WHITE)
    for path, image in found.items():
        decoder.decode(os.fsencode(root), image)
        with open(root / os.fsdecode(path), "ab") as file:
            file.write(b"\0")
        with pytest.raises(Unreadable, match="has changed since it was scanned"):
            decoder.decode(os.fsencode(root), image)


def test_a_file_of_the_same_bytes_and_other_sides_is_unreadable(tmp_path: Path) -> None:
    for kind in ("BMP", "PPM"):
        (tmp_path / "a").write_bytes(encode(noise(8, 4), kind))
        image = planned(tmp_path / "a")
        for sides in ((4, 8), (8, 3), (2, 4)):
            other = encode(noise(*sides), kind)
            (tmp_path / "a").write_bytes(other.ljust(image.n_bytes, b"\0")[: image.n_bytes])
            with pytest.raises(Unreadable, match="has changed"):
                Decoder(3, WHITE).decode(b"/", image)


@pytest.mark.parametrize("sides", [(32, 64), (48, 48), (8, 8), (64, 33)])
def test_a_jpeg_of_the_same_bytes_and_other_sides_is_unreadable(tmp_path: Path, sides: tuple[int, int]) -> None:
    path = tmp_path / "a.jpg"
    first, second = encode(smooth(64, 32), "JPEG"), encode(smooth(*sides), "JPEG")
    n = max(len(first), len(second))
    path.write_bytes(first.ljust(n, b"\0"))
    image = planned(path)
    path.write_bytes(second.ljust(n, b"\0"))
    with pytest.raises(Unreadable, match="has changed"):
        Decoder(3, WHITE).decode(b"/", image)


def test_a_file_that_is_gone_or_another_thing_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(8, 4), "PNG"))
    image = planned(path)
    path.write_bytes(b"\0" * image.n_bytes)
    with pytest.raises(Unreadable, match="has changed"):
        Decoder(3, WHITE).decode(b"/", image)
    path.unlink()
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        Decoder(3, WHITE).decode(b"/", image)


@pytest.mark.parametrize("limit", [None, 100])
def test_the_digest_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    if limit is not None:  # as if the file were too large for memory
        monkeypatch.setattr("patchcli.io.images.IN_MEMORY_BYTES", limit)
    for kind in ("JPEG", "PNG", "TIFF"):
        path = tmp_path / kind
        path.write_bytes(encode(smooth(64, 32), kind))
        pixels, sha256 = Decoder(3, WHITE).decode(b"/", planned(path))
        assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest().encode() == file_sha256(os.fsencode(path))
        np.testing.assert_array_equal(pixels, with_pillow(path.read_bytes(), 3))
    assert file_sha256(os.fsencode(tmp_path / "missing")) == b""


def test_one_decoder_reads_images_of_any_size_one_after_another(tmp_path: Path) -> None:
    decoder = Decoder(3, WHITE)
    for number, size in enumerate([(9, 5), (60, 40), (3, 70), (60, 41), (1, 1)]):
        for kind in ("JPEG", "PNG"):
            path = tmp_path / f"{number}{kind}"
            path.write_bytes(encode(smooth(*size, seed=number), kind, exif=exif(number + 4)))
            pixels, _ = decoder.decode(b"/", planned(path))
            np.testing.assert_array_equal(pixels, with_pillow(path.read_bytes(), 3))


def test_an_unreadable_image_does_not_harm_the_next(tmp_path: Path) -> None:
    decoder = Decoder(3, WHITE)
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(encode(smooth(64, 32), "JPEG"))
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    for _ in range(2):
        with pytest.raises(Unreadable):
            decoder.decode(b"/", planned(bad))
        np.testing.assert_array_equal(decoder.decode(b"/", planned(good))[0], with_pillow(good.read_bytes(), 3))


# --- around it


def test_pillow_is_left_as_it_was() -> None:
    with quiet_pillow(7):
        assert Pillow.MAX_IMAGE_PIXELS == 7
        with pytest.raises(RuntimeError), quiet_pillow(8):
            raise RuntimeError
        assert Pillow.MAX_IMAGE_PIXELS == 7
        warnings.warn("not seen", stacklevel=1)
    assert Pillow.MAX_IMAGE_PIXELS == MAX_PIXELS


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", WHITE),
        ("#102030", (16, 32, 48)),
        ("#fff", WHITE),
        ("rgb(1, 2, 3)", (1, 2, 3)),
    ],
)
def test_colours(text: str, colour: tuple[int, int, int]) -> None:
    assert parse_color(text) == colour


@pytest.mark.parametrize("text", ["", "whitish", "#12", "1,2,3", "#10203040"])
def test_a_colour_that_does_not_exist_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=f"background is {text!r}"):
        parse_color(text)
