"""Pictures: any file to RGB, the published crop, one resize, and back without loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from s2i.data.images import grid, load_image, resize, save_png, square_crop, to_tensor, to_uint8
from s2i.errors import InputError


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8))


def coordinates(width: int, height: int) -> Image.Image:
    """A picture whose red is x and whose green is y."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png")]
)
def test_a_picture_of_any_mode_becomes_rgb(tmp_path, mode, suffix):
    noise(8, 9).convert(mode).save(tmp_path / f"picture.{suffix}")
    image = load_image(tmp_path / f"picture.{suffix}")
    assert image.mode == "RGB" and image.size == (9, 8)


def test_a_photograph_stands_upright_as_viewers_show_it(tmp_path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, :20] = 255  # the left half, which a phone that was turned calls the top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "phone.jpg", exif=exif)
    upright = np.asarray(load_image(tmp_path / "phone.jpg"))
    assert upright.shape == (40, 20, 3) and upright[:18].min() > 200 and upright[22:].max() < 50


def test_a_picture_of_16_bits_keeps_its_brightness(tmp_path):
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert np.unique(np.asarray(load_image(tmp_path / "deep.png"))).tolist() == [128]


def broken(path, kind: str) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "cut short":
        noise(64, 64).save(path)
        path.write_bytes(path.read_bytes()[:-400])


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut short"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_broken_picture_is_refused_by_name_in_one_line(tmp_path, kind, suffix):
    path = tmp_path / f"bird.{suffix}"
    broken(path, kind)
    with pytest.raises(InputError) as caught:
        load_image(path)
    assert str(caught.value).count(str(path)) == 1 and "\n" not in str(caught.value)


def test_the_crop_is_a_square_of_one_and_a_half_boxes_around_the_middle():
    crop = np.asarray(square_crop(coordinates(200, 150), (80.0, 60.0, 40.0, 20.0), 1.5))
    assert crop.shape == (60, 60, 3)  # half a side is int(40 * .75) = 30, around (100, 70)
    assert crop[0, 0].tolist() == [70, 40, 0] and crop[-1, -1].tolist() == [129, 99, 0]


def test_the_crop_ends_where_the_picture_ends():
    crop = np.asarray(square_crop(coordinates(200, 150), (0.0, 100.0, 40.0, 50.0), 1.5))
    assert crop.shape == (62, 57, 3)  # around (20, 125), half a side is 37
    assert crop[0, 0].tolist() == [0, 88, 0] and crop[-1, -1].tolist() == [56, 149, 0]


def test_without_a_box_the_crop_is_the_middle_square():
    crop = np.asarray(square_crop(coordinates(100, 60), None, 1.5))
    assert crop.shape == (60, 60, 3) and crop[0, 0].tolist() == [20, 0, 0]


def test_a_box_outside_its_picture_is_refused():
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


def test_drawn_values_are_rounded_and_kept_in_range():
    values = torch.tensor([-1.5, -1.0, -0.001, 0.003, 0.999, 2.0]).expand(3, 1, 6)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 0, 127, 128, 255, 255]


def test_a_grid_has_its_pictures_row_by_row():
    pictures = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)])
    page = np.asarray(grid(pictures, 2, gap=1))
    assert page.shape == (9, 13, 3)
    assert [int(page[y, x, 0]) for y, x in ((0, 0), (0, 7), (5, 0), (5, 7))] == [10, 20, 30, 255]


def test_a_png_is_whole_and_lossless(tmp_path):
    image = noise(5, 7)
    save_png(image, tmp_path / "new" / "picture.png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "new" / "picture.png")), np.asarray(image))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["picture.png"]
