"""Training a classifier of speech, which only scores generated speech: `s2i train-speech-classifier`.

It learns which class a recording is of: those of the training split and, so that it knows the classes of the
split that is scored (`speech_classifier.split`), the recordings of every second image of each of these. The
other images are held out: speech is generated from them alone, and compared with their own recordings.
`s2i.evaluation.speech_classifier` scores with it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.config import Config
from s2i.config_files import require
from s2i.data.batches import pad_mels
from s2i.data.pack import Pack
from s2i.data.sampler import in_buckets
from s2i.errors import InputError
from s2i.models.build import build_caption_encoder
from s2i.models.speech_classifier import SpeechClassifier
from s2i.progress import say
from s2i.runs.fingerprints import data_of_run
from s2i.runs.run import alone_in_its_run
from s2i.training.distributed import Engine
from s2i.training.encoder import refuse_short_recordings
from s2i.training.learner import Learner
from s2i.training.loop import Training

BATCH = 64  # recordings that are classified together once it is trained


@dataclass(frozen=True)
class Recordings:
    """Recordings of several packs.

    Attributes:
        packs: where they are.
        pack, caption, label: (N,) each: number of the pack, index in it, number of the class.
    """

    packs: list[Pack]
    pack: np.ndarray
    caption: np.ndarray
    label: np.ndarray

    def lengths(self) -> np.ndarray:
        """Frames: (N,)."""
        lengths = [pack.mel_lengths for pack in self.packs]
        places = zip(self.pack.tolist(), self.caption.tolist(), strict=True)
        return np.array([lengths[pack][caption] for pack, caption in places])

    def read(self, chosen: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """(B, M, T), valid frames (B,) and classes (B,) of some."""
        mels = [self.packs[self.pack[each]].mel(self.caption[each]) for each in chosen.tolist()]
        return *pad_mels(mels), torch.from_numpy(self.label[chosen])


@alone_in_its_run
def train_speech_classifier(config: Config) -> Path:
    """Train on recordings of `data.pack`, continue or find finished; returns the run's folder.

    Its accuracy on the held-out images' recordings goes into metrics.jsonl. Raises InputError as the packs
    and the run do.
    """
    require(config, "run", "data.pack")
    if config.modality != "speech":
        raise InputError(
            f"expected modality=speech to train a classifier of speech, found {config.modality}: change it"
        )
    settings, split = config.speech_classifier, config.speech_classifier.split
    data = data_of_run(config.run, config.data.pack)
    packs = [Pack(Path(config.data.pack) / name, config) for name in ("train", split)]
    classes = sorted({int(number) for pack in packs for number in pack.class_ids})
    taught, held_out = divide(packs, classes)
    engine = Engine.start(config)
    network = SpeechClassifier(build_caption_encoder(config, 0), len(classes)).to(engine.device)
    for pack in packs:
        refuse_short_recordings(network.encoder, pack)
    engine.share(network)
    learner = Learner(engine, network.parameters(), settings.optimiser, settings.steps)
    facts = {
        "kind": "speech_classifier",
        "data": data,
        "classes": classes,
        "split": split,
        "known": sorted({classes[label] for label in taught.label[taught.pack == 1].tolist()}),
        "held_out": [packs[1].records[image].id for image in np.flatnonzero(held_out_images(packs[1]))],
    }
    lengths = taught.lengths()
    saved = {"classifier": network, "optimiser": learner.optimiser}
    with Training(engine, settings.steps, saved, facts) as training:
        network.train()
        for step in training.steps_left():
            begun = time.perf_counter()
            chosen = _chosen(lengths, settings.batch_size, config.seed, step)
            mels, valid, labels = (tensor.to(engine.device) for tensor in taught.read(chosen))
            training.pace.waited(begun, len(labels))
            with engine.autocast():
                loss = F.cross_entropy(network(mels, valid), labels)
            learner.zero_grad()
            engine.backward(loss)
            rate, norm = learner.update(step)
            training.record({"loss/classifier": loss.detach(), "lr/classifier": rate, "grad_norm/all": norm})
            if training.finished and engine.is_main:
                _validate(training, network, held_out, facts)
            training.save_if_due()
    return training.run.folder


def divide(packs: list[Pack], classes: list[int]) -> tuple[Recordings, Recordings]:
    """What is learnt from, and what is held out: of the second pack every second image of each class.

    Raises InputError where nothing could be scored: no class of the second pack has two images with
    recordings.
    """
    recordings = []
    for held_out in (False, True):
        of_packs = []
        for number, pack in enumerate(packs):
            usable = pack.usable("speech")
            of_image = held_out_images(pack)[pack.caption_image[usable]] if number else np.zeros(len(usable))
            captions = usable[of_image.astype(bool) == held_out]
            labels = np.searchsorted(classes, pack.class_ids[pack.caption_image[captions]])
            of_packs.append((np.full(len(captions), number), captions, labels))
        recordings.append(
            Recordings(packs, *(np.concatenate(values) for values in zip(*of_packs, strict=True)))
        )
    taught, held_out = recordings
    if not np.intersect1d(taught.label[taught.pack == 1], held_out.label).size:
        raise InputError(
            f"expected a class with recordings of two images or more in {packs[1].folder}, found none:"
            " one would be learnt from, and the other scored"
        )
    return taught, held_out


def held_out_images(pack: Pack) -> np.ndarray:
    """Every second image of each class, the first one included: (images,) bool."""
    order = np.argsort(pack.labels, kind="stable")
    ordered = pack.labels[order]
    held_out = np.zeros(len(order), dtype=bool)
    held_out[order] = (np.arange(len(order)) - np.searchsorted(ordered, ordered)) % 2 == 0
    return held_out


def _chosen(lengths: np.ndarray, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Places of a step's recordings, of about one length, as a function of (seed, step)."""
    batch_size = min(batch_size, len(lengths))
    batches = len(lengths) // batch_size
    epoch, place = divmod(step, batches)
    random = np.random.default_rng((seed, epoch, 5))
    order = random.permutation(len(lengths))[: batches * batch_size]
    return in_buckets(order, lengths[order], batch_size, random)[place]


@torch.inference_mode()
def _validate(
    training: Training, network: SpeechClassifier, held_out: Recordings, facts: dict[str, object]
) -> None:
    """Accuracy among the known classes of the split, on the recordings of its held-out images."""
    config, pack = training.engine.config, held_out.packs[1]
    known = np.searchsorted(facts["classes"], facts["known"])
    order = np.argsort(held_out.lengths(), kind="stable")
    order = order[np.isin(held_out.label[order], known)]
    network.eval()
    right = []
    for start in range(0, len(order), BATCH):
        mels, valid, labels = (
            tensor.to(training.engine.device) for tensor in held_out.read(order[start:][:BATCH])
        )
        answers = torch.from_numpy(known).to(labels)[network(mels, valid)[:, known].argmax(1)]
        right.append((answers == labels).cpu())
    accuracy = float(torch.cat(right).float().mean())
    training.run.metric(
        {"step": training.step, "metric": "speech_classifier_accuracy", "value": accuracy}
        | {"split": facts["split"], "protocol": "speech_classifier_accuracy"}
        | {"counts": {"recordings": len(order), "classes": len(known)}, "weights": "live"}
        | {"seed": config.seed, "fingerprint": pack.fingerprint}
    )
    say(
        f"{training.run.label}: accuracy {accuracy:.4f} on {len(order)} recordings of {len(known)} classes of"
        f" {facts['split']}, chance {1 / len(known):.4f}"
    )
