"""What visitors ask for, as values of the page's components: an answer, or an error's sentence and nothing
stale beside it."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from s2i.app.again import RECORDING, Shared, commands, query, read_query
from s2i.app.archive import pack_answer
from s2i.app.examples import Example, holds
from s2i.app.render import failure, render
from s2i.app.studio import MOST_CHARACTERS, Request, Studio, next_seeds, parse_seeds
from s2i.data.tts_espeak import speak
from s2i.errors import InputError

Values = tuple[Any, ...]


class Visits:
    """Answers for the page's events. All begin with the values of status, result and archive."""

    def __init__(
        self, studio: Studio, folder: Path, examples: Sequence[Example] = (), candidates: int = 1
    ) -> None:
        """`folder`: for what visitors download; `candidates`: images of a seed, of which one is shown."""
        self.studio, self.folder, self.examples, self.candidates = studio, folder, examples, candidates

    def generate(self, recorded: str | None, typed: str, seeds: str) -> Values:
        """Images of what is recorded and typed."""
        return _or_failure(lambda: self._answer(recorded, typed, seeds), recorded)

    def generate_others(self, recorded: str | None, typed: str, seeds: str) -> Values:
        """The same with the seeds that follow; these come last."""

        def work() -> Values:
            following = next_seeds(parse_seeds(seeds))
            return *self._answer(recorded, typed, following), following

        return _or_failure(work, recorded, more=1)

    def try_example(self, example: Example, seeds: str, text: str | None = None) -> Values:
        """Images of an example, or of its recording and another text; then the recording and the sentence, to
        go on from."""
        paths = self.studio.model.paths
        recorded = str(example.path) if "speech" in paths else None
        typed = (example.text if text is None else text) if "text" in paths else ""
        sound = (example.rate, example.samples) if recorded else None
        return _or_failure(
            lambda: (*self._answer(recorded, typed, seeds), sound, typed), str(example.path), more=2
        )

    def follow_link(self, words: str) -> Values:
        """Images of what a link's "?..." carries, then recording, sentence and seeds; where that is nothing,
        nothing changes."""
        return _or_failure(lambda: self._follow(words or ""), None, more=3)

    def speak(self, typed: str) -> Values:
        """The sentence spoken: the recording comes last. The answer stays, except under an error."""
        return _or_failure(lambda: ("", _skip(), _skip(), _spoken(typed)), None, more=1)

    def _follow(self, words: str) -> Values:
        shared = read_query(words)
        if shared is None:
            return (_skip(),) * 6
        if shared.example:
            example = next((each for each in self.examples if each.name == shared.example), None)
            if example is None:
                raise InputError(
                    f"expected an example of this page, found {shared.example!r} in the link: choose another"
                )
            return *self.try_example(example, shared.seeds, shared.text), shared.seeds
        paths = self.studio.model.paths
        typed = shared.text if "text" in paths else ""
        recorded, sound = None, _skip()
        if "speech" in paths and (shared.is_spoken or not typed):
            sound = _spoken(shared.text)
            recorded = _store_sound(*sound, self.folder)
        return *self._answer(recorded, typed, shared.seeds), sound, typed, shared.seeds

    def _answer(self, recorded: str | None, typed: str, seeds: str) -> Values:
        import gradio

        model = self.studio.model
        spoken = Path(recorded) if recorded else None
        request = Request(spoken, typed or "", parse_seeds(seeds), self.candidates)
        answer = self.studio.answer(request)
        example = next((each for each in self.examples if recorded and each.is_in(recorded)), None)
        modalities = [each.modality for each in answer.modalities]
        again = commands(request, modalities, model.origin, example.path if example else RECORDING)
        shown = render(answer, again, query(self._shared(request, example)))
        archive = _store(pack_answer(answer, model), self.folder)
        return "", shown, gradio.update(value=archive, visible=True)

    def _shared(self, request: Request, example: Example | None) -> Shared:
        """What a link to a request carries."""
        text, seeds = request.text.strip(), ",".join(map(str, request.seeds))
        if example is None:
            return Shared(text, seeds, is_spoken=_is_spoken(request.recording, text))
        is_own = "text" not in self.studio.model.paths or text == example.text.strip()
        return Shared(None if is_own else text, seeds, example.name)


def _or_failure(work: Callable[[], Values], recorded: str | None, more: int = 0) -> Values:
    """The result of `work`, or an error's sentence, no result, no archive, and `more` left as they are."""
    import gradio

    try:
        return work()
    except InputError as error:
        message = as_sentence(str(error), recorded)
    except Exception:
        traceback.print_exc()  # for the operator of the server
        message = "The program failed; the error is in the server's log. Try again."
    return failure(message), "", gradio.update(visible=False), *[_skip()] * more


def as_sentence(message: str, recorded: str | None) -> str:
    """An InputError's line for a visitor, without the paths of this machine."""
    for name in (recorded, recorded and Path(recorded).name):
        if name:
            message = message.removeprefix(f"{name}: ").replace(name, "the recording")
    message = message[:1].upper() + message[1:]
    return message if message.endswith((".", "!", "?")) else f"{message}."


def _skip() -> Any:
    """The value that leaves a component as it is."""
    import gradio

    return gradio.skip()


def _spoken(text: str) -> tuple[int, np.ndarray]:
    """A sentence by espeak-ng: Hz, and int16 (N,); spaces around it change nothing."""
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"expected at most {MOST_CHARACTERS} characters, found {len(text)}: shorten it")
    samples, rate = speak(text)
    if not len(samples):
        raise InputError(f"expected words to speak, found {text[:60]!r}: type a sentence")
    return rate, (samples * 32767).astype(np.int16)


def _is_spoken(recording: Path | None, text: str) -> bool:
    """Whether the recording is the text as this page speaks it."""
    if recording is None:
        return False
    try:
        return holds(recording, *_spoken(text))
    except InputError:  # no words to speak
        return False


def _store_sound(rate: int, samples: np.ndarray, folder: Path) -> str:
    path = folder / "spoken" / f"{_name(samples.tobytes())}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return str(path)


def _store(archive: bytes, folder: Path) -> str:
    path = folder / "archives" / _name(archive) / "s2i-images.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive)
    return str(path)


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
