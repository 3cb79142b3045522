"""The detector of words that attention maps follow, taught by synthesisers that tell when words begin.

    python -m data_prep.word_detector --output s2i/inference/word_detector.safetensors
    python -m data_prep.word_detector --families espeak-ng festival --test flite

The sentences are captions of painted birds, each spoken by one voice, and taught as it is and altered as by
another mouth, room and microphone. Every sixth teaches nothing: the threshold is chosen on those, and how
well their boundaries are found is printed, beside that of families that taught nothing (`--test`). The
detector itself hears no text. The same versions of the synthesisers give the same detector.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from data_prep.bird_captions import describe
from data_prep.bird_drawing import ATTRIBUTES
from data_prep.voices.cast import choose_cast
from data_prep.voices.plan import FamilyPlan, Plan
from data_prep.voices.registry import find_family
from data_prep.voices.word_times import TELLERS, TimedSound, timed_sounds
from s2i.config_data import AudioConfig, AugmentConfig, AugmentPart, NoisePart
from s2i.data.audio import hear, log_mel, normalise
from s2i.data.augment.augmentation import SpeechAugmentation
from s2i.data.augment.timing import Timing
from s2i.data.manifest import Caption, ImageRecord
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import check_output_file, say_replaced
from s2i.files.paths import given_path
from s2i.metrics.boundaries import TOLERANCES, score_boundaries, uniform_boundaries
from s2i.models.word_detector import APART, WordDetector, change_points, pick_peaks, smooth
from s2i.progress import progress, say
from s2i.training.word_detector import choose_threshold, train_word_detector

Timed = tuple[Tensor, list[float]]  # (T, M) log-mel, not normalised; s at which words begin, but the first

CONFIG = AudioConfig()
COUNT = 150  # sentences of each family
HELD_OUT = 6  # one sentence in so many
LEAST_CHANGE = 5.5  # of the spectrum at a boundary, for comparison
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
# Other mouths and microphones; nothing that moves words.
ALTERED = AugmentConfig(
    vocal_tract=AugmentPart(0.8, 0.2),
    room=AugmentPart(0.3, 0.8),
    noise=NoisePart(0.5, 5.0),
    microphone=AugmentPart(0.5, 5.0),
    band=AugmentPart(0.2, 36.0),
    gain=AugmentPart(0.5, 20.0),
)
AS_IT_IS = Timing(1.0, 1, 0, 0)  # with one frame of silence, so that no other silence is cut


def spoken_words(names: Sequence[str], count: int, seed: int = 0) -> dict[str, list[Timed]]:
    """`count` captions by each family, in its usual voices, at several rates and pitches.

    Raises InputError for a family that is missing, or doesn't tell when it begins a word.
    """
    spoken = {}
    with ExitStack() as stack:
        for name in names:
            if name not in TELLERS:
                raise InputError(
                    f"expected a family that tells when it begins a word ({', '.join(TELLERS)}), found"
                    f" {name}: choose another"
                )
            family = stack.enter_context(find_family(name)())
            cast = choose_cast(Plan({name: FamilyPlan()}), {name: family}, ["en"])
            images = (_caption(f"{seed}/{name}/{number}") for number in range(count))
            utterances = [spoken for image in images for spoken in cast.choose(image, seed).values()]
            sounds: list[TimedSound] = []
            for start in progress(range(0, count, 40), -(-count // 40), f"spoken by {name}"):
                sounds += timed_sounds(family, utterances[start : start + 40])
            spoken[name] = [timed for sound in sounds if (timed := heard_words(sound))[1]]
    return spoken


def heard_words(sound: TimedSound) -> Timed:
    """What is heard of a sentence, and when its words begin in that."""
    heard = hear((sound.waveform, sound.sample_rate), CONFIG)
    inside = [begin - heard.seconds_before for begin in sound.begins[1:]]
    return log_mel(heard.spoken, CONFIG), [time for time in inside if time > 0]


def teach(taught: Sequence[Timed], held_out: Sequence[Timed], seed: int = 0) -> WordDetector:
    """A detector taught on sentences, as they are and altered; its threshold chosen on others."""
    augmentation = SpeechAugmentation(ALTERED, CONFIG)
    pairs = [(normalise(mel), begins) for mel, begins in taught]
    for place, (mel, begins) in enumerate(taught):
        chance = np.random.default_rng([seed, place])
        altered = augmentation(mel.numpy(), AS_IT_IS, chance, lambda _, mel=mel: mel.numpy())
        pairs.append((altered[1:], begins))
    mels, boundaries = zip(*pairs, strict=True)
    detector = train_word_detector(mels, boundaries, CONFIG.hop, seed)
    with torch.no_grad():
        strengths = [smooth(detector(normalise(mel)).sigmoid()) for mel, _ in held_out]
    apart = round(APART / CONFIG.hop)
    chosen = choose_threshold(
        lambda threshold: [pick_peaks(each, threshold, apart, CONFIG.hop) for each in strengths],
        THRESHOLDS,
        [begins for _, begins in held_out],
    )
    detector.threshold.fill_(chosen)
    return detector


def _caption(key: str) -> ImageRecord:
    chance = random.Random(f"words/{key}")
    text, _ = describe({name: chance.choice(values) for name, values in ATTRIBUTES.items()}, chance)
    return ImageRecord(key, "", None, 0, "", "train", (Caption(text, None, None, "en"),))


def _report(name: str, detector: WordDetector, sentences: Sequence[Timed]) -> None:
    """Print how well the boundaries of some sentences are found, and by other means."""
    true = [begins for _, begins in sentences]
    mels = [normalise(mel) for mel, _ in sentences]
    boundaries = {
        "detector": [detector.boundaries(mel, CONFIG.hop) for mel in mels],
        "spectral change": [change_points(mel, CONFIG.hop, LEAST_CHANGE) for mel in mels],
        "uniform, .32 s": [uniform_boundaries(len(mel) * CONFIG.hop, 0.32) for mel in mels],
    }
    scores = (
        f"{label} {', '.join(f'{score_boundaries(true, each, at).f1:.3f}' for at in TOLERANCES)}"
        for label, each in boundaries.items()
    )
    counts = f"{len(true)} sentences, {sum(map(len, true))} boundaries"
    print(f"{name}: {counts}; F1 at 20, 50 ms: {'; '.join(scores)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Teach a detector, print how well it finds words, write it."""
    parser = Parser(description="A detector of words, taught by synthesisers that tell when words begin.")
    add = parser.add_argument
    add("--families", nargs="+", default=list(TELLERS), metavar="NAME", help=f"default: {' '.join(TELLERS)}")
    add("--test", nargs="+", default=[], metavar="NAME", help="families that teach nothing")
    add("--count", type=int, default=COUNT, metavar="N", help=f"sentences of each; default: {COUNT}")
    add("--output", type=given_path, metavar="FILE", help="safetensors; default: nothing is written")
    given = parser.parse_args(arguments)
    if given.output is not None:
        check_output_file(given.output)
    both = sorted(set(given.families) & set(given.test))
    if both:
        raise InputError(f"expected families that teach nothing for --test, found {both[0]} in both lists")
    if given.count < 2 * HELD_OUT:
        raise InputError(f"expected --count of {2 * HELD_OUT} or more, found {given.count}: change it")
    spoken = spoken_words([*given.families, *given.test], given.count)
    held_out = {name: spoken[name][::HELD_OUT] for name in given.families}
    taught = [timed for name in given.families for n, timed in enumerate(spoken[name]) if n % HELD_OUT]
    detector = teach(taught, [timed for each in held_out.values() for timed in each])
    say(f"threshold {float(detector.threshold):.2f}")
    for name, sentences in held_out.items():
        _report(f"{name}, taught", detector, sentences)
    for name in given.test:
        _report(f"{name}, not taught", detector, spoken[name])
    if given.output is not None:
        say_replaced(given.output)
        with write_atomically(given.output, "wb") as stream:
            stream.write(save(detector.state_dict()))


if __name__ == "__main__":
    exit_on_input_error(main)
