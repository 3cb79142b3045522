"""All protocols by name, in the order in which they are reported.

All of them use the averaged weights (EMA), captions of `evaluation.split`, and noise of (`evaluation.seed`,
caption). Intervals are of 95 %, t over classes (`metrics/statistics.py`): captions and images of one class
are no independent trials. A metric that the data can't give is absent.
"""

from __future__ import annotations

from s2i.evaluation.protocols import attributes, birds, distances, retrieval, semantics
from s2i.evaluation.protocols.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        retrieval.retrieval_by_caption,
        retrieval.retrieval_by_caption_seen_speakers,
        retrieval.retrieval_by_caption_unseen_speakers,
        retrieval.retrieval_by_image,
        retrieval.retrieval_of_exact_image,
        retrieval.retrieval_of_exact_captions,
        attributes.attribute_accuracy,
        attributes.attribute_accuracy_unseen_speakers,
        birds.bird_share_by_efficientnet_lite0,
        birds.bird_share_by_mobilenet_v2,
        semantics.class_retrieval_by_generated,
        semantics.class_retrieval_by_efficientnet_lite0,
        semantics.class_retrieval_by_mobilenet_v2,
        semantics.s2igan_mean_average_precision_by_classifier,
        semantics.s2igan_mean_average_precision,
        semantics.r_precision,
        distances.classifier_distances,
        distances.efficientnet_lite0_distances,
        distances.mobilenet_v2_distances,
        distances.inception_distances,
        distances.clean_distances,
    )
}
