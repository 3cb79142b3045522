"""Colours of images: against published values of CIE L*a*b*, and counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from s2i.metrics.colours import COLOURS, colour_shares, lightness_and_colour


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((10, 10, 10), (2.74, 0.0, 0.0)),  # below the cube root's beginning
    ],
)
def test_lab_of_srgb_has_the_known_values(rgb, lab):
    assert lightness_and_colour(np.array(rgb, np.uint8)) == pytest.approx(lab, abs=0.05)


def test_pixels_are_counted_by_the_nearest_colour():
    image = np.zeros((2, 4, 3), np.uint8)
    image[0, :3] = (180, 50, 45)  # three reddish pixels
    image[0, 3] = (60, 95, 160)  # a bluish one
    image[1] = (125, 130, 127)  # four greyish ones
    shares = dict(zip(COLOURS, colour_shares(image[None])[0], strict=True))
    assert {name: share for name, share in shares.items() if share} == {
        "red": 3 / 8,
        "blue": 1 / 8,
        "grey": 4 / 8,
    }


def test_each_colour_is_its_own_nearest_and_images_keep_their_order():
    values = np.array(list(COLOURS.values()), np.uint8)
    images = np.broadcast_to(values[:, None, None], (len(values), 3, 5, 3))
    assert np.array_equal(colour_shares(images), np.eye(len(COLOURS)))
