"""The front matter of a model's card: what the Hugging Face Hub reads of it, as YAML between two rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

UNKNOWN = "unknown"  # the Hub's own word for a licence that nobody has stated
LIBRARY = "s2i"
TAGS = {"speech": "speech-to-image", "text": "text-to-image", "image": "image-to-speech"}  # by source


def front_matter(
    sources: Iterable[str],
    license: str = UNKNOWN,
    datasets: Sequence[str] = (),
    name: str = "",
    results: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Lines for the top of a card (the Hub's model card metadata).

    Args:
        sources: what the model's paths begin with.
        license: of the weights, by the Hub's name, such as "mit".
        datasets: that it was trained on.
        name: of the model, beside its results.
        results: of the model-index: task, dataset and metrics, each with its type, value and name.
    """
    metadata: dict[str, Any] = {
        "license": license,
        "library_name": LIBRARY,
        "tags": [LIBRARY, *(TAGS[source] for source in sources), "gan"],
    }
    if datasets:
        metadata["datasets"] = list(datasets)
    if results:
        types = (metric["type"] for result in results for metric in result["metrics"])
        metadata["metrics"] = list(dict.fromkeys(types))
        metadata["model-index"] = [{"name": name, "results": [dict(result) for result in results]}]
    written = yaml.safe_dump(
        metadata, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return ["---", *written.splitlines(), "---"]
