"""The settings that a front end other than log-mels fixes: its rate, width, window and hop."""

from __future__ import annotations

from dataclasses import replace

from s2i.config_data import AudioConfig
from s2i.errors import InputError
from s2i.plugins import find_outside
from s2i.settings import declared

# Of torchaudio's networks, by the word for their size in their names: transformer layers, width of each.
# torchaudio names these numbers in private fields alone, and a network tells them only with its weights.
SIZES = {
    "BASE": (12, 768),
    "LARGE": (24, 1024),
    "XLSR53": (24, 1024),
    "300M": (24, 1024),
    "MMS": (24, 1024),
    "XLARGE": (48, 1280),
    "1B": (48, 1280),
    "2B": (48, 1920),
}
# Receptive field and stride, in samples, of the convolutions in front, the same in all: 25 and 20 ms.
WINDOW, HOP = 400, 320
FACTS = ("sample_rate", "mel_bins", "window", "hop")  # that a `module:Class` states


def with_front_end(audio: AudioConfig) -> AudioConfig:
    """The settings with what their front end fixes: rate, width, window and hop of a pretrained network; of
    "waveform", which keeps the samples themselves, a step a sample.

    Raises InputError for a network or a layer that torchaudio does not have, and for a `module:Class` that is
    not there or does not state these numbers.
    """
    if audio.front_end == "log_mel":
        return audio
    if audio.front_end == "waveform":
        return replace(audio, mel_bins=1, hop=1 / audio.sample_rate)
    if ":" in audio.front_end:
        return replace(audio, **_stated_facts(audio.front_end))
    from torchaudio.pipelines import Wav2Vec2Bundle  # here: log-mels start without it

    from s2i.files.torchaudio_weights import find_bundle

    name = audio.front_end
    bundle = find_bundle(name, Wav2Vec2Bundle, "log_mel or a network of torchaudio as audio.front_end")
    layers, width = next(size for word, size in SIZES.items() if word in name.split("_"))
    if not 0 <= audio.layer <= layers:
        raise InputError(
            f"expected audio.layer of 1 to {layers}, or 0 for the last of {name},"
            f" found {audio.layer}: change it"
        )
    rate = int(bundle.sample_rate)
    return replace(audio, sample_rate=rate, mel_bins=width, window=WINDOW / rate, hop=HOP / rate)


def _stated_facts(name: str) -> dict[str, float]:
    kind = find_outside(name, "audio.front_end")
    facts = {key: getattr(kind, key, None) for key in FACTS}
    for key, value in facts.items():
        whole = key in ("sample_rate", "mel_bins")
        allowed = declared(AudioConfig)[key]
        if not isinstance(value, int if whole else (int, float)) or not allowed.allows(value):
            raise InputError(
                f"expected {name} to state {key}, {allowed.allowed}, found {value!r}: correct it"
            )
    return facts
