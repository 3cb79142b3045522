"""festival: two voices of diphones and one of a hidden Markov model (HTS), many sentences a process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from data_prep.utterances import Utterance
from data_prep.voices.family import Family, Setting, Sound, Voices, check_voices, english_voices
from data_prep.voices.programs import first_line, has_words, latin_words, read_sound, replayed, run_program

PACKAGES = {
    "kal_diphone": "festvox-kallpc16k",
    "ked_diphone": "festvox-kdlpc16k",
    "cmu_us_slt_arctic_hts": "festvox-us-slt-hts",
}
PITCHES = {"kal_diphone": 105.0, "ked_diphone": 105.0}  # Hz, the mean; HTS takes none
FOLDERS = ("/usr/share/festival/voices", "/usr/lib/festival/voices", "/usr/local/share/festival/voices")

# The macro Utterance doesn't evaluate its text. What fails is caught: the next sentence is spoken.
PRELUDE = """
(define (s2i_say text file)
  (unwind-protect
    (let ((utterance (eval (list 'Utterance 'Text text))))
      (utt.synth utterance)
      (utt.save.wave utterance file 'riff)
      (s2i_also utterance file))
    nil))
"""
NOTHING_ELSE = "(define (s2i_also utterance file) nil)"


class FestivalFamily(Family):
    """festival, a process a block: its diphone and HTS voices of American English."""

    name = "festival"
    usual_voice = "kal_diphone"
    settings = {
        "rate": Setting(1.0, (0.8, 1.25), (0.4, 2.5)),  # 1 is the voice's own
        "pitch": Setting(1.0, (0.85, 1.15), (0.5, 2.0)),
    }
    block = 50
    effort = 8

    def missing(self, voices: Sequence[str]) -> str | None:
        lacking = [voice for voice in voices if voice in PACKAGES and voice not in self.installed]
        if not lacking and not self.installed:
            lacking = list(PACKAGES)
        packages = " ".join(PACKAGES[voice] for voice in lacking)
        if not shutil.which("festival"):
            return f"apt install festival {packages}".rstrip()
        return f"apt install {packages}" if lacking else None

    @cached_property
    def installed(self) -> list[str]:
        """Those of its voices that are there."""
        return [voice for voice in PACKAGES if any(any(Path(f).glob(f"*/{voice}")) for f in FOLDERS)]

    def choose_voices(
        self, languages: Sequence[str], voices: Sequence[str] | None, test_voices: Sequence[str] | None
    ) -> tuple[Voices, Voices]:
        voices = self.installed if voices is None and test_voices is None else voices or ()
        check_voices(self, [*voices, *(test_voices or ())], tuple(PACKAGES))
        return english_voices(languages, voices, test_voices or ())

    def version(self, voice: str) -> str:
        return self._version

    @cached_property
    def _version(self) -> str:
        return first_line(["festival", "--version"], "festival")

    def words_a_minute(self, utterance: Utterance) -> float:
        return 170 * self.value(utterance, "rate")

    def block_order(self, utterance: Utterance) -> tuple:
        return (utterance.voice,)  # a voice takes a while to load

    def utter(self, utterances: Sequence[Utterance], attempt: int = 0) -> list[Sound]:
        with tempfile.TemporaryDirectory(prefix="s2i-festival-") as name:
            files = self.save(utterances, Path(name))
            return [
                replayed(read_sound(file), self.value(utterance, "pitch"))
                if utterance.voice not in PITCHES
                else read_sound(file)
                for utterance, file in zip(utterances, files, strict=True)
            ]

    def save(self, utterances: Sequence[Utterance], folder: Path, also: str = NOTHING_ELSE) -> list[Path]:
        """The sound of each as a file, at the voice's own rate of samples; none of what can't be spoken.

        Args:
            also: defines `s2i_also` in Scheme, which is called with each utterance and the name of its file.
        """
        texts = [latin_words(utterance.text, self.name) for utterance in utterances]
        files = [folder / f"{number}.wav" for number in range(len(utterances))]
        left = [number for number, text in enumerate(texts) if has_words(text)]
        while left:
            commands = (_command(utterances[n], texts[n], files[n], self.value) for n in left)
            script = folder / "say.scm"
            script.write_text("\n".join([also, PRELUDE, *commands]))
            answer = run_program(["festival", "-b", script], len(left))
            if answer.returncode == 0:
                break
            # A sentence has ended the process: it stays silent, and those after it have their turn.
            last = max((place for place, n in enumerate(left) if files[n].exists()), default=-1)
            left = left[last + 2 :]
        return files


def scheme_string(text: str) -> str:
    """A text, without control characters, as a literal of Scheme."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _command(utterance: Utterance, text: str, file: Path, value) -> str:
    rate, pitch = value(utterance, "rate"), value(utterance, "pitch")
    lines = [f"(if (not (eq? current-voice '{utterance.voice})) (voice_{utterance.voice}))"]
    if utterance.voice in PITCHES:
        mean = PITCHES[utterance.voice] * pitch
        lines += [
            f"(Parameter.set 'Duration_Stretch {1 / rate:.3f})",
            f"(set! int_lr_params '((target_f0_mean {mean:.1f}) (target_f0_std 14)"
            " (model_f0_mean 170) (model_f0_std 34)))",
        ]
    else:
        speed = f'(list (list "-r" {rate / pitch:.3f}))'
        lines.append(f"(set! hts_engine_params (append {utterance.voice}::hts_engine_params {speed}))")
    return " ".join([*lines, f"(s2i_say {scheme_string(text)} {scheme_string(str(file))})"])
