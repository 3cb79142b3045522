"""Images from a sentence."""

from __future__ import annotations

from s2i import commands
from s2i.arguments.verb import Verbs, add_device, add_model, add_root, add_verb, factor, seconds, whole_number
from s2i.files.paths import given_path


def add_generation(verbs: Verbs) -> None:
    """generate, about."""
    output = add_verb(
        verbs,
        "generate",
        commands.generate,
        "generate images from a spoken or written sentence, or speech from an image",
    )
    add_model(output)
    sentence = output.add_mutually_exclusive_group(required=True)
    sentence.add_argument(
        "--speech",
        type=given_path,
        metavar="WAV",
        help="a recording; or a folder or manifest (.jsonl) of recordings, one image each",
    )
    sentence.add_argument("--text", metavar="WORDS", help="the sentence")
    sentence.add_argument("--texts", type=given_path, metavar="FILE", help="a file of sentences, one a line")
    sentence.add_argument(
        "--record",
        type=seconds,
        metavar="SECONDS",
        help="record from the microphone until you fall silent, at most so long",
    )
    sentence.add_argument(
        "--image", type=given_path, metavar="FILE", help="an image, of which speech is generated (.wav)"
    )
    sentence.add_argument(
        "--interpolate",
        type=given_path,
        nargs=2,
        metavar=("A.wav", "B.wav"),
        help="interpolate between two recordings",
    )
    output.add_argument(
        "--output",
        required=True,
        type=given_path,
        metavar="PNG",
        help="output file, .wav for speech; a folder for many sentences",
    )
    output.add_argument(
        "--count", type=whole_number(1, 10_000), default=1, metavar="N", help="number of images (default: 1)"
    )
    output.add_argument(
        "--seed", type=whole_number(0), default=0, metavar="S", help="seed of the noise (default: 0)"
    )
    output.add_argument(
        "--truncation",
        type=factor,
        default=1.0,
        metavar="T",
        help="factor of the noise, 0 to 4, times the model's own: below 1 images are more usual, and more"
        " alike (default: 1)",
    )
    output.add_argument(
        "--guidance",
        type=factor,
        default=0.0,
        metavar="G",
        help="of a learnt prior, 0 to 4: above 1 images go further with the sentence, and are more alike"
        " (default: 0, the model's own)",
    )
    output.add_argument(
        "--candidates",
        type=whole_number(1, 1024),
        default=1,
        metavar="N",
        help="generate each image N times and keep the one that the model finds best (default: 1)",
    )
    output.add_argument(
        "--bf16",
        action="store_true",
        help="compute images in bfloat16, which changes pixels by half a level of 255 on average: a large"
        " generator takes half of the time where the processor or GPU has instructions for it",
    )
    output.add_argument("--stages", action="store_true", help="show the images of all stages")
    output.add_argument(
        "--scale",
        type=whole_number(1, 64),
        default=1,
        metavar="N",
        help="show images N times as large, smoothed (default: 1, the pixels that were generated)",
    )
    output.add_argument(
        "--caption",
        nargs="?",
        const=True,
        default=False,
        metavar="WORDS",
        help="write the sentence, or a recording's name, or these words, below the images",
    )
    output.add_argument(
        "--attention",
        type=given_path,
        metavar="PNG",
        help="output file, or folder, for the attention map of each segment or word",
    )
    output.add_argument(
        "--frames",
        type=whole_number(2, 10_000),
        metavar="N",
        help="number of images of --interpolate (default: 9)",
    )
    output.add_argument(
        "--processes",
        type=whole_number(1, 1024),
        default=1,
        metavar="N",
        help="processes that share many sentences, each with one thread (default: 1)",
    )
    add_root(output)
    add_device(output)

    telling = add_verb(verbs, "about", commands.about, "tell what made an image of s2i generate")
    telling.add_argument("file", type=given_path, metavar="PNG", help="an image of s2i generate")
    telling.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
