"""What each voice of the families sounds like, in numbers, and whether its words come through.

python tests/benchmarks/voices.py --captions MANIFEST [--count N] [--voices FAMILY:VOICE ...]

Rates and pitches are sampled as a plan does it. Printed of each voice: processor milliseconds a clip,
seconds, words a minute, peak, level, samples at full scale, spectral centroid, median pitch, and the word
error rate of pocketsphinx (`pip install pocketsphinx`) with its own American English models.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Sequence
from random import Random

import librosa
import numpy as np

from data_prep.utterances import Utterance
from data_prep.voices.family import Family, Sound
from data_prep.voices.registry import FAMILIES, find_family
from s2i.analysis.asr_cascade import word_error_rate
from s2i.data.manifest import iterate_manifest

RECOGNISED = 16000  # Hz, of pocketsphinx
ESPEAK = ("en-us+f1", "en-gb+m3", "en-us+f3")


def processor_seconds() -> float:
    """Of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def utterances(family: Family, voice: str, texts: Sequence[str]) -> list[Utterance]:
    rng = Random(voice)
    return [
        Utterance(
            text,
            "en",
            family.name,
            voice,
            tuple(
                rng.randint(*setting.range) if setting.whole else round(rng.uniform(*setting.range), 2)
                for setting in family.settings.values()
            ),
        )
        for text in texts
    ]


def words_of(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split()


def describe(sound: Sound) -> dict[str, float]:
    waveform, rate = sound
    waveform = librosa.resample(waveform, orig_sr=rate, target_sr=RECOGNISED)
    pitch = librosa.yin(waveform, fmin=60, fmax=400, sr=RECOGNISED)
    loud = librosa.feature.rms(y=waveform, frame_length=2048, hop_length=512)[0][: len(pitch)]
    return {
        "s": len(waveform) / RECOGNISED,
        "peak": float(np.abs(waveform).max()),
        "level dB": float(20 * np.log10(np.sqrt(np.mean(waveform**2)))),
        "full scale %": 100 * float(np.mean(np.abs(sound[0]) > 0.9995)),
        "centroid Hz": float(librosa.feature.spectral_centroid(y=waveform, sr=RECOGNISED).mean()),
        "pitch Hz": float(np.median(pitch[: len(loud)][loud > 0.3 * loud.max()])),
    }


def transcribe(sounds: Sequence[Sound]) -> list[list[str]]:
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RECOGNISED, loglevel="FATAL")
    heard = []
    for waveform, rate in sounds:
        samples = librosa.resample(waveform, orig_sr=rate, target_sr=RECOGNISED)
        samples = np.clip(samples * 16384 / np.abs(samples).max(), -32768, 32767).astype(np.int16)
        decoder.start_utt()
        decoder.process_raw(np.pad(samples, 4000).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        heard.append(words_of(hypothesis.hypstr) if hypothesis else [])
    return heard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--captions", required=True, help="a manifest")
    parser.add_argument("--count", type=int, default=10, help="of captions that each voice speaks")
    parser.add_argument("--voices", nargs="+", metavar="FAMILY:VOICE", help="default: the usual ones")
    given = parser.parse_args()
    texts = [c.text for image in iterate_manifest(given.captions) for c in image.captions if c.text]
    texts = Random(0).sample(texts, given.count)
    header = ("ms", "s", "words/min", "peak", "level dB", "full scale %", "centroid Hz", "pitch Hz", "WER")
    print("| voice |", " | ".join(header), "|\n" + "|---" * (len(header) + 1) + "|")
    for name in FAMILIES:
        with find_family(name)() as family:
            asked = [v.partition(":")[2] for v in given.voices or () if v.partition(":")[0] == name]
            if family.missing(asked) or name == "tacotron2" and not asked or given.voices and not asked:
                continue
            voices, _ = family.choose_voices(["en"], asked or (ESPEAK if name == "espeak-ng" else None), None)
            for voice in voices["en"]:
                chosen = utterances(family, voice, texts)
                begun = processor_seconds()
                sounds = family.utter(chosen)
                milliseconds = 1000 * (processor_seconds() - begun) / len(texts)
                facts = [describe(sound) for sound in sounds]
                means = {key: np.mean([fact[key] for fact in facts]) for key in facts[0]}
                means["words/min"] = 60 * np.mean([len(words_of(t)) for t in texts]) / means["s"]
                means["ms"] = milliseconds
                means["WER"] = word_error_rate([words_of(text) for text in texts], transcribe(sounds))
                print(
                    f"| {chosen[0].speaker} |",
                    " | ".join(f"{means[key]:.3g}" for key in header),
                    "|",
                    flush=True,
                )


if __name__ == "__main__":
    main()
