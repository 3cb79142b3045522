"""What a protocol is: a procedure with a name, and the facts that stand beside each of its numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.score import Score

REAL = (
    "all real images of the split: centre crops, brought to the generated ones' size by an antialiased"
    " bicubic filter where the pack holds larger ones"
)


@dataclass(frozen=True)
class Protocol:
    """A metric's exact procedure.

    `measure`: gives the scores, none where the data can't; `extractor`: the name of what extracts features
    (`metric_networks.EXTRACTORS`, or module:function); `generates`: the selection of captions whose images it
    needs, "" for none; `reference`: what the images or captions are compared with.
    """

    measure: Callable[[FeatureBank], list[Score]]
    extractor: str
    generates: str
    reference: str

    def __call__(self, bank: FeatureBank) -> list[Score]:
        return self.measure(bank)

    @property
    def name(self) -> str:
        return self.measure.__name__

    @property
    def procedure(self) -> str:
        """Its text, as one paragraph."""
        return procedure_of(self.measure)


def procedure_of(measure: Callable[..., list[Score]]) -> str:
    """The docstring of what measures, as one paragraph."""
    return " ".join((inspect.getdoc(measure) or "").split())


def protocol(
    extractor: str, generates: str, reference: str
) -> Callable[[Callable[[FeatureBank], list[Score]]], Protocol]:
    """Make a function a protocol: its name is the protocol's, its docstring is the procedure."""
    return lambda measure: Protocol(measure, extractor, generates, reference)
