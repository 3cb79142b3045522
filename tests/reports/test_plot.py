"""`s2i plot`: the page of a run while it trains."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from s2i import cli
from s2i.config import Config
from s2i.config_files import save_config
from s2i.errors import InputError
from s2i.reports import plot as plot_module
from s2i.reports.plot import plot, thinned
from s2i.reports.systems import compare_systems


def write_run(folder, lines, metrics=()):
    (folder / "samples" / "other").mkdir(parents=True)
    save_config(Config(run=str(folder)), folder / "config.yaml")
    for name, values in (("log.jsonl", lines), ("metrics.jsonl", metrics)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in values))
    for step in (10, 20):
        Image.new("RGB", (4, 2), (step, 0, 0)).save(folder / "samples" / f"step-{step:08d}.png")
    return folder


def test_the_page_has_curves_and_grids_and_needs_nothing_beside_it(tmp_path, capsys):
    lines = [
        {"step": step, "seconds": 2.0 * step, "d/all": 1 / step, "g_64/fake": 2, "lr/g": 0.1, "a/b": step}
        for step in (10, 20, 30)
    ]
    metrics = [{"step": 20, "metric": "mAP", "value": 0.5, "split": "val"}]
    run = write_run(tmp_path / "birds <1>", lines, metrics)
    other = write_run(tmp_path / "more", lines[:1])
    cli.main(["plot", str(run), str(other)])
    page = run / "plot.html"
    assert capsys.readouterr().out == f"{page}\n"
    html = page.read_text()
    assert "birds &lt;1&gt;: step 30 after 1 min; more: step 10 after 20 s" in html
    for title in ("d/all", "g_64/fake", "lr/g", "a/b", "mAP"):
        assert f"<figcaption>{title}</figcaption>" in html
    assert html.count("data:image/png;base64,") == 4 and 'alt="samples of step 20"' in html
    assert 'src="samples' not in html and "refresh" not in html and "seconds</figcaption>" not in html


@pytest.mark.parametrize(
    ("step", "said"),
    [(30, "step 30 of 1,230 after 1 min, 40 min left<"), (1230, "step 1,230 of 1,230 after 41 min<")],
)
def test_the_page_says_how_much_is_left(tmp_path, step, said):
    run = write_run(tmp_path / "run", [{"step": step, "seconds": 2.0 * step, "d/all": 1.0}])
    (run / "env.json").write_text('{"last_step": 1230}')
    assert said in plot([run]).read_text()


def test_a_run_without_a_line_yet_has_a_page(tmp_path):
    page = plot([write_run(tmp_path / "run", [])], tmp_path / "page.html")
    assert "no line of its log yet" in page.read_text()


def test_following_writes_the_page_again_and_the_page_loads_itself(tmp_path, monkeypatch):
    run, pauses = write_run(tmp_path / "run", []), []

    def pause(seconds):
        pauses.append((seconds, "step 7" in (run / "plot.html").read_text()))
        (run / "log.jsonl").write_text('{"step": 7, "seconds": 1}\n')
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(plot_module.time, "sleep", pause)
    with pytest.raises(KeyboardInterrupt):
        plot([run], follow=30)
    assert pauses == [(30, False), (30, True)]
    assert '<meta http-equiv="refresh" content="30">' in (run / "plot.html").read_text()


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_what_is_no_run_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    for command in (plot, lambda runs: compare_systems(runs, tmp_path / "out")):
        with pytest.raises(InputError, match="no such folder" if name == "missing" else "no config.yaml"):
            command([tmp_path / name])


def test_five_runs_are_too_many(tmp_path):
    with pytest.raises(InputError, match="at most 4 runs, found 5"):
        plot([tmp_path] * 5)


def test_thinned_points_are_means_of_neighbours():
    points = [(step, float(step % 2)) for step in range(1, 1001)]
    fewer = thinned(points, 100)
    assert len(fewer) == 100 and fewer[-1][0] == 1000
    assert all(value == 0.5 for _, value in fewer) and thinned(points[:5], 100) == points[:5]
