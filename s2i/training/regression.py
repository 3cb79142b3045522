"""Speech2Face, carried over from faces to birds: `s2i train-regression`.

A decoder learns to turn a frozen image network's feature of an image into that image, from real images alone
and without an adversary. After it, and with it frozen, a caption encoder learns to regress that feature from
the caption of the image. To generate is to regress a feature and decode it. The test split is never opened.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i import losses
from s2i.config import Config, RegressionConfig
from s2i.config_files import require
from s2i.data.dataset import CaptionedImages
from s2i.data.loader import endless_batches
from s2i.data.pack import Pack
from s2i.data.text import vocabulary_of
from s2i.errors import InputError
from s2i.models.build import build_caption_encoder, build_generator, build_image_encoder
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import image_pyramid
from s2i.models.feature_decoder import FeatureDecoder
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.runs.fingerprints import data_of_run, refuse_other_data
from s2i.runs.pretrained_weights import connect, require_backbone
from s2i.runs.provenance import origins_of_image_encoder
from s2i.runs.run import alone_in_its_run
from s2i.training.distributed import Engine
from s2i.training.ema import averaged, update_average
from s2i.training.encoder import augmentation_of, refuse_short_recordings
from s2i.training.latents import refuse_prior
from s2i.training.learner import Learner
from s2i.training.loop import Training
from s2i.training.matching_model import freeze, load_matching_model
from s2i.training.memory_format import in_its_format
from s2i.training.samples import SampleGrid
from s2i.training.terms import Terms, without_history
from s2i.training.trained_encoders import RETRAIN


@alone_in_its_run
def train_regression(config: Config) -> Path:
    """Train, continue or find finished; returns the run's folder."""
    require(config, "run", "data.pack")
    refuse_prior(config)
    data = data_of_run(config.run, config.data.pack)
    pack = Pack(Path(config.data.pack) / "train", config)
    vocabulary = None
    if config.modality == "text":
        vocabulary = vocabulary_of(config.text_encoder.units, pack.texts())
    settings, engine = config.regression, Engine.start(config)
    encoder = build_caption_encoder(config, len(vocabulary or ())).to(engine.device)
    refuse_short_recordings(encoder, pack)
    image_network = _image_network(config, encoder.embedding_dim, engine.device)
    decoder = build_generator(config, encoder.embedding_dim)
    if not isinstance(decoder, FeatureDecoder):
        raise InputError(
            "expected generator.network=s2i.models.feature_decoder:FeatureDecoder, found"
            f" {config.generator.network or 'the stacked generator'}: set it, or train with s2i train-gan"
        )
    engine = in_its_format(engine, decoder, None, [], encoder.embedding_dim)
    classifier = nn.Linear(encoder.embedding_dim, len(pack.class_labels)).to(engine.device)
    engine.share(encoder, decoder, classifier)
    engine.join_batch_norms(encoder, decoder)
    average = averaged(decoder)
    decoder_learner = Learner(
        engine, [*decoder.parameters(), *classifier.parameters()], settings.decoder, settings.decoder_steps
    )
    encoder_learner = Learner(engine, encoder.parameters(), settings.encoder, settings.steps)
    dataset = CaptionedImages(
        pack,
        config.seed,
        config.packed_size,
        config.modality,
        vocabulary,
        config.text_encoder.max_words,
        augment=settings.augment,
        augmentation=augmentation_of(config, encoder),
    )
    saved = {
        "generator": decoder,
        "ema": average,
        "classifier": classifier,
        "caption_encoder": encoder,
        "image_encoder": image_network,
        "decoder_optimiser": decoder_learner.optimiser,
        "encoder_optimiser": encoder_learner.optimiser,
    }
    facts = {
        "kind": "regression",
        "data": data,
        "vocabulary": vocabulary.to_list() if vocabulary else None,
        "trained_by": origins_of_image_encoder(image_network, "the frozen image network"),
    }
    total = settings.decoder_steps + settings.steps
    with Training(engine, total, saved, facts) as training:
        grid = SampleGrid(training.run.samples, pack, config, vocabulary)
        batches = endless_batches(
            dataset,
            engine.rows(settings.batch_size, "regression.batch_size"),
            config.seed,
            training.step,
            config.data.workers,
            engine.rank,
            engine.world,
        )
        for step in training.steps_left():
            batch = training.fetch(batches)
            with torch.no_grad(), engine.autocast():
                features = image_network(batch.images)[0].float()
            classifier.requires_grad_(step < settings.decoder_steps)
            if step < settings.decoder_steps:
                with engine.autocast():
                    terms = decoder_losses(
                        decoder, classifier, image_network, batch.images, features, batch.class_ids, settings
                    )
                update(decoder_learner, terms, "decoder", step, engine)
                update_average(average, decoder, step, settings.ema)
            else:
                with engine.autocast():
                    regressed = encoder(batch.inputs, batch.lengths).sentence
                    terms = regression_losses(average.module, classifier, features, regressed, settings)
                update(encoder_learner, terms, "encoder", step - settings.decoder_steps, engine)
            training.record(terms)
            if training.every(settings.sample_every) and engine.is_main:
                grid.generate(average.module, encoder.eval(), training.step)
                training.run.show(training.step, grid.file(training.step))
                encoder.train()
            training.save_if_due()
    return training.run.folder


def decoder_losses(
    decoder: FeatureDecoder,
    classifier: nn.Module,
    image_network: nn.Module,
    images: Tensor,
    features: Tensor,
    class_ids: Tensor,
    config: RegressionConfig,
) -> Terms:
    """The decoder's loss on real images; and that of a linear layer that names the class of a feature, which
    stands for the face network's own last layer in the distillation. Without an adversary, images are soft.

    Args:
        images: (B, 3, S, S) in [-1, 1]; features: (B, D), the frozen network's of them; class_ids: (B,).
    """
    decoded = decoder(CaptionEncoding.of_vectors(features)).images[-1]
    pixel = F.l1_loss(decoded, image_pyramid(images, decoder.sizes)[-1])
    classes = F.cross_entropy(classifier(features).float(), class_ids)
    total = config.pixel_weight * pixel + classes
    terms = {"decoder/pixel": pixel, "decoder/class": classes}
    if config.feature_weight:
        again = losses.unit_distance_loss(features, image_network(decoded)[0])
        total = total + config.feature_weight * again
        terms["decoder/feature"] = again
    return {**terms, "decoder/all": total}


def regression_losses(
    decoder: FeatureDecoder,
    classifier: nn.Module,
    features: Tensor,
    regressed: Tensor,
    config: RegressionConfig,
) -> Terms:
    """Speech2Face's loss of the caption encoder; decoder and classifier pass gradients, and learn nothing.

    Args:
        features: (B, D), v_f, the frozen network's of the images; regressed: (B, D), v_s, of their captions.
    """
    features = features.float()
    regressed = regressed.float()
    # L1 of f_dec: |f_dec(v_f) - f_dec(v_s)|, a mean over its numbers
    through = F.l1_loss(decoder.first_layer(regressed).float(), decoder.first_layer(features).float())
    distance = losses.unit_distance_loss(features, regressed)
    distillation = losses.class_distillation_loss(
        classifier(features), classifier(regressed), config.temperature
    )
    total = (  # L_total
        config.decoder_weight * through
        + config.distance_weight * distance
        + config.distillation_weight * distillation
    )
    return {
        "encoder/decoder": through,
        "encoder/distance": distance,
        "encoder/distillation": distillation,
        "encoder/all": total,
    }


def update(learner: Learner, terms: Terms, name: str, step: int, engine: Engine) -> None:
    """Update a learner's weights by the sum of `terms`, and leave the terms without history for the log."""
    learner.zero_grad()
    engine.backward(terms[f"{name}/all"])
    terms[f"lr/{name}"], terms[f"grad_norm/{name}"] = learner.update(step)
    terms.update(without_history(terms))


def _image_network(
    config: Config, embedding_dim: int, device: torch.device
) -> ImageEncoder | PretrainedImageEncoder:
    """The frozen image network, as an image encoder whose global vector is the feature.

    Raises InputError for a feature of another width than the encoder's, a network that nobody has trained,
    and a run over other data.
    """
    folder = config.regression.image_network
    if folder:
        model = load_matching_model(folder, "regression.image_network", device)
        refuse_other_data(model.data, config.data.pack, f"regression.image_network {folder}", RETRAIN)
        if model.config.image_encoder != config.image_encoder:
            raise InputError(
                f"expected the image_encoder of {folder}, found another in this configuration: give both"
                " the same"
            )
        width = model.encoder.embedding_dim
        network = model.image_encoder
    else:
        if config.image_encoder.kind == "small" or config.image_encoder.project:
            raise InputError(
                "expected regression.image_network, or a pretrained network with image_encoder.project=false,"
                f" found image_encoder.kind={config.image_encoder.kind} alone: nothing has trained it"
            )
        network = connect(build_image_encoder(config, embedding_dim), config.image_encoder)
        width = network.feature_dim
    if width != embedding_dim:
        raise InputError(
            f"expected a caption encoder of the feature's {width} numbers, found {embedding_dim}: set"
            " hidden_dim, or options.width, of the caption encoder"
        )
    require_backbone(network)
    return freeze(network).to(device)
