"""Images: any file to RGB, the published crop, one resize, and back without loss."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from PIL import Image

from s2i.data.file_kinds import FOREIGN_IMAGES
from s2i.data.images import (
    grid,
    load_image,
    resize,
    save_png,
    square_crop,
    to_tensor,
    to_uint8,
    upright_size,
)
from s2i.errors import InputError


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8))


def coordinates(width: int, height: int) -> Image.Image:
    """An image whose red is x and whose green is y."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png")]
)
def test_an_image_of_any_mode_becomes_rgb(tmp_path, mode, suffix):
    noise(8, 9).convert(mode).save(tmp_path / f"image.{suffix}")
    image = load_image(tmp_path / f"image.{suffix}")
    assert image.mode == "RGB" and image.size == (9, 8)


def test_a_photograph_stands_upright_as_viewers_show_it(tmp_path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, :20] = 255  # the left half, which a phone that was turned calls the top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "phone.jpg", exif=exif)
    upright = np.asarray(load_image(tmp_path / "phone.jpg"))
    assert upright.shape == (40, 20, 3) and upright[:18].min() > 200 and upright[22:].max() < 50


def test_an_image_of_16_bits_keeps_its_brightness(tmp_path):
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert np.unique(np.asarray(load_image(tmp_path / "deep.png"))).tolist() == [128]


def ramp() -> np.ndarray:
    """Every grey: uint8 (8, 256)."""
    return np.tile(np.arange(256, dtype=np.uint8), (8, 1))


def tiff(values: np.ndarray, kind: int | None, order: str = "<", **tags: float) -> bytes:
    """A greyscale TIFF of values that PIL may not write; `kind`: 1 unsigned, 2 signed, 3 float."""
    numbers = {"bits": 258, "photometric": 262, "least": 340, "most": 341}
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width = values.shape
    rows = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    rows |= {279: len(data)} | ({} if kind is None else {339: kind})
    rows |= {numbers[name]: value for name, value in tags.items()}
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data)) + data
    entries = b""
    for number, value in sorted(rows.items()):
        form, code = ("f", 11) if isinstance(value, float) else ("I", 4)
        entries += struct.pack(f"{order}HHI{form}", number, code, 1, value)
    return head + struct.pack(f"{order}H", len(rows)) + entries + struct.pack(f"{order}I", 0)


DEEP = {
    "uint16": (ramp().astype(np.uint16) * 257, 1),
    "uint16 without a kind": (ramp().astype(np.uint16) * 257, None),
    "int16": (ramp().astype(np.int16) * 128, 2),
    "int16 of 8 bits": (ramp().astype(np.int16), 2),
    "int32": (ramp().astype(np.int32) * 2**23, 2),
    "int32 of 16 bits": (ramp().astype(np.int32) * 257, 2),
    "int32 of 8 bits": (ramp().astype(np.int32), 2),
    "uint32": (ramp().astype(np.uint32) * 16843009, 1),
    "uint32 of 16 bits": (ramp().astype(np.uint32) * 257, 1),
    "float": ((ramp() / 255).astype(np.float32), 3),
    "float of 8 bits": (ramp().astype(np.float32), 3),
    "float of 16 bits": (ramp().astype(np.float32) * 257, 3),
    "float with an overshoot": ((ramp() / 255).astype(np.float32) * 1.001 - 0.0005, 3),
}


@pytest.mark.parametrize(
    ("name", "order"),  # PIL opens no other uint32
    [(name, order) for name in DEEP for order in "<>" if order == "<" or not name.startswith("uint32")],
)
def test_an_image_of_more_than_8_bits_keeps_its_greys(tmp_path, name, order):
    (tmp_path / "deep.tif").write_bytes(tiff(*DEEP[name], order))
    pixels = np.asarray(load_image(tmp_path / "deep.tif"))
    assert (pixels == ramp()[:, :, None]).all()


@pytest.mark.parametrize(("name", "order"), [("uint16", "<"), ("float", "<"), ("float", ">")])
def test_a_deep_tiff_whose_white_is_zero_is_no_negative(tmp_path, name, order):
    (tmp_path / "a.tif").write_bytes(tiff(*DEEP[name], order, photometric=0))
    assert (np.asarray(load_image(tmp_path / "a.tif")) == 255 - ramp()[:, :, None]).all()


def test_a_tiff_of_12_bits_has_its_own_white(tmp_path):
    values = (np.arange(256, dtype=np.uint16) * 16 + 15).repeat(2)
    packed = bytearray()
    for first, second in values.reshape(-1, 2).tolist():
        packed += bytes((first >> 4, (first & 15) << 4 | second >> 8, second & 255))
    content = tiff(np.frombuffer(bytes(packed), np.uint8).reshape(1, -1), 1, bits=12)
    at = content.index(struct.pack("<HHI", 256, 4, 1)) + 8
    (tmp_path / "a.tif").write_bytes(content[:at] + struct.pack("<I", len(values)) + content[at + 4 :])
    assert np.asarray(load_image(tmp_path / "a.tif"))[0, ::2, 0].tolist() == list(range(256))


def test_a_float_tiff_has_the_range_that_it_declares(tmp_path):
    values = ramp().astype(np.float32) * 3.7 - 200.25
    (tmp_path / "a.tif").write_bytes(tiff(values, 3, least=-200.25, most=255 * 3.7 - 200.25))
    assert (np.asarray(load_image(tmp_path / "a.tif")) == ramp()[:, :, None]).all()


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        (ramp().astype(np.float32) * 3.7, 3, "values from 0 to 943.5"),
        (ramp().astype(np.float32) - 20, 3, "values from -20 to 235"),
        ((ramp() / 255).astype(np.float32) + np.float32(np.nan), 3, "no numbers"),
        (ramp().astype(np.int32) - 20, 2, "values from -20 to 235"),
        (ramp().astype(np.float64), 3, "something else"),
        (ramp().astype(np.uint64), 1, "something else"),
    ],
)
def test_values_without_a_known_range_are_refused_in_one_line(tmp_path, values, kind, reason):
    (tmp_path / "a.tif").write_bytes(tiff(values, kind))
    with pytest.raises(InputError, match=reason) as caught:
        load_image(tmp_path / "a.tif")
    assert str(caught.value).count(str(tmp_path / "a.tif")) == 1 and "\n" not in str(caught.value)


MODES = {
    "tif": ("1", "L", "P", "RGB", "CMYK", "I;16", "F", "LA", "RGBA"),
    "png": ("1", "L", "P", "RGB", "I;16", "LA", "RGBA"),
    "jpg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix in MODES for mode in MODES[suffix]])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_image_of_any_mode_stands_upright(tmp_path, mode, suffix, turn):
    image = Image.fromarray(np.kron(np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6), np.ones((8, 8))))
    image = image.convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image) / np.float32(255))
    elif mode in ("LA", "RGBA"):
        image.putalpha(255)
    image = image if mode == "LA" else image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(tmp_path / f"plain.{suffix}")
    image.save(tmp_path / f"turned.{suffix}", exif=exif)
    plain, turned = (load_image(tmp_path / f"{name}.{suffix}") for name in ("plain", "turned"))
    for moves in UPRIGHT[turn]:
        plain = plain.transpose(moves)
    assert turned.size == plain.size
    assert np.abs(np.asarray(turned).astype(int) - np.asarray(plain)).max() <= (24 if suffix == "jpg" else 4)
    with Image.open(tmp_path / f"turned.{suffix}") as opened:
        assert upright_size(opened) == turned.size


UPRIGHT = {  # what undoes each of EXIF's turns
    1: (),
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}


@pytest.mark.parametrize("form", ["RGBA png", "RGBA tif", "RGBA webp", "LA png", "P png", "P gif", "RGB png"])
def test_what_is_transparent_lies_on_white(tmp_path, form):
    mode, suffix = form.split()
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 0] = 255  # hidden red
    pixels[4:12, 4:12] = (0, 0, 200, 255)
    image = Image.fromarray(pixels)
    path, options = tmp_path / f"a.{suffix}", {"lossless": True} if suffix == "webp" else {}
    if mode == "P":
        image = Image.fromarray((pixels[..., 2] > 0).astype(np.uint8), "P")
        image.putpalette([255, 0, 0, 0, 0, 200])
        options = {"transparency": 0}
    elif mode == "RGB":
        image, options = image.convert("RGB"), {"transparency": (255, 0, 0)}
    elif mode == "LA":
        image = image.convert("LA")
    else:
        options |= {"exact": True} if suffix == "webp" else {}
    image.save(path, **options)
    loaded_pixels = np.asarray(load_image(path))
    assert (loaded_pixels[0, 0] == 255).all() and (
        loaded_pixels[5, 5] == ((23, 23, 23) if mode == "LA" else (0, 0, 200))
    ).all()


def test_what_is_half_transparent_is_half_white(tmp_path):
    Image.fromarray(np.full((4, 4, 4), (200, 0, 100, 128), np.uint8)).save(tmp_path / "a.png")
    assert np.abs(np.asarray(load_image(tmp_path / "a.png"))[0, 0] - (227.0, 127, 177)).max() <= 1


def test_an_opaque_alpha_changes_nothing(tmp_path):
    image = noise(16, 16)
    image.putalpha(255)
    image.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "a.png")), np.asarray(image)[..., :3])


def test_a_wholly_transparent_image_is_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="nothing but transparency in .*a.png"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_of_several_images_in_a_file_the_first_is_read(tmp_path, suffix):
    first, second = (Image.new("RGB", (9, 8), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], **options)
    assert np.asarray(load_image(tmp_path / f"a.{suffix}"))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("ending", FOREIGN_IMAGES)
def test_an_image_that_cannot_be_decoded_is_refused_with_a_reason(tmp_path, ending):
    (tmp_path / f"a{ending}").write_bytes(np.random.default_rng(0).bytes(1000))
    with pytest.raises(InputError, match=f"{ending}, which can't be decoded here in .*: convert it to JPEG"):
        load_image(tmp_path / f"a{ending}")


def test_a_bomb_is_refused_in_one_line(tmp_path, monkeypatch):
    noise(64, 64).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="limit of 2000 pixels.*a.png") as caught:
        load_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def broken(path, kind: str) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no image")
    elif kind == "cut short":
        noise(64, 64).save(path)
        path.write_bytes(path.read_bytes()[:-400])


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut short"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_broken_image_is_refused_by_name_in_one_line(tmp_path, kind, suffix):
    path = tmp_path / f"bird.{suffix}"
    broken(path, kind)
    with pytest.raises(InputError) as caught:
        load_image(path)
    assert str(caught.value).count(str(path)) == 1 and "\n" not in str(caught.value)


def test_the_crop_is_a_square_of_one_and_a_half_boxes_around_the_middle():
    crop = np.asarray(square_crop(coordinates(200, 150), (80.0, 60.0, 40.0, 20.0), 1.5))
    assert crop.shape == (60, 60, 3)  # half a side is int(40 * .75) = 30, around (100, 70)
    assert crop[0, 0].tolist() == [70, 40, 0] and crop[-1, -1].tolist() == [129, 99, 0]


def test_the_crop_ends_where_the_image_ends():
    crop = np.asarray(square_crop(coordinates(200, 150), (0.0, 100.0, 40.0, 50.0), 1.5))
    assert crop.shape == (62, 57, 3)  # around (20, 125), half a side is 37
    assert crop[0, 0].tolist() == [0, 88, 0] and crop[-1, -1].tolist() == [56, 149, 0]


def test_without_a_box_the_crop_is_the_middle_square():
    crop = np.asarray(square_crop(coordinates(100, 60), None, 1.5))
    assert crop.shape == (60, 60, 3) and crop[0, 0].tolist() == [20, 0, 0]


def test_a_box_outside_its_image_is_refused():
    with pytest.raises(InputError, match="100 x 60"):
        square_crop(coordinates(100, 60), (300.0, 10.0, 20.0, 20.0), 1.5)


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (31, 20)])
def test_resize_makes_the_short_side_fit_and_keeps_the_middle(size):
    width, height = size
    small = np.asarray(resize(coordinates(width, height), 10)).astype(float)
    assert small.shape == (10, 10, 3)
    middle = small.mean(axis=(0, 1))
    assert abs(middle[0] - (width - 1) / 2) < 0.6 and abs(middle[1] - (height - 1) / 2) < 0.6
    # The scale is the same along both sides: 2 px a pixel.
    assert abs(small[5, 7, 0] - small[5, 2, 0] - 10) < 1.1 and abs(small[7, 5, 1] - small[2, 5, 1] - 10) < 1.1


def test_resize_is_antialiased():
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8)[None, :, None], (64, 32, 3)))
    assert np.ptp(np.asarray(resize(stripes, 8))) <= 12  # borders differ a little


def test_every_grey_survives_the_way_to_a_tensor_and_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    tensor = to_tensor(torch.from_numpy(pixels))
    assert tensor.shape == (1, 3, 16, 16) and tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert tensor.min() == -1 and tensor.max() == 1
    assert np.array_equal(to_uint8(tensor), pixels)


def test_generated_values_are_rounded_and_kept_in_range():
    values = torch.tensor([-1.5, -1.0, -0.001, 0.003, 0.999, 2.0]).expand(3, 1, 6)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 0, 127, 128, 255, 255]


def test_a_grid_has_its_images_row_by_row():
    images = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)])
    page = np.asarray(grid(images, 2, gap=1))
    assert page.shape == (9, 13, 3)
    assert [int(page[y, x, 0]) for y, x in ((0, 0), (0, 7), (5, 0), (5, 7))] == [10, 20, 30, 255]


def test_a_png_is_whole_and_lossless(tmp_path):
    image = noise(5, 7)
    save_png(image, tmp_path / "new" / "image.png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "new" / "image.png")), np.asarray(image))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["image.png"]
