"""Our modules against numbers of the official ones: the largest difference of each part, as JSON.

python tests/parity/check.py FIXTURE.pt

A fixture holds parts by name, each with the official state dict, inputs and outputs; any part may be absent.
Every size is read off the weights. Ends with status 1 where a part differs by more than 1e-4.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # runs from a clone that is not installed

from s2i.config_data import AudioConfig  # noqa: E402
from s2i.data.audio import log_mel, normalise  # noqa: E402
from s2i.errors import InputError, exit_on_input_error  # noqa: E402
from s2i.losses import batch_matching_loss, region_loss  # noqa: E402
from s2i.metrics.retrieval import retrieve_by_class  # noqa: E402
from s2i.models.caption_encoding import CaptionEncoding, length_mask  # noqa: E402
from s2i.published.attngan import read_text_encoder  # noqa: E402
from s2i.published.s2igan import read_relation, read_speech_encoder  # noqa: E402
from s2i.published.stacked import read_discriminator, read_generator  # noqa: E402
from s2i.published.weights import Weights  # noqa: E402

TOLERANCE = 1e-4

Part = dict[str, Any]
Pairs = Iterator[tuple[Any, Any]]  # (ours, theirs)


def main(arguments: list[str] | None = None) -> None:
    """Compare the parts of one fixture."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or not Path(given[0]).is_file():
        raise InputError("expected one fixture: python tests/parity/check.py FIXTURE.pt")
    differences = compare(given[0])
    print(json.dumps(differences, indent=1))
    if not all(difference is not None and difference <= TOLERANCE for difference in differences.values()):
        sys.exit(1)


@torch.no_grad()
def compare(path: str | Path) -> dict[str, float | None]:
    """The largest absolute difference of each part; None where shapes differ or numbers are not finite."""
    fixture = torch.load(path, map_location="cpu", weights_only=True)
    named = {name: part for name, part in fixture.items() if name != "meta"}
    unknown = sorted(set(named) - set(PARTS))
    if unknown or not named:
        raise InputError(
            f"expected parts among {', '.join(PARTS)} in {path}, found {', '.join(unknown) or 'none'}"
        )
    return {name: _largest(PARTS[name](part)) for name, part in named.items()}


def _largest(pairs: Pairs) -> float | None:
    largest = 0.0
    for ours, theirs in pairs:
        ours, theirs = (torch.as_tensor(value).double() for value in (ours, theirs))
        if ours.shape != theirs.shape or not torch.isfinite(ours).all():
            return None
        largest = max(largest, float((ours - theirs).abs().max()))
    return largest


def _weights(part: Part, name: str) -> Weights:
    return Weights(part["state"], name)


def _all_valid(sequence: Tensor) -> Tensor:
    return torch.ones(len(sequence), sequence.shape[2], dtype=torch.bool)


def text_encoder(part: Part) -> Pairs:
    encoding = read_text_encoder(_weights(part, "text_encoder"))(part["tokens"], part["lengths"])
    yield encoding.sequence, part["words"]
    yield encoding.sentence, part["sentence"]


def speech_encoder(part: Part) -> Pairs:
    encoder = read_speech_encoder(_weights(part, "speech_encoder"))
    for clips in (part, *part.get("single", ())):
        mels = clips["mel"].transpose(1, 2)
        lengths = torch.full((len(mels),), mels.shape[2])
        yield encoder(mels, lengths).sentence, clips["embedding"]


def generator(part: Part) -> Pairs:
    network = read_generator(_weights(part, "generator"))
    sentence = part["sentence"] if "sentence" in part else part["embedding"]
    words = part.get("words", sentence.unsqueeze(2))  # a generator without attention never looks at them
    encoding = CaptionEncoding(sentence, words, _all_valid(words))
    output = network(encoding, part["noise"], part["ca_noise"])
    yield len(output.images), len(part["images"])
    yield from zip(output.images, part["images"], strict=False)
    yield len(output.attention), len(part.get("attention", ()))
    yield from zip(output.attention, part.get("attention", ()), strict=False)
    yield output.mu, part["mu"]
    yield output.logvar, part["logvar"]
    if "padded_image" in part:
        first = CaptionEncoding(sentence[:1], words[:1], ~part["padding_mask"])
        images = network(first, part["noise"][:1], part["ca_noise"][:1]).images
        yield images[-1], part["padded_image"]


def discriminators(scales: list[Part]) -> Pairs:
    for number, part in enumerate(scales):
        network = read_discriminator(_weights(part, f"discriminators[{number}]"))
        hidden = network(part["images"])
        condition = part["sentence"] if "sentence" in part else part["condition"]
        yield network.conditional_logits(hidden, condition).sigmoid(), part["conditional_probability"]
        yield network.unconditional_logits(hidden).sigmoid(), part["unconditional_probability"]


def relation(part: Part) -> Pairs:
    yield read_relation(_weights(part, "relation"))(part["real"], part["other"]), part["logits"]


def matching(part: Part) -> Pairs:
    ours = batch_matching_loss(part["image"], part["speech"], part["class_ids"], part["gamma"])
    yield torch.stack(ours), part["losses"]


def damsm(part: Part) -> Pairs:
    words, classes, gammas = part["words"], part["class_ids"], part["gammas"]
    mask = length_mask(part["lengths"], words.shape[2])
    ours = region_loss(part["regions"].flatten(2), words, mask, classes, gammas)
    yield torch.stack(ours), part["word_losses"]
    ours = batch_matching_loss(part["image"], part["sentence"], classes, gammas[2])
    yield torch.stack(ours), part["sentence_losses"]


def class_map(part: Part) -> Pairs:
    """One query a class, its first utterance. The official code calls first what an unstable sort of the
    class ids puts first, which is another than the true first now and then: one of them has to agree."""
    classes, theirs = part["class_ids"], part["mean_average_precision"]
    precisions = []
    for stable in (True, False):
        ordered, order = classes.sort(stable=stable)
        first = order[torch.cat((torch.tensor([True]), ordered[1:] != ordered[:-1]))]
        scores = retrieve_by_class(part["speech"][first], part["image"], classes[first], classes)
        precisions.append(float(scores["mAP"].mean()))
    yield min(precisions, key=lambda ours: abs(ours - theirs)), theirs


def log_mels(part: Part) -> Pairs:
    config = AudioConfig(sample_rate=part["sample_rate"], mel_bins=part["log_mel"].shape[-1])
    ours = log_mel(part["waveform"], config)
    yield ours, part["log_mel"]
    yield normalise(ours), part["log_mel_cmvn"]


PARTS: dict[str, Callable[[Any], Pairs]] = {
    "text_encoder": text_encoder,
    "speech_encoder": speech_encoder,
    "generator": generator,
    "discriminators": discriminators,
    "relation": relation,
    "matching": matching,
    "damsm": damsm,
    "class_map": class_map,
    "log_mel": log_mels,
}

if __name__ == "__main__":
    exit_on_input_error(main)
