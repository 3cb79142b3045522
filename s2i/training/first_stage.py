"""The generator of an earlier run as the frozen first stage of another one's (StackGAN)."""

from __future__ import annotations

import torch

from s2i.config import Config
from s2i.errors import InputError
from s2i.models.interfaces import CaptionEncoder, Generator
from s2i.runs.fingerprints import refuse_other_data
from s2i.runs.provenance import Origins
from s2i.training.finished_runs import read_finished_gan
from s2i.training.trained_encoders import RETRAIN


def load_first_stage(config: Config, generator: Generator, encoder: CaptionEncoder) -> Origins:
    """Put the averaged generator of the run `gan.first_stage` into `generator.first_stage`, where it has one;
    what trained it, which so has a part in this training too.

    Raises InputError where one of the two is missing, for a run that isn't finished, or that was trained on
    other data, on another caption encoder or at another size.
    """
    has_first, folder = hasattr(generator, "first_stage"), config.gan.first_stage
    if has_first != bool(folder):
        raise InputError(
            "expected gan.first_stage with a generator that has a first stage, and no other, found"
            f" {folder or 'none'} for {config.generator.network or 'the stacked generator'}: change either"
        )
    if not has_first:
        return {}
    state = read_finished_gan(folder, "gan.first_stage")
    refuse_other_data(state.get("data"), config.data.pack, f"gan.first_stage {folder}", RETRAIN)
    theirs, ours = state["nets"]["caption_encoder"], encoder.state_dict()
    same = theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key].cpu()) for key in ours)
    if not same:
        raise InputError(
            f"expected gan.first_stage to read the encodings of {config.gan.encoder}, found another encoder"
            f" in {folder}: train both on one gan.encoder"
        )
    try:
        generator.first_stage.load_state_dict(state["nets"]["ema"])
    except RuntimeError as error:
        raise InputError(
            f"expected the first stage of generator.options in {folder}, found another shape"
            f" ({' '.join(str(error).split())[:160]}): give first_size and first_channels of that run"
        ) from error
    return {digits: f"{name} of gan.first_stage" for digits, name in state.get("trained_by", {}).items()}
