"""Parts of a report's page, from numbers made by hand."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from s2i.data.manifest import Caption
from s2i.evaluation.score import Score
from s2i.reports.caption_cards import leading_captions, leading_places, title
from s2i.reports.charts import NAMED_CLASSES, Dot, class_chart, dot_chart
from s2i.reports.document import Section, document, with_sizes
from s2i.reports.gallery import GalleryImages, GalleryItem
from s2i.reports.main_results import ROWS, headline, main_results, main_table, summary
from s2i.reports.page import kind, notices
from s2i.reports.sections import SECTIONS, TITLES, protocol_title
from s2i.reports.training_curves import training_charts
from s2i.runs.fingerprints import OTHER
from s2i.runs.run import Run

NAMES = {
    "attribute_accuracy": ["attribute_accuracy"],
    "class_retrieval_by_generated": ["mAP"],
    "r_precision": ["r_precision"],
    "retrieval_by_caption": ["recall@1", "recall@5", "mAP"],
    "classifier_distances": ["kid", "fid"],
}


def scores(*modalities: str, without: str = "") -> dict[str, dict[str, list[Score]]]:
    """Every metric .6 [.5, .7] from a modality, .9 of real images, .1 by chance."""
    return {
        modality: {
            protocol: []
            if protocol == without
            else [
                score
                for name in names
                for score in (
                    Score(name, 0.6, {"captions": 9}, interval95=(0.5, 0.7)),
                    Score(name, 0.9, {"captions": 9}, "real"),
                    Score(name, 0.1, {"captions": 9}, "chance"),
                )
            ]
            for protocol, names in NAMES.items()
        }
        for modality in modalities
    }


def results(low: float, high: float) -> dict:
    difference = {"speech_minus_text": (low + high) / 2, "interval95": [low, high], "n": 9}
    return {"difference": {"attribute_accuracy": difference}, "retrieval": {"speech": {"mAP": 0.6}}}


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (-0.3, -0.1, "Attribute accuracy of generated images: speech is 0.200 [0.100, 0.300] behind text"),
        (0.1, 0.3, "Attribute accuracy of generated images: speech is 0.200 [0.100, 0.300] ahead of text"),
        (
            -0.1,
            0.2,
            "Attribute accuracy of generated images: no difference shown between speech and text, +0.050"
            " [-0.100, +0.200]",
        ),
    ],
)
def test_the_headline_is_the_difference_with_its_interval(low, high, expected):
    assert headline(main_results(scores("speech", "text")), results(low, high)) == expected


def test_of_one_modality_the_headline_is_its_value():
    rows = main_results(scores("speech"))
    assert headline(rows, {}) == "Attribute accuracy of generated images: 0.600 [0.500, 0.700] from speech"
    assert summary(rows) == (
        "Attribute accuracy of generated images: 0.600 from speech, 0.900 of real images, 0.100 by chance."
    )
    assert headline([], {}) == "Generated images" and summary([]) == ""


def test_two_rows_of_one_metric_have_two_names():
    """Without attributes the headline is a mAP, and the fifth row is another one."""
    rows = main_results(scores("speech", "text", without="attribute_accuracy"))
    assert headline(rows, {}).startswith("mAP of generated images: 0.600")
    assert summary(rows).startswith("mAP of generated images: 0.600")
    shown = main_table(rows, results(-0.3, -0.1))
    first_lines = re.findall(r'data-column=""><span>([^<]+)<small>', shown)
    assert first_lines[0] == "mAP of generated images" and first_lines[4] == "mAP of retrieval by caption"
    assert len(set(first_lines)) == ROWS
    labels = re.findall(r'class="label"[^>]*>([^<]+) <tspan>', shown)
    assert labels == [name for name in first_lines if not name.startswith("KID")]


def test_the_line_above_the_headline_names_size_runs_and_data():
    data = {"generated_size": 64, "subject": "small birds", "folder": "birds/pack"}
    names = {"speech": "a", "text": "b, mean of 3 runs"}
    assert kind(names, data) == "Images of 64 px from speech (a) and text (b, mean of 3 runs): small birds"
    assert kind({"text": "b"}, data | {"subject": ""}) == "Images of 64 px from text (b): data of birds/pack"


def test_five_rows_lead_whatever_there_is():
    rows = main_results(scores("speech", "text"))
    assert [row.metric for row in rows] == ["attribute_accuracy", "mAP", "r_precision", "recall@1", "kid"]
    rows = main_results(scores("speech", "text", without="attribute_accuracy"))
    assert len(rows) == ROWS and [row.metric for row in rows][0::4] == ["mAP", "mAP"]
    assert main_results({"speech": {}}) == []


def test_the_chart_has_the_rows_that_are_shares():
    shown = main_table(main_results(scores("speech", "text")), results(-0.3, -0.1))
    chart = shown[shown.index("<svg") :]
    assert chart.count('class="track"') == 4 and "KID" not in chart
    assert chart.count('circle class="speech"') == chart.count('circle class="text"') == 4
    assert "-0.200" in shown and ">0.9000<" in shown  # KID's digits


def test_dots_lie_where_their_values_are_and_marks_have_no_interval():
    dots = [Dot("speech", 0.25, (0.2, 0.5)), Dot("real", 1.0), Dot("chance", 0.0)]
    chart = dot_chart("shares", [("R-precision", "1 of 100", dots)])
    track = re.search(r'class="track" x="([\d.]+)" y="\d+" width="([\d.]+)"', chart)
    left, width = map(float, track.groups())
    assert f'<circle class="speech" cx="{left + width / 4:.1f}"' in chart
    assert f'x1="{left + width / 5:.1f}" x2="{left + width / 2:.1f}"' in chart
    assert f'<rect class="real" x="{left + width - 1.5:.1f}"' in chart
    assert chart.count("<circle") == 1 and dot_chart("none", []) == ""


def test_classes_stand_from_where_text_leads_to_where_speech_does():
    chart = class_chart("accuracy", [("even", 0.5, 0.5), ("ours", 0.2, 0.8), ("theirs", 0.9, 0.1)])
    assert re.findall(r"<title>(\w+):", chart) == ["theirs", "even", "ours"]
    heights = [float(y) for y in re.findall(r'circle class="speech" cx="[\d.]+" cy="([\d.]+)"', chart)]
    assert heights == sorted(heights, reverse=True)  # speech rises from class to class
    assert re.findall(r'<line class="(speech|text)"', chart) == ["text", "text", "speech"]
    assert class_chart("none", []) == ""


def test_few_classes_have_their_names_under_the_plot():
    few = [(f"<{number}> warbler", 0.5, number / 40) for number in range(NAMED_CLASSES)]
    chart = class_chart("accuracy", few)
    names = re.findall(r'rotate\(-90\)"[^>]*>([^<]+)</text>', chart)
    assert names == [f"&lt;{number}&gt; warbler" for number in range(NAMED_CLASSES)]
    many = class_chart("accuracy", [*few, ("one more", 0.1, 0.2)])
    assert "rotate" not in many and many.count("<title>") == NAMED_CLASSES + 1
    long = "a bird whose name has no end at all, however far one reads"
    assert "…</text>" in class_chart("accuracy", [(long, 0.1, 0.2)])
    assert f"<title>{long}:" in class_chart("accuracy", [(long, 0.1, 0.2)])


def test_each_loss_has_axes_of_its_own_and_says_what_good_looks_like(tmp_path):
    lines = [{"step": step, "d_8/real_c": 4.0, "g_8/conditional": 0.5, "d_8/penalty": 9.0} for step in (1, 2)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = training_charts({"speech": {"generator": Run(tmp_path)}})
    discriminator, generator = shown.split("<figure")[1:]
    assert "Discriminator, 8 px" in discriminator and ">4<" in discriminator and ">13<" not in discriminator
    assert "Generator, 8 px" in generator and ">0.5<" in generator and ">4<" not in generator
    assert "Good: it levels off above 0" in discriminator and "Good: it stays in one range" in generator
    assert training_charts({"speech": {}}) == ""


@pytest.mark.parametrize("steps, classes, opening", [([24, 2200], 50, "Smoke"), ([6000], 12, "12 classes")])
def test_what_a_reader_has_to_beware_of_is_said(steps, classes, opening):
    (notice,) = notices(steps, classes)
    assert notice.startswith(opening)


@pytest.mark.parametrize("classes, measured", [(5, "5 to 12"), (19, "5 to 12"), (4, "2 to 4"), (2, "2 to 4")])
def test_intervals_over_few_classes_are_told_as_they_were_measured(classes, measured):
    (notice,) = notices([6000], classes)
    assert f"Measured with {measured} classes, intervals of 95% held" in notice


def test_one_class_has_no_intervals():
    assert notices([6000], 1) == ["1 class: its values have no intervals, which are over classes."]


def test_data_that_may_have_been_trained_on_is_a_notice():
    (notice,) = notices([6000], 50, OTHER)
    assert notice == "Other data than the model's own: it may have been trained on these classes."


def test_a_full_training_over_many_classes_has_no_notice():
    assert notices([2200, 2200], 50) == []


def item(text: str | None, speaker: str = "x") -> GalleryItem:
    caption = Caption(text, "a.wav", speaker, "en")
    images = {"speech": GalleryImages(["s.png"])}
    return GalleryItem(caption, "0012_red_bird", "audio/00.wav", "r.png", False, images)


def test_unwritten_captions_have_titles():
    assert title(item(None)) == "Unwritten caption of 0012 red bird"
    assert title(item("a bird")) == "a bird"
    shown = leading_captions([item(None)], {"generated_captions": 7}).content
    assert 'alt="real: Unwritten caption of 0012 red bird"' in shown and "(unwritten)" not in shown
    assert leading_captions([], {"generated_captions": 0}).content == ""


def test_six_captions_are_spread_over_the_gallery():
    assert leading_places(24) == [0, 4, 8, 12, 16, 20]
    assert leading_places(20) == [0, 3, 6, 9, 12, 15]
    assert leading_places(4) == [0, 1, 2, 3] and leading_places(0) == []


def test_contents_lead_to_every_section_and_empty_ones_are_left_out():
    sections = [
        Section("Results", "", "<p>x</p>", folded=False),
        Section("Word swaps & more", "half <changed>", "<p>y</p>"),
        Section("Nothing", "here", ""),
    ]
    page = document("a & b", "<header></header>", sections)
    assert re.findall(r'href="#([\w-]+)"', page) == ["results", "word-swaps-more"]
    assert '<section id="results">' in page
    assert '<details class="section" id="word-swaps-more"><summary><h2>Word swaps &amp; more' in page
    assert "half &lt;changed&gt;" in page and "Nothing" not in page and "<title>a &amp; b</title>" in page


def test_sizes_are_those_of_the_files(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "b.svg").write_text('<svg xmlns="x" viewBox="0 0 7 8" width="700" height="80" role="img">')
    page = '<img loading="lazy" src="a.png" alt=""><img src="b.svg" alt=""><img width="1" src="none.png">'
    assert with_sizes(page, tmp_path) == (
        '<img width="30" height="20" loading="lazy" src="a.png" alt="">'
        '<img width="700" height="80" src="b.svg" alt=""><img width="1" src="none.png">'
    )


def test_every_protocol_has_a_title_as_the_field_writes_it():
    protocols = [protocol for section in SECTIONS.values() for protocol in section]
    assert set(TITLES) == set(protocols) and len(set(TITLES.values())) == len(protocols)
    assert protocol_title("r_precision") == "R-precision"
    assert protocol_title("my_own_measure") == "My own measure"
