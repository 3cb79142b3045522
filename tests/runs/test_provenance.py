"""Fingerprints of what trained a model: one for a network however it is cut, and a scorer that shares one."""

from __future__ import annotations

import pytest
import torch

from s2i.config import Config
from s2i.config_networks import ImageEncoderConfig
from s2i.errors import InputError
from s2i.models.build import build_image_encoder
from s2i.models.pretrained import PretrainedNetwork
from s2i.runs.pretrained_weights import connect, efficientnet_lite0, require_backbone
from s2i.runs.provenance import (
    backbone_fingerprint,
    origins_of_image_encoder,
    origins_of_network,
    refuse_shared,
)
from tests.fixtures.networks import make_network


def test_a_network_and_what_is_cut_from_it_have_one_fingerprint():
    for kind in ("efficientnet_lite0", "mobilenet_v2", "resnet50"):
        whole = make_network(kind)
        cut = PretrainedNetwork(kind, 64)
        cut.network.load_state_dict(whole.state_dict(), strict=False)
        digits = backbone_fingerprint(whole)
        assert digits == backbone_fingerprint(cut.network) == backbone_fingerprint(whole.half())
        with torch.no_grad():
            next(whole.parameters()).add_(0.1)
        assert digits != backbone_fingerprint(whole)


def test_an_image_encoder_names_its_own_weights_and_those_it_looks_through():
    settings = ImageEncoderConfig(kind="efficientnet_lite0", input_size=64)
    encoder = connect(build_image_encoder(Config(image_encoder=settings)), settings)
    require_backbone(encoder)
    origins = origins_of_image_encoder(encoder, "gan.encoder")
    assert (
        len(origins) == 2
        and origins.items() >= origins_of_network(encoder, next(iter(origins.values()))).items()
    )
    shared = backbone_fingerprint(efficientnet_lite0())
    assert origins[shared] == "efficientnet_lite0 in the image encoder of gan.encoder"
    scratch = build_image_encoder(Config())
    assert len(origins_of_image_encoder(scratch, "gan.encoder")) == 1
    assert origins_of_image_encoder(None, "gan.encoder") == origins_of_network(None, "none") == {}


def test_a_scorer_that_shares_weights_is_refused_in_one_line():
    trained_by = {"a" * 64: "lite0 in the discriminator", "b" * 64: "the speech encoder gan.encoder"}
    refuse_shared(trained_by, {"c" * 64: "mobilenet_v2"}, "a network", "take another")
    with pytest.raises(InputError) as caught:
        refuse_shared(trained_by, {"c" * 64: "x", "a" * 64: "lite0"}, "a scoring network", "take another")
    assert str(caught.value) == (
        "expected a scoring network that had no part in the generator's training, found that it shares the"
        " weights aaaaaaaaaaaa (lite0) with what trained it, lite0 in the discriminator: take another"
    )
