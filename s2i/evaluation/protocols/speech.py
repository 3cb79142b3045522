"""Protocols of generated speech, by name, in the order in which they are reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from s2i.evaluation.generated_speech import METRIC, GeneratedSpeech
from s2i.evaluation.protocols.protocol import procedure_of
from s2i.evaluation.score import Score


@dataclass(frozen=True)
class SpeechProtocol:
    """A metric's exact procedure, as `s2i.evaluation.protocols.protocol.Protocol` is one of images.

    `measure`: gives the scores, none where the model or the settings can't.
    """

    measure: Callable[[GeneratedSpeech], list[Score]]

    def __call__(self, speech: GeneratedSpeech) -> list[Score]:
        return self.measure(speech)

    @property
    def name(self) -> str:
        return self.measure.__name__

    @property
    def procedure(self) -> str:
        """Its text, as one paragraph."""
        return procedure_of(self.measure)


@SpeechProtocol
def speech_class_accuracy(speech: GeneratedSpeech) -> list[Score]:
    """A recording is generated from the centre crop of each image of the split that the speech classifier has
    heard nothing of, with noise of (seed, image). Its log-mel is classified as generated, silence around what
    is said cut, among the classes of the split that the classifier knows: the share that is called by the
    image's class. Real: all recordings of these images, cut or followed by silence to the generated length.
    Chance: one of the classes."""
    return _scores(speech, list(speech.from_images())) if speech.classifier else []


@SpeechProtocol
def speech_class_accuracy_of_the_cycle(speech: GeneratedSpeech) -> list[Score]:
    """From the first recording of each image that the speech classifier has heard nothing of an image is
    generated, and from that a recording, with noise of (seed, caption); it is scored as in
    speech_class_accuracy."""
    has_cycle = speech.classifier is not None and "speech" in speech.model.paths
    return _scores(speech, list(speech.through_images())) if has_cycle else []


def _scores(speech: GeneratedSpeech, mels: list[Tensor]) -> list[Score]:
    classes = len(speech.classifier.known)
    chance = Score(METRIC, 1 / classes, {"classes": classes}, "chance")
    return [speech.score(speech.classifier.answers(mels), speech.labels), speech.of_recordings, chance]


SPEECH_PROTOCOLS: dict[str, SpeechProtocol] = {
    protocol.name: protocol for protocol in (speech_class_accuracy, speech_class_accuracy_of_the_cycle)
}
