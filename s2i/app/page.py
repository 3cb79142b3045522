"""The `app` command: the page's controls and its server, on gradio. Nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2i.app.examples import Example, find_examples
from s2i.app.studio import LONGEST, MOST_CHARACTERS, MOST_IMAGES, Studio
from s2i.app.visits import Visits
from s2i.app.welcome import example_player, heading, welcome
from s2i.errors import InputError
from s2i.inference.model import Model, load
from s2i.inference.path import LARGE
from s2i.models.pretrained import EFFICIENTNET_LITE0
from s2i.progress import say
from s2i.search.index import Index

if TYPE_CHECKING:
    import gradio

FIRST_PORT, LAST_PORT = 7860, 7959  # tried in turn where no port is given
WAITING = 32  # requests in the queue, at most; further ones are refused
LARGEST_UPLOAD = "20mb"
SEEDS = "0-3"  # at first
CANDIDATES = 8  # more gain little (recipes/painted_birds/EXPERIMENTS.md)
FEW = 4  # most of the gain (recipes/cub/EXPERIMENTS.md)
STILL = "html { scrollbar-gutter: stable; }"  # gradio holds page.css to what is inside of its container
INVITATION = "Examples: click a sentence."
KEPT = 3600  # s that uploads and archives are kept
# The browser refuses to load anything from elsewhere. gradio builds functions from strings: unsafe-eval.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:;"
    " connect-src 'self' data: blob:;"
    " worker-src 'self' blob:; font-src 'self' data:"
)


def serve(
    model: str | Path,
    index: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    candidates: int | None = None,
    device: str = "auto",
) -> None:
    """Show the page until it is interrupted.

    Args:
        model: an exported model's folder or a GAN run.
        index: made by `s2i index` with this model, to show the nearest real images too.
        host: address to listen at; 0.0.0.0: every one of this machine.
        port: None: the first free one from 7860 on.
        candidates: images of a seed, of which the best is shown; None: `usual_candidates`.
        device: "auto", "cpu" or "cuda".

    Raises:
        InputError: gradio is missing, the port is taken, or the model or the index can't be read.
    """
    if find_spec("gradio") is None:
        raise InputError("expected gradio, which serves the page, found none: pip install -e '.[app]'")
    free_port = _free_port(host, port)
    loaded = load(model, device)
    candidates = candidates or usual_candidates(loaded)
    for path in loaded.image_paths().values():
        path.choosing_among(candidates)  # refused before anybody asks
    studio = Studio(loaded, None if index is None else Index.open(index))
    with tempfile.TemporaryDirectory(prefix="s2i-app-") as folder:
        # Before gradio is imported, which reads them.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=folder, HF_HUB_OFFLINE="1")
        page = build_page(studio, Path(folder), find_examples(studio.model.origin), candidates)
        page.launch(server_name=host, server_port=free_port, prevent_thread_lock=True, **launch_options())
        address = "127.0.0.1" if host == "0.0.0.0" else host
        print(f"http://{address}:{free_port}", flush=True)
        say("s2i: the page is up; Ctrl-C ends it")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that uploads are deleted then too
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("s2i: the page is closed")
        finally:
            page.close(verbose=False)


def usual_candidates(model: Model) -> int:
    """CANDIDATES of a model of small images whose image encoder takes milliseconds; FEW where it looks
    through a network that takes longer but needs no download; of another 1. Raises InputError for a model
    that generates no images."""
    paths = model.image_paths().values()
    configs = [path.config for path in paths]
    kinds = {config.image_encoder.kind for config in configs}
    if any(config.generated_size >= LARGE for config in configs) or not kinds <= {
        "small",
        EFFICIENTNET_LITE0,
    }:
        return 1
    try:
        return min(
            path.choosing_among(CANDIDATES if kinds == {"small"} else FEW).candidates for path in paths
        )
    except InputError:
        return 1


def build_page(
    studio: Studio, folder: Path, examples: Sequence[Example] = (), candidates: int = 1
) -> gradio.Blocks:
    """The page of a model. `folder`: for what visitors download; `examples`: to be clicked; `candidates`: as
    of `Visits`."""
    import gradio

    model = studio.model
    has_speech, has_text = "speech" in model.paths, "text" in model.paths
    examples = [example for example in examples if has_speech or example.text]
    visits = Visits(studio, folder, examples, candidates)
    with gradio.Blocks(
        title=model.origin.resolve().name, analytics_enabled=False, delete_cache=(KEPT // 4, KEPT)
    ) as page:
        gradio.HTML(heading(model), elem_id="s2i-head", js_on_load=None)
        link = gradio.Textbox(visible=False)  # the "?..." that the page was opened with
        if examples:
            gradio.HTML(INVITATION, elem_id="s2i-examples-title", js_on_load=None)
        with gradio.Row(elem_id="s2i-examples", visible=bool(examples)):
            buttons = [_example(number, each, has_speech) for number, each in enumerate(examples)]
        with gradio.Row(elem_classes="s2i-layout"):
            with gradio.Column(scale=3, min_width=280, elem_classes="s2i-controls"):
                recording = gradio.Audio(
                    sources=["microphone", "upload"],
                    type="filepath",
                    label=f"Spoken description (up to {LONGEST:g} s)",
                    editable=False,
                    buttons=[],
                    visible=has_speech,
                    elem_id="s2i-recording",
                )
                text = gradio.Textbox(
                    label="or a written one; give both to compare them"
                    if has_speech and has_text
                    else "Written description",
                    placeholder="a small red bird with a black wing",
                    max_length=MOST_CHARACTERS,
                    lines=2,
                    max_lines=4,
                    submit_btn=False,
                    visible=has_text,
                    elem_id="s2i-text",
                )
                speak_text = gradio.Button(
                    "Speak the text", size="sm", visible=has_speech and has_text, elem_id="s2i-speak"
                )
                seeds = gradio.Textbox(
                    label="Seeds",
                    info=f"one image each, at most {MOST_IMAGES}: 0-3 or 2, 5, 11",
                    value=SEEDS,
                    max_length=80,
                    elem_id="s2i-seeds",
                )
                generate = gradio.Button("Generate", variant="primary", elem_id="s2i-generate")
                others = gradio.Button("Generate other seeds", elem_id="s2i-others")
                archive = gradio.DownloadButton("Save images and settings", visible=False, elem_id="s2i-save")
            with gradio.Column(scale=7, min_width=280, elem_classes="s2i-results"):
                status = gradio.HTML(elem_id="s2i-status", js_on_load=None)
                result = gradio.HTML(welcome(model, bool(examples)), elem_id="s2i-result", js_on_load=None)

        inputs, outputs = [recording, text, seeds], [status, result, archive]
        options = {"api_visibility": "private", "concurrency_id": "generation"}
        gradio.on([generate.click, text.submit, seeds.submit], visits.generate, inputs, outputs, **options)
        others.click(visits.generate_others, inputs, [*outputs, seeds], **options)
        speak_text.click(visits.speak, text, [*outputs, recording], show_progress_on=recording, **options)
        for button, example in zip(buttons, examples, strict=True):
            button.click(partial(visits.try_example, example), seeds, [*outputs, recording, text], **options)
        page.load(
            visits.follow_link,
            link,
            [*outputs, *inputs],
            js="() => location.search",
            show_progress="hidden",
            **options,
        )
    return page.queue(max_size=WAITING, default_concurrency_limit=1)


def _example(number: int, example: Example, has_speech: bool) -> gradio.Button:
    """One example with its sound; returns the button that generates from it."""
    import gradio

    with gradio.Column(min_width=200, elem_classes="s2i-example"):
        button = gradio.Button(example.text or example.name, size="sm", elem_id=f"s2i-example-{number}")
        if has_speech:
            gradio.HTML(example_player(example), js_on_load=None)
    return button


def launch_options() -> dict[str, Any]:
    """The page's appearance and how it is served: nothing is loaded from elsewhere."""
    import gradio
    from starlette.middleware import Middleware

    here = Path(__file__).parent
    theme = gradio.themes.Default(
        primary_hue="red",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return {
        "theme": theme,
        "css": (here / "page.css").read_text(encoding="utf-8"),
        "head": f"<style>{STILL}</style><script>{(here / 'page.js').read_text(encoding='utf-8')}</script>",
        "footer_links": [],
        "ssr_mode": False,
        "share": False,
        "quiet": True,
        "max_file_size": LARGEST_UPLOAD,
        "app_kwargs": {"middleware": [Middleware(LocalOnly)]},
    }


class LocalOnly:
    """ASGI: sends `POLICY` with every response, and removes gradio's links to other sites from the page."""

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Pass a request on, and its response back."""
        begun: list[dict] = []
        chunks: list[bytes] = []

        async def forward(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                ]
                if _is_page(message["headers"]):
                    begun.append(message)
                    return
            elif begun and message["type"] == "http.response.body":
                chunks.append(message.get("body", b""))
                if message.get("more_body"):
                    return
                body = without_links(b"".join(chunks).decode()).encode()
                start = begun.pop()
                start["headers"] = [pair for pair in start["headers"] if pair[0] != b"content-length"]
                start["headers"].append((b"content-length", str(len(body)).encode()))
                await send(start)
                message = {"type": "http.response.body", "body": body}
            await send(message)

        await self.app(scope, receive, forward if scope["type"] == "http" else send)


def without_links(page: str) -> str:
    """HTML whose strings name no site of gradio's makers: its advertisement of itself, its example files."""
    sites = r"github\.com|githubusercontent\.com|gradio\.app|huggingface\.co"
    return re.sub(rf'"https?://(?:[\w-]+\.)*(?:{sites})[^"]*"', '""', page)


def _is_page(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers)


def _free_port(host: str, port: int | None) -> int:
    """The given port or the first free one. Raises InputError where there is none."""
    for candidate in [port] if port is not None else range(FIRST_PORT, LAST_PORT + 1):
        try:
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, candidate))
            return candidate
        except (OSError, OverflowError) as error:
            reason = error
    tried = port if port is not None else f"{FIRST_PORT} to {LAST_PORT}"
    raise InputError(f"expected a free port at {host}, found {reason} for {tried}: choose another --port")
