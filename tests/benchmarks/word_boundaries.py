"""How well boundaries between words are found without text, in captions that espeak-ng speaks.

    python tests/benchmarks/word_boundaries.py DATA [--train N] [--val N] [--test N]

DATA is a folder with a manifest.jsonl, such as recipes/painted_birds/data/birds. espeak-ng says when it
begins each word; of every image the first caption is spoken by a voice that is a function of its place.
Thresholds are chosen on captions of the split val, numbers are of test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.config_data import AudioConfig
from s2i.data.audio import features, hear
from s2i.data.manifest import iterate_manifest
from s2i.data.tts_espeak import Espeak, arranged_voices
from s2i.metrics.boundaries import (
    PROCEDURE,
    TOLERANCES,
    random_boundaries,
    score_boundaries,
    uniform_boundaries,
)
from s2i.models.word_detector import CHANGE_APART, change, pick_peaks, smooth
from s2i.training.word_detector import choose_threshold, train_word_detector

CONFIG = AudioConfig()
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")
TRAINING_VARIANTS, TEST_VARIANTS = ("f1", "f2", "m1", "m3"), ("f3", "m5", "f1", "m1")  # half of test's unseen


def spoken(data: Path, split: str, count: int, espeak: Espeak) -> list[tuple[Tensor, list[float], float]]:
    """(log-mel, boundaries, seconds) of captions of a split, evenly from all of it."""
    texts = [
        image.captions[0].text for image in iterate_manifest(data / "manifest.jsonl") if image.split == split
    ]
    utterances = []
    for place, text in enumerate(texts[:: max(1, len(texts) // count)][:count]):
        random = np.random.default_rng([len(split), place])
        variant = random.choice(TEST_VARIANTS if split == "test" else TRAINING_VARIANTS)
        rate, pitch = int(random.integers(165, 226)), int(random.integers(35, 66))
        samples, hertz, begins = espeak.speak_words(text, f"{random.choice(ACCENTS)}+{variant}", rate, pitch)
        heard = hear((samples, hertz), CONFIG)
        inside = begins[1:] - heard.seconds_before
        mel = features(heard.spoken, CONFIG)
        utterances.append((mel, [float(time) for time in inside if time > 0], len(mel) * CONFIG.hop))
    return utterances


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Boundaries between words without text.")
    parser.add_argument("data", type=Path)
    for split, count in (("train", 240), ("val", 60), ("test", 100)):
        parser.add_argument(f"--{split}", type=int, default=count)
    given = parser.parse_args()
    with arranged_voices() as folder:
        espeak = Espeak(folder)
        train, val, test = (
            spoken(given.data, split, getattr(given, split), espeak) for split in ("train", "val", "test")
        )
    true = [boundaries for _, boundaries, _ in test]
    every = sum(seconds for _, _, seconds in val) / sum(len(times) + 1 for _, times, _ in val)
    hop = CONFIG.hop
    detector = train_word_detector([mel for mel, _, _ in train], [times for _, times, _ in train], hop)

    def learnt(mel: Tensor) -> Tensor:
        with torch.no_grad():
            return smooth(detector(mel).sigmoid())

    rows = {
        "the truth": true,
        f"uniform, every {every:.2f} s": [uniform_boundaries(seconds, every) for _, _, seconds in test],
        "uniform, every 0.32 s": [uniform_boundaries(seconds, 0.32) for _, _, seconds in test],
        "random, as many as there are": [
            random_boundaries(seconds, len(times), place) for place, (_, times, seconds) in enumerate(test)
        ],
    }
    for name, strength, apart in (
        ("spectral change points", change, CHANGE_APART),
        ("learnt from espeak-ng's times", learnt, 0.09),
    ):
        of_val = [strength(mel) for mel, _, _ in val]
        candidates = torch.cat(of_val).quantile(torch.linspace(0.6, 0.96, 19)).tolist()

        def find(values: list[Tensor], threshold: float, apart: float = apart) -> list[list[float]]:
            return [pick_peaks(each, threshold, round(apart / hop), hop) for each in values]

        chosen = choose_threshold(
            lambda threshold, of_val=of_val, find=find: find(of_val, threshold),
            candidates,
            [times for _, times, _ in val],
        )
        print(f"{name}: threshold {chosen:.2f}, chosen on {len(val)} captions")
        rows[name] = find([strength(mel) for mel, _, _ in test], chosen)
    print(f"{len(test)} captions, {sum(map(len, true))} boundaries. {PROCEDURE}\n")
    columns = [
        f"{name}, {1000 * at:.0f} ms" for at in TOLERANCES for name in ("precision", "recall", "F1", "R")
    ]
    print(f"| | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for name, detected in rows.items():
        scores = [score_boundaries(true, detected, at) for at in TOLERANCES]
        values = [value for each in scores for value in (each.precision, each.recall, each.f1, each.r_value)]
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")


if __name__ == "__main__":
    main()
