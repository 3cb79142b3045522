"""Our log-mel against librosa's, one thread each, on clips as long as captions.

python tests/benchmarks/log_mel.py [--rounds N] [WAV ...]

Without files the clips are noise with a falling spectrum. The two take turns, so that what else the machine
does hits both alike; a turn is a few calls, as when a data set is packed, and the fastest call counts.
"""

from __future__ import annotations

import os

# Before numpy and torch start: one thread for every library.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import argparse  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from statistics import median  # noqa: E402

import librosa  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from s2i.config_data import AudioConfig  # noqa: E402
from s2i.data.audio import load_waveform, log_mel  # noqa: E402

CONFIG = AudioConfig()
CALLS = 4  # a turn


def librosa_log_mel(waveform: np.ndarray) -> np.ndarray:
    """The published front end's call: (N,) -> (T, M)."""
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=22050, n_fft=551, hop_length=220, win_length=551, n_mels=40
    )
    return np.log(mel + 1e-6).T


def falling_noise(seconds: float) -> torch.Tensor:
    """Noise whose spectrum falls as speech's does: (N,) in [-.5, .5]."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(int(seconds * CONFIG.sample_rate), generator=generator)
    spectrum = torch.fft.rfft(noise)
    spectrum /= 1 + torch.arange(len(spectrum)) / (200 * seconds)
    waveform = torch.fft.irfft(spectrum, n=len(noise))
    return 0.5 * waveform / waveform.abs().max()


def seconds_of(function: Callable, argument: object) -> float:
    """Processor time of the fastest call of a turn, which begins with one that doesn't count."""
    function(argument)
    times = []
    for _ in range(CALLS):
        begun = time.process_time()
        function(argument)
        times.append(time.process_time() - begun)
    return min(times)


def main() -> None:
    """Print a line a clip, and the median ratio."""
    parser = argparse.ArgumentParser(description="Time log_mel against librosa on one thread.")
    parser.add_argument("recordings", nargs="*", metavar="WAV", help="clips (default: noise of 2 to 10 s)")
    parser.add_argument("--rounds", type=int, default=100, help="of which the fastest counts (default: 100)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    clips = {path: load_waveform(path, CONFIG) for path in given.recordings} or {
        f"noise of {seconds} s": falling_noise(seconds) for seconds in (2, 3, 4, 5, 10)
    }
    ratios = []
    for label, waveform in clips.items():
        array = waveform.numpy()
        difference = np.abs(log_mel(waveform, CONFIG).numpy() - librosa_log_mel(array)).max()
        rounds = [
            (seconds_of(lambda given: log_mel(given, CONFIG), waveform), seconds_of(librosa_log_mel, array))
            for _ in range(given.rounds)
        ]
        ours, theirs = (1e3 * min(times) for times in zip(*rounds, strict=True))
        ratios.append(theirs / ours)
        print(
            f"{label}: ours {ours:.3f} ms, librosa {theirs:.3f} ms, {theirs / ours:.1f} times as fast,"
            f" largest difference {difference:.1e}"
        )
    print(f"median over {len(clips)} clips: {median(ratios):.1f} times as fast")


if __name__ == "__main__":
    main()
