"""A bird drawn from nine known attributes: vector shapes, any size, one description.

Coordinates are parts of the image's side: the middle is (0, 0), x points to the bird's bill, y down.
What captions do not tell (pose, side, background, light) follows from the variation seed alone.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from s2i.errors import InputError

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "grey")
COLOURED_PARTS = ("crown", "wing", "belly", "back", "tail", "bill")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    **{part: COLOURS for part in COLOURED_PARTS},
    "bill_shape": ("short", "long", "hooked"),
    "size": ("small", "medium", "large"),
    "pattern": ("plain", "spotted", "eye-striped", "wing-barred"),
}

SUPERSAMPLING = 4  # shapes are drawn this much larger and averaged down
SMALLEST, LARGEST = 32, 512  # px
_BACKGROUND_SIDE = 48  # px before it is enlarged

Colour = tuple[float, float, float]  # RGB, 0 to 255
Points = np.ndarray  # (N, 2) float64

_PAINT: dict[str, Colour] = {
    "red": (214, 32, 38),
    "orange": (247, 134, 18),
    "yellow": (252, 222, 48),
    "green": (52, 158, 66),
    "blue": (38, 98, 216),
    "purple": (144, 62, 184),
    "brown": (116, 68, 32),
    "black": (30, 30, 36),
    "white": (250, 250, 248),
    "grey": (140, 146, 152),
}
_BODY_SCALE = {"small": 0.8, "medium": 0.9, "large": 1.02}
_DARK, _PALE = (34.0, 30.0, 34.0), (252.0, 250.0, 242.0)


@dataclass(frozen=True)
class _Variation:
    """What no caption mentions. Angles in degrees, lengths in sides of the image."""

    flip: bool
    scale: float
    place: tuple[float, float]
    body: float
    head: float
    tail: float
    tail_spread: float
    wing: float
    brightness: float
    warmth: float
    shade: float
    paint: dict[str, Colour]  # factor a channel for each coloured part

    @classmethod
    def draw(cls, rng: random.Random) -> _Variation:
        def near(centre: float, reach: float) -> float:
            return rng.uniform(centre - reach, centre + reach)

        paint = {}
        for part in COLOURED_PARTS:
            bright = near(1.0, 0.07)
            paint[part] = tuple(bright * near(1.0, 0.03) for _ in range(3))
        return cls(
            flip=rng.random() < 0.5,
            scale=near(1.0, 0.025),
            place=(near(0.0, 0.012), near(0.0, 0.012)),
            body=near(0.0, 6.0),
            head=near(0.0, 9.0),
            tail=near(0.0, 9.0),
            tail_spread=near(1.0, 0.12),
            wing=near(0.0, 6.0),
            brightness=near(1.0, 0.08),
            warmth=near(0.0, 0.04),
            shade=near(0.16, 0.06),
            paint=paint,
        )


def check_attributes(attributes: dict[str, str]) -> None:
    """Refuse a description that is not one known value for each of the nine attributes."""
    if set(attributes) != set(ATTRIBUTES):
        raise InputError(f"expected the attributes {', '.join(ATTRIBUTES)}, found {', '.join(attributes)}")
    for name, value in attributes.items():
        if value not in ATTRIBUTES[name]:
            raise InputError(f"expected {name} to be one of {', '.join(ATTRIBUTES[name])}, found {value!r}")


def draw_bird(attributes: dict[str, str], variation_seed: int, size: int) -> Image.Image:
    """Draw one bird.

    Args:
        attributes: a value of `ATTRIBUTES` for each of its names.
        variation_seed: decides pose, side, background and light: one seed gives any two species the same.
        size: side of the image in px, 32 to 512; the same bird at every size.

    Returns:
        An RGB image. Its middle 64/76 holds the whole bird; another crop of that size may cut the tip of a
        large one's tail or bill, no more.

    Raises InputError for an unknown attribute or value, or a size outside 32 to 512.
    """
    check_attributes(attributes)
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"expected a size of {SMALLEST} to {LARGEST} px, found {size}")
    rng = random.Random(f"bird/{variation_seed}")
    variation = _Variation.draw(rng)
    canvas = _Canvas(_background(rng), size)
    _draw_perch(canvas, rng)
    _Bird(canvas, attributes, variation).draw()
    image = canvas.image.reduce(SUPERSAMPLING)
    if variation.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _light(image, variation)


class _Canvas:
    """Draws shapes given in parts of the side, at `SUPERSAMPLING` times the size."""

    def __init__(self, background: Image.Image, size: int) -> None:
        self.side = size * SUPERSAMPLING
        # Blocks of equal pixels cost little, and averaging them gives the enlarged background back exactly.
        enlarged = background.resize((size, size), Image.Resampling.BICUBIC)
        self.image = enlarged.resize((self.side, self.side), Image.Resampling.NEAREST)
        self._pen = ImageDraw.Draw(self.image, "RGBA")

    def fill(self, points: Points, colour: Colour, alpha: float = 1.0) -> None:
        self._pen.polygon(self._pixels(points), fill=_rgba(colour, alpha))

    def line(self, points: Points, colour: Colour, width: float, alpha: float = 1.0) -> None:
        self._pen.line(
            self._pixels(points), _rgba(colour, alpha), max(1, round(width * self.side)), joint="curve"
        )

    def shape(self, points: Points, colour: Colour, edge: float = 0.009) -> None:
        """A filled shape with an edge, so wide, of its own darker (of black: lighter) shade."""
        self.fill(points, colour)
        self.line(np.concatenate([points, points[:2]]), _edge(colour), edge)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [tuple(point) for point in ((points + 0.5) * self.side).tolist()]


class _Bird:
    """The bird, seen from its right side; every part hangs on the body, whose middle is the origin."""

    def __init__(self, canvas: _Canvas, attributes: dict[str, str], variation: _Variation) -> None:
        self.canvas, self.attributes, self.variation = canvas, attributes, variation
        self.scale = _BODY_SCALE[attributes["size"]] * variation.scale
        # A small bird has a larger head and bill for its body, so that both stay legible.
        self.head_scale = math.sqrt(self.scale)
        self.body_place = np.array(variation.place) + (-0.004, 0.26 - 0.2 * self.scale)
        self.body_turn = -44.0 + variation.body

    def draw(self) -> None:
        self._legs()
        self._tail()
        self._body()
        self._head()
        self._wing()

    def paint(self, part: str) -> Colour:
        base = _PAINT[self.attributes[part]]
        jitter = self.variation.paint[part]
        return tuple(channel * factor for channel, factor in zip(base, jitter, strict=True))

    def on_body(self, points: Points) -> Points:
        """From the body's own frame (first axis to the breast, second to the belly) to the image."""
        return _turn(np.asarray(points, dtype=float) * self.scale, self.body_turn) + self.body_place

    def _legs(self) -> None:
        for hip_x, step in ((-0.06, -0.012), (0.02, 0.012)):
            hip = self.on_body([[0.0, 0.1]])[0] + (hip_x * self.scale, 0.0)
            foot = np.array([hip[0] + step, PERCH])
            self.canvas.line(np.stack([hip, foot]), _HORN, 0.016)
            self.canvas.line(foot + np.array([[-0.025, 0.008], [0.0, -0.003], [0.035, 0.008]]), _HORN, 0.016)

    def _tail(self) -> None:
        colour = self.paint("tail")

        def place(points: Points) -> Points:
            spread = np.asarray(points) * (1.0, self.variation.tail_spread)
            return self.on_body(_turn(spread, 16.0 + self.variation.tail) + (-0.165, -0.012))

        self.canvas.shape(place(_smooth(_TAIL)), colour)
        for feather in _TAIL_FEATHERS:
            self.canvas.line(place(feather), _edge(colour), 0.005, 0.6)

    def _body(self) -> None:
        back, belly = self.paint("back"), self.paint("belly")
        outline = _egg(0.212, 0.176)
        self.canvas.shape(self.on_body(outline), back)
        # The belly is what lies before and below a line from the throat to the vent.
        below = outline[outline[:, 1] > 0.015 - 0.42 * outline[:, 0]]
        below = below[np.argsort(np.arctan2(below[:, 1], below[:, 0]))]
        self.canvas.shape(self.on_body(below), belly)
        crescent = np.concatenate([below, (below * 0.9 + (0.006, -0.01))[::-1]])
        self.canvas.fill(self.on_body(crescent), _DARK, self.variation.shade)
        if self.attributes["pattern"] == "spotted":
            for spot in _SPOTS:
                self.canvas.fill(self.on_body(_ellipse(0.0175, 0.0175) + spot), _contrast(belly))

    def _head(self) -> None:
        colour = self.paint("crown")
        neck = self.on_body([[0.15, -0.03]])[0]
        centre = neck + np.array((0.018, -0.088)) * self.head_scale

        def place(points: Points) -> Points:
            return _turn(np.asarray(points) * self.head_scale, self.variation.head) + centre

        bill = _smooth(_BILLS[self.attributes["bill_shape"]], pull=0.12)
        self.canvas.shape(place(bill), self.paint("bill"), edge=0.006)
        self.canvas.shape(place(_smooth(_HEAD)), colour)
        if self.attributes["pattern"] == "eye-striped":
            self.canvas.fill(place(_smooth(_EYE_STRIPE)), _contrast(colour))
        for radius, offset, shade in ((0.028, 0.0, _PALE), (0.021, 0.0, (18, 16, 20)), (0.007, 0.007, _PALE)):
            eye = _ellipse(radius, radius) + (0.045 + offset, -0.014 - offset)
            self.canvas.fill(place(eye), shade)

    def _wing(self) -> None:
        colour = self.paint("wing")

        def place(points: Points) -> Points:
            return self.on_body(_turn(np.asarray(points), 6.0 + self.variation.wing) + (-0.018, 0.006))

        self.canvas.shape(place(_smooth(_WING)), colour)
        for feather in _WING_FEATHERS:
            self.canvas.line(place(feather), _edge(colour), 0.005, 0.6)
        if self.attributes["pattern"] == "wing-barred":
            for bar in _WING_BARS:
                self.canvas.fill(place(bar), _contrast(colour))


# Corners of shapes, in the frames of the parts that they belong to, before any turn or scaling.
# fmt: off
_SPOTS = (
    (0.165, 0.0), (0.15, 0.06), (0.105, 0.045), (0.1, 0.1), (0.045, 0.132), (0.05, 0.085), (-0.02, 0.142),
)
_TAIL = (
    (0.03, 0.06), (-0.09, 0.078), (-0.178, 0.108), (-0.196, 0.066), (-0.204, 0.0),
    (-0.196, -0.066), (-0.178, -0.108), (-0.09, -0.078), (0.03, -0.06),
)
_HEAD = (
    (0.122, 0.0), (0.104, -0.064), (0.052, -0.108), (-0.016, -0.118), (-0.078, -0.092), (-0.116, -0.036),
    (-0.132, 0.036), (-0.136, 0.098), (-0.07, 0.1), (0.0, 0.116), (0.066, 0.108), (0.11, 0.062),
)
_EYE_STRIPE = (
    (0.12, -0.012), (0.045, -0.04), (-0.06, -0.034), (-0.118, 0.004),
    (-0.118, 0.04), (-0.05, 0.014), (0.045, 0.012), (0.12, 0.02),
)
_BILLS = {
    "short": ((0.08, -0.066), (0.226, 0.024), (0.085, 0.084)),
    "long": ((0.08, -0.052), (0.282, 0.024), (0.085, 0.072)),
    "hooked": (
        (0.07, -0.062), (0.12, -0.064), (0.166, -0.048), (0.2, -0.014), (0.215, 0.034),
        (0.207, 0.102), (0.186, 0.07), (0.16, 0.054), (0.12, 0.06), (0.08, 0.074),
    ),
}
_WING = (
    (0.088, 0.0), (0.07, -0.058), (0.0, -0.074), (-0.09, -0.05), (-0.19, -0.006),
    (-0.205, 0.012), (-0.15, 0.038), (-0.06, 0.07), (0.02, 0.072), (0.072, 0.05),
)
# fmt: on
_TAIL_FEATHERS = tuple(((-0.02, 0.5 * end), (-0.18, end)) for end in (-0.064, -0.021, 0.021, 0.064))
_WING_FEATHERS = (
    ((-0.02, -0.03), (-0.09, -0.014), (-0.17, 0.006)),
    ((-0.02, 0.005), (-0.08, 0.014), (-0.15, 0.022)),
    ((-0.01, 0.035), (-0.06, 0.042), (-0.11, 0.044)),
)
_WING_BARS = (
    ((0.032, -0.068), (0.056, -0.062), (0.034, 0.065), (0.01, 0.068)),
    ((-0.038, -0.065), (-0.014, -0.07), (-0.036, 0.066), (-0.06, 0.062)),
)
_LEAF = ((0.0, 0.0), (0.4, -0.2), (0.8, -0.12), (1.0, 0.0), (0.8, 0.12), (0.4, 0.2))
_HORN = (92, 74, 62)  # colour of the legs
PERCH = 0.3  # height of the branch under the feet


def _draw_perch(canvas: _Canvas, rng: random.Random) -> None:
    """A branch with leaves, from edge to edge."""
    tilt = rng.uniform(-0.03, 0.03)
    thick = rng.uniform(0.016, 0.024)
    bark = _dim((124, 104, 86), rng.uniform(0.8, 1.15))
    across = np.linspace(-0.55, 0.55, 12)
    waves = PERCH + 0.012 + tilt * across + 0.006 * np.sin(9 * across + rng.uniform(0, 6))
    top = np.stack([across, waves - thick * 0.5], 1)
    bottom = np.stack([across, waves + thick * (0.5 + 0.3 * across)], 1)[::-1]
    canvas.shape(np.concatenate([top, bottom]), bark)
    for _ in range(rng.randint(1, 4)):
        x = rng.choice((-1, 1)) * rng.uniform(0.22, 0.45)
        root = np.array([x, np.interp(x, across, waves)])
        length, turn = rng.uniform(0.07, 0.12), rng.uniform(20, 160)
        green = _dim((134, 156, 112), rng.uniform(0.88, 1.1))
        canvas.shape(_turn(_smooth(_LEAF) * length, turn) + root, green)


def _background(rng: random.Random) -> Image.Image:
    """Sky, foliage or a meadow, out of focus and paler than any bird; so soft that a few pixels hold it."""
    places = (np.arange(_BACKGROUND_SIDE) + 0.5) / _BACKGROUND_SIDE - 0.5
    y, x = places[:, None], places[None, :]

    def soft(hue: tuple[float, ...]) -> np.ndarray:
        return np.array([channel + rng.uniform(-12, 12) for channel in hue])

    scene = rng.choice(("sky", "foliage", "meadow"))
    high, low, blob = {
        "sky": ((178, 202, 222), (226, 222, 212), (224, 230, 234)),
        "foliage": ((184, 200, 174), (170, 188, 160), (208, 214, 186)),
        "meadow": ((206, 214, 216), (192, 186, 158), (206, 202, 182)),
    }[scene]
    high, low = soft(high), soft(low)
    if scene == "meadow":
        horizon, blur = rng.uniform(0.0, 0.2), rng.uniform(0.03, 0.1)
    else:
        horizon, blur = rng.uniform(-0.1, 0.1), 0.3
    mix = 1 / (1 + np.exp(-(y - horizon) / blur * 3))
    image = np.repeat(high + (low - high) * mix[..., None], _BACKGROUND_SIDE, axis=1)
    for _ in range(rng.randint(3, 7)):
        centre_x, centre_y, radius = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0.08, 0.2)
        distance = np.hypot(x - centre_x, y - centre_y)
        alpha = rng.uniform(0.3, 0.7) / (1 + np.exp((distance - radius) / 0.03))
        image += (soft(blob) - image) * alpha[..., None]
    return Image.fromarray(_bytes(image))


def _light(image: Image.Image, variation: _Variation) -> Image.Image:
    tint = variation.brightness * np.array([1 + variation.warmth, 1.0, 1 - variation.warmth])
    return Image.fromarray(_bytes(np.asarray(image, dtype=np.float64) * tint))


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _rgba(colour: Colour, alpha: float) -> tuple[int, ...]:
    return tuple(min(255, max(0, round(channel))) for channel in (*colour, 255 * alpha))


def _edge(colour: Colour) -> Colour:
    if max(colour) < 60:
        return tuple(channel + 46 for channel in colour)
    return _dim(colour, 0.62)


def _dim(colour: Colour, factor: float) -> Colour:
    return tuple(channel * factor for channel in colour)


def _contrast(colour: Colour) -> Colour:
    """Of dark and pale, the one that stands out from a colour."""
    red, green, blue = colour
    return _DARK if 0.3 * red + 0.59 * green + 0.11 * blue > 128 else _PALE


def _turn(points: Points, degrees: float) -> Points:
    """Points turned about the origin, clockwise as seen (y points down)."""
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.asarray(points) @ np.array([[cosine, sine], [-sine, cosine]])


@functools.cache
def _ellipse(width: float, height: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.stack([width * np.cos(angle), height * np.sin(angle)], 1)


@functools.cache
def _egg(length: float, height: float) -> Points:
    """An ellipse with a fuller breast (first axis) than rump."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    return np.stack([length * np.cos(angle), height * np.sin(angle) * (1 + 0.12 * np.cos(angle))], 1)


@functools.cache
def _smooth(corners: tuple[tuple[float, float], ...], pull: float = 0.5) -> Points:
    """A closed cubic curve through the corners, 8 points each: Catmull-Rom, straighter with less `pull`."""
    corner = np.array(corners)[:, None]
    following = np.roll(corner, -1, 0)
    leave = pull * (following - np.roll(corner, 1, 0))
    arrive = np.roll(leave, -1, 0)
    t = (np.arange(8) / 8)[None, :, None]
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * corner
        + (t**3 - 2 * t**2 + t) * leave
        + (3 * t**2 - 2 * t**3) * following
        + (t**3 - t**2) * arrive
    ).reshape(-1, 2)
    curve.flags.writeable = False  # shared by every bird
    return curve
