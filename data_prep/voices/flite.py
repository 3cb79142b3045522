"""flite: four voices of a small synthesiser, three parametric ones and one of diphones (kal16)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from data_prep.utterances import Utterance
from data_prep.voices.family import Family, Setting, Sound, Voices, check_voices, english_voices
from data_prep.voices.programs import first_line, has_words, latin_words, read_sound, replayed, run_program
from s2i.errors import InputError

# Hz: the mean pitch of each voice. `kal` is kal16 at 8 kHz; `awb_time` only tells the time.
PITCHES = {"slt": 172.0, "awb": 128.0, "kal16": 95.0, "kal": 95.0}
REPLAYED = "rms"  # takes no pitch
USUAL = ("slt", "rms", "awb", "kal16")


class FliteFamily(Family):
    """flite, a process a clip: four voices of English."""

    name = "flite"
    usual_voice = "slt"
    settings = {
        "rate": Setting(1.0, (0.8, 1.25), (0.4, 2.5)),  # 1 is the voice's own
        "pitch": Setting(1.0, (0.85, 1.15), (0.5, 2.0)),
    }
    effort = 4

    def missing(self, voices: Sequence[str]) -> str | None:
        return None if shutil.which("flite") else "apt install flite"

    def choose_voices(
        self, languages: Sequence[str], voices: Sequence[str] | None, test_voices: Sequence[str] | None
    ) -> tuple[Voices, Voices]:
        voices = USUAL if voices is None and test_voices is None else voices or ()
        check_voices(self, [*voices, *(test_voices or ())], (*PITCHES, REPLAYED))
        return english_voices(languages, voices, test_voices or ())

    def version(self, voice: str) -> str:
        return self._version

    @cached_property
    def _version(self) -> str:
        return first_line(["flite", "--version"], "version")

    def words_a_minute(self, utterance: Utterance) -> float:
        return 180 * self.value(utterance, "rate")

    def utter(self, utterances: Sequence[Utterance], attempt: int = 0) -> list[Sound]:
        with tempfile.TemporaryDirectory(prefix="s2i-flite-") as folder:
            return [self._speak(utterance, Path(folder)) for utterance in utterances]

    def _speak(self, utterance: Utterance, folder: Path) -> Sound:
        text = latin_words(utterance.text, self.name)
        if not has_words(text):
            return np.zeros(0, np.float32), 16000
        sound, _ = self.save(utterance, folder)
        spoken = read_sound(sound)
        return replayed(spoken, self.value(utterance, "pitch")) if utterance.voice == REPLAYED else spoken

    def save(self, utterance: Utterance, folder: Path, *also: str) -> tuple[Path, str]:
        """The sound of a text as a file, at the voice's own rate of samples, and what flite prints where
        `also`, further options, ask for it."""
        text = latin_words(utterance.text, self.name)
        # A file, so that no text is taken for an option or for the name of a file.
        words, sound = folder / "words.txt", folder / "sound.wav"
        words.write_text(text + "\n")
        sound.unlink(missing_ok=True)
        stretch, pitch = 1 / self.value(utterance, "rate"), self.value(utterance, "pitch")
        is_replayed = utterance.voice == REPLAYED
        if is_replayed:
            stretch *= pitch
        command = ["flite", "-voice", utterance.voice, "--setf", f"duration_stretch={stretch:.3f}"]
        if not is_replayed:
            command += ["--setf", f"int_f0_target_mean={PITCHES[utterance.voice] * pitch:.1f}"]
        command += [*also, "-f", words, "-o", sound]
        answer = run_program(command, 1)
        if answer.returncode and not sound.exists():
            reason = answer.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise InputError(
                f"expected flite to speak {text[:40]!r}, found status {answer.returncode} ({reason[0]}):"
                " try it by hand"
            )
        return sound, answer.stdout.decode(errors="replace")
