"""Captions -> spoken captions.

    python -m data_prep.synthesize_speech --manifest IN.jsonl --root DIR --output OUT.jsonl
    python -m data_prep.synthesize_speech --text "a small red bird" --output bird.wav

Who speaks is `--plan voices.yaml`, many families of synthesisers, or `--voice`: one of them (by default
espeak-ng), a folder of recordings, or the spoken captions that S2IGAN's authors released. Each family has its
own file in data_prep/voices.

Every caption that has text and no audio is spoken, and the manifest that is written has its audio, language
and speaker. A speaker is family, voice and variant (`espeak-ng/en-us/f1`, `flite/slt`); rate and pitch are
sampled for each caption. Half of the test captions are spoken by voices that no other split has: a voice is
unseen if no training caption has it as its speaker, and whoever evaluates finds that out from the manifest
alone. `--family` has one family of the plan speak everything, whether training has heard it or not.

A clip's name is a digest of what makes it, so that clips which exist are never made again, whichever run or
manifest asked for them first. Killed anywhere, the same command continues. `--shard i/n` makes a part of the
clips, on one machine of several that share the folder; the same command without it makes what is missing and
writes the manifest.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from data_prep.clips import clip_exists, clip_folder
from data_prep.utterances import Request, Utterance
from data_prep.voices.cast import SEEN, UNSEEN, choose_cast
from data_prep.voices.family import Family, Sound
from data_prep.voices.plan import FamilyPlan, Plan, read_plan
from data_prep.voices.registry import FAMILIES, TACOTRON2, find_family
from data_prep.voices.speak import make_clips
from s2i.data.manifest import SPLITS, ImageRecord, check_manifest_file, iterate_manifest, write_manifest
from s2i.data.shards import WHOLE, Shard
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import check_output_file, say_replaced
from s2i.files.paths import given_path
from s2i.processes import cores
from s2i.progress import say

Choose = Callable[[ImageRecord], dict[int, Utterance]]  # what is to be spoken, by the caption's number


def speak_manifest(
    manifest: str | Path,
    root: str | Path,
    output: str | Path,
    families: dict[str, Family],
    choose: Choose,
    audio: str = "audio",
    processes: int = 1,
    splits: Sequence[str] | None = None,
    count: int | None = None,
    shard: Shard = WHOLE,
) -> None:
    """Speak a manifest's captions into the folder `audio` under `root`, and write the manifest that has them.

    Args:
        splits: the images that are spoken and written; None: all.
        count: of each image, the first captions, which are spoken and written; None: all.
        shard: make these clips alone, and write no manifest.

    Raises:
        InputError: what can't be read, spoken or written; the clips made until then are kept.
    """
    check_manifest_file(output, [manifest])
    folder = Path(root) / audio
    requests: dict[Path, Request] = {}
    speakers: Counter[str] = Counter()
    others = 0

    def images() -> Iterator[ImageRecord]:
        for image in iterate_manifest(manifest):
            if splits is None or image.split in splits:
                yield replace(image, captions=image.captions[:count])

    def file_name(utterance: Utterance) -> str:
        return utterance.file_name(families[utterance.family].version(utterance.voice))

    for image in images():
        chosen = choose(image)
        others += len(image.captions) - len(chosen)
        for number, utterance in chosen.items():
            speakers[utterance.family] += 1
            path = folder / file_name(utterance)
            requests.setdefault(path, Request(path, utterance, f"caption {number} of image {image.id}"))
    clip_folder(root, audio)  # made when the whole manifest has been read
    missing = sum(not clip_exists(path) for path in requests)
    by = ", ".join(f"{count} by {name}" for name, count in speakers.items()) or "none"
    say(f"{manifest}: captions to speak: {by}; {missing} clips to make; {others} left as they are")
    make_clips(families, processes, list(requests.values()), shard)
    if not shard.is_whole:
        say(f"{folder}: has the clips of shard {shard}; without --shard the manifest is written")
        return

    def spoken() -> Iterator[ImageRecord]:
        for image in images():
            captions = list(image.captions)
            for number, utterance in choose(image).items():
                captions[number] = replace(
                    captions[number],
                    audio=(Path(audio) / file_name(utterance)).as_posix(),
                    speaker=utterance.speaker,
                    language=utterance.language,
                )
            yield replace(image, captions=tuple(captions))

    say_replaced(output)
    write_manifest(output, spoken())


def write_sentence(output: str | Path, text: str, waveform: np.ndarray, sample_rate: int) -> None:
    """Write one sentence, spoken, into a sound file of the kind that its name ends with."""
    output = Path(output)
    kind = output.suffix[1:].upper()
    if kind not in soundfile.available_formats():
        raise InputError(
            f"expected the name of a sound file such as speech.wav, found {output}: change --output"
        )
    if not len(waveform):
        raise InputError(f"expected words to speak, found silence for {text!r}: change --text")
    check_output_file(output)
    encoded = io.BytesIO()  # libsndfile prints a traceback where a stream refuses
    soundfile.write(encoded, waveform, sample_rate, format=kind)
    say_replaced(output)
    with write_atomically(output, "wb") as stream:
        stream.write(encoded.getbuffer())


def main(arguments: Sequence[str] | None = None) -> None:
    """Speak a manifest, or one sentence."""
    parser = Parser(
        description="Speak the captions of a manifest, or one sentence, or match recordings with captions."
    )
    parser.add_argument(
        "--plan",
        type=given_path,
        metavar="FILE",
        help="voices.yaml: families of synthesisers, their shares and voices; see data_prep/README.md",
    )
    parser.add_argument(
        "--family", metavar="NAME", help="of the plan: it speaks everything, whatever its share"
    )
    parser.add_argument(
        "--speakers",
        choices=(SEEN, UNSEEN),
        help="of all captions; default: unseen ones of every second test caption, where there are any",
    )
    parser.add_argument(
        "--splits", nargs="+", choices=SPLITS, metavar="SPLIT", help="speak and write these; default: all"
    )
    parser.add_argument(
        "--captions", type=int, metavar="N", help="speak and write the first N of each image; default: all"
    )
    parser.add_argument(
        "--voice",
        metavar="NAME",
        help="instead of a plan: espeak-ng (default), flite, festival, piper; a pipeline of torchaudio, such"
        " as TACOTRON2_WAVERNN_CHAR_LJSPEECH; recordings: your own in --source; s2igan: what S2IGAN's authors"
        " released, in --source",
    )
    parser.add_argument(
        "--manifest", type=given_path, metavar="FILE", help="manifest whose captions are to be spoken"
    )
    parser.add_argument(
        "--root", type=given_path, metavar="DIR", help="folder that paths in the manifest start from"
    )
    parser.add_argument(
        "--output", type=given_path, metavar="FILE", required=True, help="manifest, or sound file of --text"
    )
    parser.add_argument("--text", metavar="WORDS", help="one sentence, instead of a manifest")
    parser.add_argument(
        "--audio",
        type=given_path,
        metavar="DIR",
        default="audio",
        help="folder of clips in --root; default: audio",
    )
    parser.add_argument("--seed", type=int, default=0, help="of voices, rates and pitches; default: 0")
    parser.add_argument("--processes", type=int, default=cores(), help="default: one a core")
    parser.add_argument(
        "--shard",
        type=Shard.parse,
        default=WHOLE,
        metavar="i/n",
        help="make this part of the clips alone, on one machine of several, and write no manifest",
    )
    parser.add_argument(
        "--languages",
        nargs="+",
        default=["en"],
        metavar="CODE",
        help="captions in others are left as they are, those that name none are in the first; default: en",
    )
    parser.add_argument(
        "--voices", nargs="+", metavar="VOICE", help="such as en-us+f1; default: 32 for English, 8 for others"
    )
    parser.add_argument(
        "--held-out-voices",
        nargs="+",
        metavar="VOICE",
        help="of half of the test captions; default: 12, or 3",
    )
    parser.add_argument(
        "--weights",
        type=given_path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="of Tacotron2, then of WaveRNN; default: downloaded by torchaudio",
    )
    parser.add_argument(
        "--block", type=int, default=16, metavar="N", help="clips that Tacotron2 speaks at once; default: 16"
    )
    parser.add_argument(
        "--source", type=given_path, metavar="DIR", help="folder of recordings, or of S2IGAN's arrays"
    )
    parser.add_argument(
        "--table",
        type=given_path,
        metavar="CSV",
        help="which recording says which caption; default: their names",
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave captions without a recording as they are"
    )
    given = parser.parse_args(arguments)
    if given.text is not None and given.manifest is not None:
        raise InputError("expected --manifest or --text, found both: remove one")
    if given.text is None and (given.manifest is None or given.root is None):
        raise InputError("expected --manifest and --root, or --text, found neither: see --help")
    files = (given.manifest, given.root, given.output)
    voice = given.voice or "espeak-ng"
    if given.plan is not None and (given.voice or given.voices or given.held_out_voices or given.text):
        raise InputError("expected --plan, or else --voice, --voices or --text, found both: remove one")
    if given.plan is None and given.family is not None:
        raise InputError("expected a --plan for --family, found none: give one, or --voice")
    if voice in ("recordings", "s2igan"):
        from data_prep.recorded_captions import take_recordings, take_released

        if given.source is None or given.text is not None:
            raise InputError(f"expected --manifest and --source for --voice {voice}: see --help")
        if voice == "recordings":
            take_recordings(*files, given.source, given.table, given.allow_missing)
        else:
            take_released(*files, given.source, given.audio, given.allow_missing)
        return
    if given.text is not None and not given.shard.is_whole:
        raise InputError("expected --shard with --manifest, found it with --text: leave it out")
    if given.captions is not None and given.captions < 1:
        raise InputError(f"expected --captions of 1 or more, found {given.captions}: change it")
    plan = _plan(given)
    with ExitStack() as stack:
        families = {
            name: stack.enter_context(_family(name, given.weights, given.block)) for name in plan.families
        }
        if given.text is not None:
            ((name, family),) = families.items()
            voices = plan.families[name].voices
            write_sentence(given.output, given.text, *_sentence(family, given.text, voices))
            return
        cast = choose_cast(plan, families, given.languages)
        if given.speakers == UNSEEN and not any(part.test_share for part in cast.families):
            raise InputError(
                "expected voices that are kept for the test split for --speakers unseen, found none: leave it"
                " out, or give test_voices in the plan"
            )

        def choose(image: ImageRecord) -> dict[int, Utterance]:
            return cast.choose(image, given.seed, given.speakers)

        selection = given.splits, given.captions, given.shard
        speak_manifest(*files, families, choose, given.audio, given.processes, *selection)


def _plan(given: argparse.Namespace) -> Plan:
    """The plan that the options name, or the one of a single family that they are."""
    if given.plan is not None:
        plan = read_plan(given.plan, find_family)
        if given.family is None:
            return plan
        is_heard = given.family in plan.families and plan.families[given.family].share
        say(f"{given.family} speaks everything; training {'hears it too' if is_heard else 'never hears it'}")
        return plan.only(given.family)
    voices = None if given.voices is None else tuple(given.voices)
    test_voices = None if given.held_out_voices is None else tuple(given.held_out_voices)
    both = sorted(set(voices or ()) & set(test_voices or ()))
    if both:
        raise InputError(
            f"expected a held-out voice to be no other, found {both[0]} in both lists: remove it"
        )
    voice = given.voice or "espeak-ng"
    if voice not in FAMILIES:  # a pipeline of torchaudio, which says what there is
        return Plan({TACOTRON2: FamilyPlan(voices=(voice,))})
    return Plan({voice: FamilyPlan(voices=voices, test_voices=test_voices)})


def _family(name: str, weights: Sequence[str], block: int) -> Family:
    kind = find_family(name)
    return kind(weights, block) if name == TACOTRON2 else kind()


def _sentence(family: Family, text: str, voices: Sequence[str] | None) -> Sound:
    """One sentence by the first of the voices, or by the family's usual one."""
    voice = voices[0] if voices else family.usual_voice
    remedy = family.missing([voice])
    if remedy:
        raise InputError(f"expected {family.name}, found it missing: {remedy}")
    chosen, _ = family.choose_voices(["en"], [voice], None)
    spoken = next(iter(chosen["en"]), voice)
    (sound,) = family.utter([Utterance(text, "en", family.name, spoken, family.usual_values())])
    return sound


if __name__ == "__main__":
    exit_on_input_error(main)
