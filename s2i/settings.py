"""What is true of a configuration's key besides its type and default, declared where the key is.

`s2i.config` declares; whoever checks a value, exports a model or continues a run reads it from `declared`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, reduce
from typing import Any, Literal, get_args, get_type_hints

Training = Literal["encoder", "gan", "classifier", "regression", "cross_modal", "speech_classifier"]
LARGEST = 10**9  # of any number: what is larger overflows somewhere
MISSING = "???"  # the value of a key that was never given, as OmegaConf spells it
_KEY = "s2i"  # of a field's metadata
_LIMITS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "at_least": (operator.ge, "at least {}"),
    "above": (operator.gt, "more than {}"),
    "at_most": (operator.le, "at most {}"),
    "below": (operator.lt, "less than {}"),
}


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        at_least, above, at_most, below: limits of a number; of each number of a tuple.
        unit: of the number.
        local: where something lies on this machine, of no use on another: a path, or the run that a training
            stands on.
        changeable: may change when a run goes on, since it decides nothing that is learnt.
        read_by: the trainings that read it: of the others it may differ.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = LARGEST
    below: float | None = None
    unit: str = ""
    local: Literal["", "path", "run"] = ""
    changeable: bool = False
    read_by: tuple[Training, ...] = get_args(Training)

    @property
    def is_bounded(self) -> bool:
        """Whether a number has a least value."""
        return self.at_least is not None or self.above is not None

    @property
    def allowed(self) -> str:
        """The numbers that it may have, in words."""
        if self.at_least is not None and self.below is None:
            text = f"{self.at_least:.10g} to {self.at_most:.10g}"
        else:
            limits = {name: getattr(self, name) for name in _LIMITS}
            if self.below is not None:
                del limits["at_most"]
            text = ", ".join(
                _LIMITS[name][1].format(f"{limit:.10g}")
                for name, limit in limits.items()
                if limit is not None
            )
        return f"{text} {self.unit}" if self.unit else text

    def allows(self, value: float) -> bool:
        """Whether a number is finite and within the limits."""
        limits = ((holds, getattr(self, name)) for name, (holds, _) in _LIMITS.items())
        return math.isfinite(value) and all(
            holds(value, limit) for holds, limit in limits if limit is not None
        )


def setting(default: Any, **declared: Any) -> Any:
    """A field of a configuration with its default, and what `Setting` says of it."""
    Setting(**declared)
    return field(default=default, metadata={_KEY: declared})


def section(default: Callable[[], Any], **declared: Any) -> Any:
    """A field that holds a section, made by `default`; what is declared of it holds for each of its keys that
    doesn't declare otherwise."""
    Setting(**declared)
    return field(default_factory=default, metadata={_KEY: declared})


@cache
def declared(kind: type) -> dict[str, Setting]:
    """{dotted key: what is true of it} of a configuration's class, sections inside it opened."""
    return {key: Setting(**facts) for key, facts in _declared(kind).items()}


@cache
def types(kind: type) -> dict[str, Any]:
    """{dotted key: its type} of a configuration's class, sections inside it opened."""
    by_key: dict[str, Any] = {}
    for name, hint in _hints(kind).items():
        if is_dataclass(hint):
            by_key |= {f"{name}.{key}": inner for key, inner in types(hint).items()}
        else:
            by_key[name] = hint
    return by_key


def value_of(config: Any, key: str) -> Any:
    """The value of a dotted key of a configuration."""
    return reduce(getattr, key.split("."), config)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _declared(kind: type) -> dict[str, dict[str, Any]]:
    declarations: dict[str, dict[str, Any]] = {}
    for item in fields(kind):
        facts, hint = item.metadata.get(_KEY, {}), _hints(kind)[item.name]
        if is_dataclass(hint):
            declarations |= {f"{item.name}.{key}": facts | inner for key, inner in _declared(hint).items()}
        else:
            declarations[item.name] = dict(facts)
    return declarations
