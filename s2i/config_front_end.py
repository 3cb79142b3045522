"""The settings that a pretrained front end fixes: its rate, width, window and hop."""

from __future__ import annotations

from dataclasses import replace

from s2i.config_data import AudioConfig
from s2i.errors import InputError

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


def with_front_end(audio: AudioConfig) -> AudioConfig:
    """The settings with what their front end fixes: rate, width, window and hop of a pretrained network; of
    "waveform", which keeps the samples themselves, a step a sample.

    Raises InputError for a network or a layer that torchaudio does not have.
    """
    if audio.front_end == "log_mel":
        return audio
    if audio.front_end == "waveform":
        return replace(audio, mel_bins=1, hop=1 / audio.sample_rate)
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
