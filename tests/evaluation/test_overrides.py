"""What the command line changes of a model's evaluation, and the data that it is given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from s2i.config import MISSING, Config
from s2i.config_data import DataConfig
from s2i.errors import InputError
from s2i.evaluation.overrides import overridden

MODEL = replace(Config(), run=MISSING, data=DataConfig(subject="painted birds"))
DATA = ["data.pack=pack", "data.root=root"]


def test_a_model_s_subject_is_not_that_of_other_data():
    assert overridden(MODEL, DATA).data.subject == "painted birds"
    other = [*DATA, "evaluation.other_data=true"]
    assert overridden(MODEL, other).data.subject == ""
    assert overridden(MODEL, [*other, "data.subject=drawn birds"]).data.subject == "drawn birds"


def test_recordings_that_are_read_need_their_folder():
    assert overridden(MODEL, DATA[:1]).data.root == MISSING  # a pack alone suffices to evaluate
    assert overridden(MODEL, DATA, reads_recordings=True).data.root == "root"
    with pytest.raises(InputError, match="expected data.root=DIR beside data.pack=DIR"):
        overridden(MODEL, DATA[:1], reads_recordings=True)


def test_a_run_keeps_its_data():
    run = replace(MODEL, run="exp/run")
    assert overridden(run, ["evaluation.captions=2"]).evaluation.captions == 2
    with pytest.raises(InputError, match="expected evaluation.key=value, found 'data.pack=x'"):
        overridden(run, ["data.pack=x"])
