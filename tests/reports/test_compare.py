"""The comparison of a speech run with a text run: its numbers, its files, its page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from s2i.analysis import asr_cascade, diversity, interpolation, swaps
from s2i.analysis.recognisers import CtcRecogniser
from s2i.config_files import load_config
from s2i.data.audio import hear
from s2i.data.crops import image_batches
from s2i.data.images import to_uint8
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.evaluation.captions import caption_key
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.records import evaluate, measure, settings_of
from s2i.files.output_folder import RECORD
from s2i.inference.attention_maps import heat, heat_over
from s2i.inference.model import load
from s2i.inference.word_segments import attention_during, time_labels, word_segments
from s2i.models.generator import StackedGenerator
from s2i.reports import compare as module
from s2i.reports import gallery
from s2i.reports.charts import Curve, bar_chart, line_chart
from s2i.reports.compare import compare
from s2i.reports.export import export
from s2i.reports.robustness import report_robustness
from s2i.reports.sections import protocol_title
from s2i.reports.single import report
from s2i.reports.tabulate import tabulate
from s2i.runs.fingerprints import OTHER
from tests.fixtures.runs import write_gan_run, write_world


@pytest.fixture(scope="module", autouse=True)
def small_analyses():
    """Few swaps and few captions resampled: seconds a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swaps, "MOST_SWAPS", 6)
        patch.setattr(diversity, "CAPTIONS", 4)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    """Runs, and their report: {"speech", "text", "classifier", "report"}."""
    folder = tmp_path_factory.mktemp("compared")
    runs = write_world(folder, classifier_steps=30)
    encoder = folder / "exp" / "tiny-speech-encoder"
    for name in ("speech", "text"):
        config = load_config(runs[name] / "config.yaml")
        config = replace(config, gan=replace(config.gan, encoder=str(encoder)))
        write_gan_run(runs[name], config)
    encoder.mkdir()
    records = [{"step": step, "metric": "mAP", "value": step / 100, "split": "val"} for step in (10, 20)]
    (encoder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records))
    (folder / "report").mkdir()
    (folder / "report" / "seconds.json").write_text('{"draw": 12}')
    compare(runs["speech"], runs["text"], folder / "report")
    return runs | {"report": folder / "report"}


@pytest.fixture(scope="module")
def results(world) -> dict:
    return json.loads((world["report"] / "results.json").read_text())


@pytest.fixture(scope="module")
def page(world) -> str:
    return (world["report"] / "index.html").read_text()


class Reader(HTMLParser):
    """Every file that a page asks for, what images have no description, and whether tags close."""

    VOID = ("meta", "img", "br", "link", "line", "rect", "polyline")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources, self.nameless, self.open = [], [], []
        self.sizes, self.anchors, self.links = {}, set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        wanted = [given[name] for name in ("src", "href") if name in given]
        self.sources += [name for name in wanted if not name.startswith("#")]
        self.links += [name[1:] for name in wanted if name.startswith("#")]
        self.anchors.add(given.get("id"))
        if tag == "img":
            self.sizes[given["src"]] = (int(given["width"]), int(given["height"]))
        self.sources += re.findall(r"url\('([^']+)'\)", given.get("style", ""))
        if tag == "img" and not given.get("alt"):
            self.nameless.append(given)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def copy_of(world: dict[str, Path], name: str, folder: Path, change) -> Path:
    """A run like `name` of a changed configuration."""
    config = change(load_config(world[name] / "config.yaml"))
    write_gan_run(folder, replace(config, run=str(folder)))
    return folder


def test_results_have_the_promised_keys(results):
    sections = ["protocols", "data", "seconds", "retrieval", "generation", "difference"]
    assert list(results)[:6] == sections
    assert set(results["retrieval"]) == {"speech", "text", "chance"}
    assert set(results["generation"]) == {"speech", "text", "real", "chance"}
    assert {"recall@1", "recall@5", "recall@10", "mAP"} <= set(results["retrieval"]["text"])
    generated = {"attribute_accuracy", "fid", "kid", "inception_score", "mAP"}
    for column in ("speech", "text", "real"):
        assert generated <= set(results["generation"][column])
    assert {"attribute_accuracy", "mAP"} <= set(results["generation"]["chance"])
    assert "unseen_speakers" in results["retrieval"]["speech"]
    assert results["seconds"] == {"draw": 12}
    for difference in results["difference"].values():
        assert set(difference) - {"permutation_p"} == {"speech_minus_text", "interval95", "n"}
        low, high = difference["interval95"]
        assert low <= difference["speech_minus_text"] <= high


def test_every_number_names_its_protocol_and_no_metric_is_made_up(results):
    assert all(len(text) > 60 for text in results["protocols"].values())
    assert "r_precision" not in results["generation"]["speech"]
    assert "fid" not in results["difference"]  # it has no interval


def test_every_number_names_its_extractor_and_reference(results, page):
    extractors = results["extractors"]
    assert set(extractors) <= set(results["protocols"]) and "classifier_distances" in extractors
    for facts in extractors.values():
        assert set(facts) == {"reference", "extractor", "extractor_hash", "resize"} and all(facts.values())
    assert extractors["classifier_distances"]["extractor_hash"] == results["data"]["classifier"]
    assert " / " in extractors["retrieval_by_caption"]["extractor_hash"]  # each side's own encoders
    assert f"extractor hash: {results['data']['classifier']}; resize: " in page


def test_differences_are_of_the_two_columns(results):
    columns = results["generation"]
    for name in ("attribute_accuracy", "kid", "inception_score"):
        expected = columns["speech"][name] - columns["text"][name]
        assert results["difference"][name]["speech_minus_text"] == pytest.approx(expected)
    expected = columns["speech"]["mAP"] - columns["text"]["mAP"]
    assert results["difference"]["generation/mAP"]["speech_minus_text"] == pytest.approx(expected)
    for part, section in (("by_image", "retrieval"), ("s2igan_by_classifier", "generation")):
        expected = [results[section][side][part]["mAP"] for side in ("speech", "text")]
        difference = results["difference"][f"{part}/mAP"]["speech_minus_text"]
        assert difference == pytest.approx(expected[0] - expected[1])
    assert results["difference"]["attribute_accuracy"]["n"] == 60


def test_the_page_shows_each_difference_in_its_own_row(results, page):
    """Whatever else is called mAP."""
    for protocol, key in (
        ("retrieval_by_caption", "mAP"),
        ("retrieval_by_image", "by_image/mAP"),
        ("class_retrieval_by_generated", "generation/mAP"),
        ("s2igan_mean_average_precision_by_classifier", "s2igan_by_classifier/mAP"),
    ):
        part = page[page.index(f"<summary>{protocol_title(protocol)}</summary>") :]
        row = part[part.index(">mAP<") :].split("</tr>")[0]
        assert f"{results['difference'][key]['speech_minus_text']:+.3f}" in row, protocol


def test_the_numbers_are_those_of_evaluate(world, results):
    lines = evaluate(world["speech"])
    measured = {(line["protocol"], line["metric"], line["of"]): line["value"] for line in lines}
    speech = results["generation"]["speech"]
    assert speech["attribute_accuracy"] == measured["attribute_accuracy", "attribute_accuracy", "run"]
    assert speech["mAP"] == measured["class_retrieval_by_generated", "mAP", "run"]
    assert speech["fid"] == measured["classifier_distances", "fid", "run"]
    retrieval = results["retrieval"]["speech"]
    assert retrieval["recall@1"] == measured["retrieval_by_caption", "recall@1", "run"]
    unseen = measured["retrieval_by_caption_unseen_speakers", "mAP", "run"]
    assert retrieval["unseen_speakers"]["mAP"] == unseen
    assert results["records"]["speech"] == lines  # counts, intervals and all


def test_everything_the_page_asks_for_lies_beside_it(world, page):
    reader = Reader(page)
    assert reader.open == [] and reader.nameless == []
    assert len(reader.sources) > 100
    for source in reader.sources:
        assert (world["report"] / source).is_file(), source
    assert reader.links and set(reader.links) <= reader.anchors
    assert "http" not in page
    present = {path.relative_to(world["report"]).as_posix() for path in world["report"].glob("*/*")}
    assert present == set(reader.sources)


def test_every_image_has_its_size_in_the_page(world, page):
    """So that nothing moves while they load."""
    sizes = Reader(page).sizes
    assert len(sizes) > 100
    for source, size in sizes.items():
        assert Image.open(world["report"] / source).size == size


def test_the_page_leads_with_six_captions_and_five_rows(page, results):
    first, rest = page.split('<section id="results">')
    assert first.count('<div class="column">') == 6 and first.count("<audio") == 6
    assert first.count("from speech: a bird") == first.count("real: a bird") == 6
    table = rest[: rest.index("</table>")]
    assert table.count("<tr>") == 1 + 5 and rest.index("<table") < rest.index("<details")
    difference = results["difference"]["attribute_accuracy"]
    low, high = sorted(map(abs, difference["interval95"]))
    estimate = f"{abs(difference['speech_minus_text']):.3f} [{low:.3f}, {high:.3f}]"
    ahead = difference["interval95"][0] > 0 or difference["interval95"][1] < 0
    assert (f"{estimate} " in first) if ahead else ("no difference shown" in first)


def test_a_run_of_a_few_steps_over_a_few_classes_is_no_result(page):
    assert "Smoke run: 40 steps" in page and "5 classes: too few for exact intervals" in page


def test_the_headline_says_of_what_and_the_line_above_it_of_which_runs_and_data(page):
    assert re.search(r"<title>Attribute accuracy of generated images: .* - s2i</title>", page)
    assert "px from speech (tiny-speech) and text (tiny-text): data of birds/pack</p><h1>Attr" in page


def test_code_on_the_page_has_no_backticks(page):
    assert "`" not in page[: page.index("<script>")]
    assert "<code>s2i compare</code> takes further seeds" in page
    assert "The first <code>evaluation.captions</code> captions" in page  # a procedure


def test_the_page_shows_stages_attention_curves_and_the_summary(page, results):
    assert page.count("<article") == 20  # every third of 60
    assert page.count("stage 2 from speech") == page.count("stage 2 from text") == 20
    assert page.count("<audio") == 20 + 6
    assert "attention of green, from text" in page and "attention of 0.00 - " in page
    assert "validation captions" in page and "8 px" in page
    for column in ("speech", "text"):
        assert f"{results['generation'][column]['attribute_accuracy']:.3f} from {column}" in page
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_clips_are_what_the_encoder_heard(world):
    samples, rate = soundfile.read(world["report"] / "audio" / "00.wav")
    assert rate == 22050 and samples.ndim == 1 and 0.4 < len(samples) / rate < 1


def test_the_gallery_shows_what_the_run_generates_of_a_caption_alone(world):
    path = load(world["text"], "cpu").path("text")
    pack = Pack(Path(path.config.data.pack) / "test")
    output = path.generate(path.encode_text([pack.caption(0).text]), [caption_key(pack, 0)], seed=0)
    for stage, side in enumerate((8, 16, 32)):
        shown = np.asarray(Image.open(world["report"] / "images" / f"00-text-{stage}.png")).astype(int)
        assert shown.shape == (side, side, 3)
        assert abs(shown - to_uint8(output.images[stage][0])).max() <= 1
    other = np.asarray(Image.open(world["report"] / "images" / "00-speech-2.png"))
    assert not np.array_equal(shown, other)


def test_the_gallery_shows_attention_during_each_word_of_a_recording(world, page):
    path = load(world["speech"], "cpu").path("speech")
    pack = Pack(Path(path.config.data.pack) / "test")
    heard = hear(Path(path.config.data.root) / pack.caption(0).audio, path.config.audio)
    words = word_segments(heard)
    output = path.generate(path.encode_speech([heard.spoken]), [caption_key(pack, 0)], seed=0)
    maps = heat(attention_during(output.attention[-1][0], path.encoder.seconds_per_step, words))
    expected = [heat_over(gallery.enlarge(output.images[-1][0], gallery.TILE), each) for each in maps]
    shown = np.asarray(Image.open(world["report"] / "images" / "00-speech-attention.png")).astype(int)
    assert shown.shape == (gallery.TILE, gallery.TILE * len(words), 3)
    # The report's encoding is of log-mels that a pack holds as float16.
    assert abs(shown - np.concatenate(expected, axis=1)).mean() < 1
    assert all(f"attention of {label}, from speech" in page for label in time_labels(words))


def test_the_gallery_shows_the_real_image_of_the_caption(world):
    pack = Pack(Path(load_config(world["text"] / "config.yaml").data.pack) / "test")
    shown = np.asarray(Image.open(world["report"] / "images" / "03-real.png")).astype(int)
    captions = [index for index in range(90) if index % 3 < 2][
        ::3
    ]  # two of three generated, every third shown
    real = next(image_batches(pack, 32))[pack.caption_image[captions[3]]]
    assert np.array_equal(shown, to_uint8(real))


def test_a_second_report_replaces_the_first_and_leaves_other_files(world, tmp_path, monkeypatch):
    output = tmp_path / "report"
    output.mkdir()
    (output / "seconds.json").write_text("{}")
    monkeypatch.setattr(gallery, "ITEMS", 3)
    compare(world["speech"], world["text"], output)
    (output / "audio" / "mine.wav").write_text("mine")
    (output / "mine.txt").write_text("mine")
    monkeypatch.setattr(gallery, "ITEMS", 2)
    compare(world["speech"], world["text"], output)
    names = {path.name for path in output.iterdir()}
    wanted = {"audio", "images", "index.html", "results.json", "mine.txt", "seconds.json", RECORD}
    assert names == wanted
    assert sorted(path.name for path in (output / "audio").iterdir()) == ["00.wav", "01.wav", "mine.wav"]
    assert not list((output / "images").glob("02-*"))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("theirs", ["audio/mine.flac", "images/mine.jpg", "index.html", "results.json"])
def test_a_folder_of_something_else_is_refused_before_anything_is_measured(
    world, tmp_path, monkeypatch, theirs
):
    (tmp_path / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / theirs).write_text("mine")
    monkeypatch.setattr("s2i.reports.compare.measure", None)
    monkeypatch.setattr("s2i.reports.single.measure", None)
    for write in (
        lambda: compare(world["speech"], world["text"], tmp_path),
        lambda: report(world["speech"], tmp_path),
        lambda: tabulate([world["speech"], world["text"]], tmp_path),
        lambda: report_robustness(world["speech"], tmp_path),
    ):
        with pytest.raises(InputError, match=f"found {theirs} there"):
            write()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / theirs]
    assert (tmp_path / theirs).read_text() == "mine"


def test_the_same_runs_give_the_same_report_and_leave_the_random_state(world, results, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    compare(world["speech"], world["text"], tmp_path / "again")
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again == results | {"seconds": {}}
    assert torch.equal(torch.get_rng_state(), before)


def test_the_wrong_order_is_refused_and_nothing_is_written(world, tmp_path):
    with pytest.raises(InputError, match="from speech first, found one from text"):
        compare(world["text"], world["speech"], tmp_path / "report")
    with pytest.raises(InputError, match="from text second"):
        compare(world["speech"], world["speech"], tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_runs_over_different_data_are_refused(world, tmp_path):
    def elsewhere(config):
        root = tmp_path / "birds"
        lines = Path(config.data.manifest).read_text().splitlines()
        root.mkdir()
        changed = [line.replace("a bird with", "one bird with", 1) for line in lines]
        (root / "manifest.jsonl").write_text("\n".join(changed) + "\n")
        (root / "attributes.json").write_text(Path(config.data.root, "attributes.json").read_text())
        data = replace(config.data, manifest=str(root / "manifest.jsonl"), pack=str(root / "pack"))
        build_pack(replace(config, data=data), ("train", "test"))
        return replace(config, data=data)

    other = copy_of(world, "text", tmp_path / "other", elsewhere)
    with pytest.raises(InputError, match="runs over the same data, found different"):
        compare(world["speech"], other, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_runs_with_other_noise_are_refused(world, tmp_path):
    def noisier(config):
        return replace(config, generator=replace(config.generator, noise_dim=7))

    other = copy_of(world, "text", tmp_path / "other", noisier)
    with pytest.raises(InputError, match="share their noise, found generator.noise_dim 6 from speech and 7"):
        compare(world["speech"], other, tmp_path / "report")


def test_settings_of_one_run_alone_are_on_the_page_and_in_the_results(world, tmp_path):
    other = copy_of(world, "text", tmp_path / "other", lambda config: replace(config, seed=4))
    compare(world["speech"], other, tmp_path / "report")
    data = json.loads((tmp_path / "report" / "results.json").read_text())["data"]
    assert data["settings_that_differ"] == {"seed": [0, 4]}
    assert "not shared: seed: 0 (speech), 4 (text)" in (tmp_path / "report" / "index.html").read_text()


def test_a_matching_model_of_one_run_alone_counts_as_a_difference_and_one_of_both_does_not(world, tmp_path):
    def looked_at(config):
        return replace(config, gan=replace(config.gan, matching_model=f"exp/{config.modality}-matching"))

    speech, text = (load_config(world[modality] / "config.yaml") for modality in ("speech", "text"))
    assert module._differing(looked_at(speech), text) == {"gan.matching_model": ("exp/speech-matching", "")}
    assert module._differing(looked_at(speech), looked_at(text)) == {}
    tuned = replace(speech, gan=replace(speech.gan, encoder_lr=1e-4))  # not where its encoder lies
    assert module._differing(tuned, text) == {"gan.encoder_lr": (1e-4, 0.0)}


def test_means_over_several_runs_have_the_number_of_runs(world, tmp_path):
    other = tmp_path / "tiny-text-1"
    config = load_config(world["text"] / "config.yaml")
    write_gan_run(other, replace(config, run=str(other)), seed=1)
    compare(world["speech"], world["text"], tmp_path / "report", also_text=[other])
    comparison = json.loads((tmp_path / "report" / "results.json").read_text())
    runs = [run["values"]["generation"]["attribute_accuracy"] for run in comparison["runs"]["text"]]
    assert len(runs) == 2 and runs[0] != runs[1]
    records = {(line["protocol"], line["metric"], line["of"]): line for line in comparison["records"]["text"]}
    assert records["attribute_accuracy", "attribute_accuracy", "run"]["value"] == pytest.approx(np.mean(runs))
    assert all(line["runs"] == 2 for line in comparison["records"]["text"])
    assert all("runs" not in line for line in comparison["records"]["speech"])


def test_without_a_classifier_only_retrieval_is_reported(world, tmp_path):
    def alone(config):
        return replace(config, evaluation=replace(config.evaluation, classifier=""))

    runs = [copy_of(world, name, tmp_path / name, alone) for name in ("speech", "text")]
    compare(*runs, tmp_path / "report")
    comparison = json.loads((tmp_path / "report" / "results.json").read_text())
    assert comparison["generation"] == {} and comparison["data"]["classifier"] is None
    names = {"recall@1", "recall@5", "recall@10", "mAP", "median_rank"}
    variants = ("by_image", "exact_image", "exact_captions")
    differ = names - {"median_rank"}  # an interval has each side's, but none their difference
    assert set(comparison["difference"]) == differ | {
        f"{part}/{name}" for part in variants for name in differ
    }
    assert "Recall@1 of retrieval by caption: " in (tmp_path / "report" / "index.html").read_text()


def test_photographs_without_attributes_are_compared_too(tmp_path):
    runs = write_world(tmp_path, classifier_steps=10, attributes=False)
    compare(runs["speech"], runs["text"], tmp_path / "report")
    comparison = json.loads((tmp_path / "report" / "results.json").read_text())
    generated = {"fid", "kid", "inception_score", "precision", "recall", "mAP", "s2igan_by_classifier"}
    assert set(comparison["generation"]["speech"]) == generated
    assert "attribute_accuracy" not in comparison["protocols"] | comparison["difference"]
    markup = (tmp_path / "report" / "index.html").read_text()
    assert ">Attributes<" not in markup and protocol_title("classifier_distances") in markup


def test_an_exported_model_is_measured_on_data_that_it_is_given_and_stays_as_it_is(world, tmp_path):
    model = tmp_path / "model"
    export([world["speech"], world["text"]], model)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    pack = world["speech"].parents[1] / "birds" / "pack"
    words = [f"data.pack={pack}", f"evaluation.classifier={world['classifier']}"]
    names = ["retrieval_by_caption", "attribute_accuracy", "classifier_distances"]
    expected = [line for run in ("speech", "text") for line in evaluate(world[run], names)]
    for processes in (1, 2):
        more = [f"evaluation.cache={tmp_path / str(processes)}", f"evaluation.processes={processes}"]
        settings = settings_of(model, [*words, *more, "evaluation.captions=2"])
        records = evaluate(model, names, **settings)
        keys = [[(line["metric"], line["of"]) for line in lines] for lines in (records, expected)]
        assert keys[0] == keys[1]
        assert [line["value"] for line in records] == pytest.approx(
            [line["value"] for line in expected], abs=1e-4
        )
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    with pytest.raises(InputError, match="expected evaluation.key=value, found 'data.pack=x'"):
        settings_of(world["speech"], ["data.pack=x"])


def test_a_model_without_an_image_encoder_is_measured_by_what_it_generates(world, capsys):
    path = load(world["speech"], "cpu").path("speech")
    bank = FeatureBank(replace(path, image_encoder=None))
    scores = measure(bank, ["retrieval_by_caption", "attribute_accuracy"])
    assert not scores["retrieval_by_caption"] and scores["attribute_accuracy"]
    assert "retrieval_by_caption is left out: the model was imported without" in capsys.readouterr().err
    with pytest.raises(InputError, match="found a generator alone"):
        FeatureBank(replace(path, encoder=None))


def numbers(values: dict, above: str = "") -> dict[str, float]:
    """{dotted name: number} of a section of results.json."""
    flat = {}
    for name, value in values.items():
        flat |= numbers(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return flat


def test_an_exported_model_is_compared_with_itself_as_its_runs_are(world, results, tmp_path):
    model, report_folder = tmp_path / "model", tmp_path / "report"
    export([world["speech"], world["text"]], model)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    birds = world["speech"].parents[1] / "birds"
    words = [f"data.pack={birds / 'pack'}", f"evaluation.classifier={world['classifier']}"]
    words += ["evaluation.captions=2", f"evaluation.cache={tmp_path / 'features'}"]
    with pytest.raises(InputError, match="expected data.root=DIR beside data.pack=DIR"):
        compare(model, model, report_folder, overrides=words)
    compare(model, model, report_folder, overrides=[*words, f"data.root={birds}"])
    comparison = json.loads((report_folder / "results.json").read_text())
    for section in ("retrieval", "generation"):
        assert numbers(comparison[section]) == pytest.approx(numbers(results[section]), abs=1e-4)
    assert comparison["data"]["runs"]["text"]["name"] == "model"
    assert comparison["data"]["folder"] == "birds/pack" and "note" not in comparison["data"]
    markup = (report_folder / "index.html").read_text()
    size = comparison["data"]["generated_size"]
    assert f">Images of {size} px from speech (model) and text (model): data of birds/pack</p><h1>" in markup
    assert all((report_folder / source).is_file() for source in Reader(markup).sources)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_data_that_one_of_the_models_may_know_is_a_notice_under_the_headline(world, results, tmp_path):
    model = tmp_path / "model"
    export([world["text"]], model)
    described = json.loads((model / "config.json").read_text())
    described["paths"]["text"]["data"]["train"] = "of another pack"
    (model / "config.json").write_text(json.dumps(described))
    words = ["evaluation.other_data=true"]
    compare(world["speech"], model, tmp_path / "mixed", overrides=words)  # the run knows the data
    mixed = json.loads((tmp_path / "mixed" / "results.json").read_text())
    assert numbers(mixed["generation"]) == pytest.approx(numbers(results["generation"]), abs=1e-4)
    assert mixed["data"]["note"] == OTHER
    header = (tmp_path / "mixed" / "index.html").read_text().partition("</header>")[0]
    assert escape(OTHER[1:]) in header and "from speech (tiny-speech) and text (model)" in header


def test_exported_models_are_not_compared_without_data(world, tmp_path):
    export([world["speech"], world["text"]], tmp_path / "model")
    with pytest.raises(InputError, match="expected a run, which knows its data, found an exported model"):
        compare(tmp_path / "model", tmp_path / "model", tmp_path / "report")
    with pytest.raises(InputError, match="found an exported model"):
        evaluate(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_missing_recording_is_refused_and_nothing_is_left(world, tmp_path):
    def moved(config):
        data = replace(config.data, root=str(tmp_path / "gone"))
        return replace(config, data=data)

    runs = [copy_of(world, name, tmp_path / name, moved) for name in ("speech", "text")]
    with pytest.raises(InputError, match="gone"):
        compare(*runs, tmp_path / "report")
    assert {path.name for path in tmp_path.iterdir()} == {"speech", "text"}


def test_nothing_is_generated_twice_for_one_report(world, tmp_path, monkeypatch):
    """Gallery, memorisation, diversity, word swaps, interpolation and cascade share what protocols need."""
    inputs: dict[StackedGenerator, list[torch.Tensor]] = {}
    forward = StackedGenerator.forward

    def counted(self, encoding, *noises):
        rows = torch.cat([encoding.sentence, *noises], 1).detach()
        inputs.setdefault(self, []).append(rows)
        return forward(self, encoding, *noises)

    monkeypatch.setattr(StackedGenerator, "forward", counted)
    monkeypatch.setattr(module, "load_recogniser", lambda *_: CtcRecogniser(torch.nn.Identity(), (), 16000))
    monkeypatch.setattr(
        asr_cascade, "_transcribe", lambda bank, captions, _: ["a red bird" for _ in captions]
    )
    overrides = [f"evaluation.cache={tmp_path / 'features'}"]
    compare(world["speech"], world["text"], tmp_path / "report", overrides=overrides, recogniser="any")
    assert len(inputs) == 2
    shared, diverse, interpolated = 60, 4 * diversity.IMAGES_A_CAPTION, 3 * (interpolation.STEPS - 1)
    swaps = 6
    counts = [shared + 30 + diverse + interpolated + n for n in (2 * swaps, swaps + shared)]  # 30 for S2IGAN
    for (network, batches), count in zip(inputs.items(), counts, strict=True):
        rows = torch.cat(batches).double()
        distances = torch.cdist(rows, rows).fill_diagonal_(torch.inf)
        assert distances.min() > 1e-3 and len(rows) == count, network


def test_every_kth_caption_is_chosen():
    chosen, every = gallery.choose(np.arange(100, 200))
    assert every == 5 and chosen.tolist() == list(range(100, 200, 5))
    chosen, every = gallery.choose(np.arange(24))
    assert every == 1 and len(chosen) == 24


def test_a_line_chart_spans_its_points_and_skips_what_is_no_number():
    curves = [Curve("a <b>", "speech", False, [(0, 1.0), (10, 3.0), (20, float("nan"))])]
    chart = line_chart("losses", curves)
    assert 'points="44.0,' in chart and "step 10" in chart and "a &lt;b&gt;" in chart and "nan" not in chart
    assert line_chart("nothing", [Curve("a", "speech", False, [])]) == ""


def test_bars_are_as_long_as_their_values():
    chart = bar_chart("shares", [("wing", {"speech": 0.5, "text": 1.0})])
    widths = [float(width) for width in re.findall(r'<rect[^>]*width="([\d.]+)"', chart)]
    assert widths[0] == pytest.approx(widths[1] / 2, abs=0.1)
