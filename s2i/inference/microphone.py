"""A recording from the microphone. Needs the package sounddevice: the extra `mic`."""

from __future__ import annotations

import numpy as np

from s2i.errors import InputError
from s2i.progress import say


def record(seconds: float) -> tuple[np.ndarray, int]:
    """Record from the default microphone, at its own rate.

    Returns:
        float32 (N, 1) in [-1, 1], and the rate in Hz.

    Raises:
        InputError: there is no package, no PortAudio, or no microphone.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise InputError(
            "expected the package sounddevice for --record, found none: pip install -e '.[mic]'"
        ) from error
    except OSError as error:  # the package is there, its library is not
        raise InputError(
            f"expected PortAudio for --record, found: {error}: install it (Debian: apt install libportaudio2)"
        ) from error
    try:
        rate = int(sounddevice.query_devices(kind="input")["default_samplerate"])
        say(f"recording {seconds:g} s")
        samples = sounddevice.rec(round(seconds * rate), rate, channels=1, dtype="float32", blocking=True)
    except (sounddevice.PortAudioError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"expected a microphone for --record, found: {reason}: connect one, or give a file with --speech"
        ) from error
    say("recorded")
    return samples, rate
