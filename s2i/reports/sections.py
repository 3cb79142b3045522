"""Where a comparison's results.json holds which protocol's numbers."""

from __future__ import annotations

from collections.abc import Collection

SECTIONS = {  # of results.json: the protocols whose values they hold, and the part that some are under
    "retrieval": {
        "retrieval_by_caption": "",
        "retrieval_by_caption_seen_speakers": "seen_speakers",
        "retrieval_by_caption_unseen_speakers": "unseen_speakers",
        "retrieval_by_image": "by_image",
        "retrieval_of_exact_image": "exact_image",
        "retrieval_of_exact_captions": "exact_captions",
    },
    "generation": {
        "attribute_accuracy": "",
        "attribute_accuracy_unseen_speakers": "unseen_speakers",
        "bird_share_by_efficientnet_lite0": "efficientnet_lite0",
        "bird_share_by_mobilenet_v2": "mobilenet_v2",
        "class_retrieval_by_generated": "",
        "class_retrieval_by_efficientnet_lite0": "efficientnet_lite0",
        "class_retrieval_by_mobilenet_v2": "mobilenet_v2",
        "s2igan_mean_average_precision": "s2igan",
        "s2igan_mean_average_precision_by_classifier": "s2igan_by_classifier",
        "r_precision": "",
        "classifier_distances": "",
        "efficientnet_lite0_distances": "efficientnet_lite0",
        "mobilenet_v2_distances": "mobilenet_v2",
        "inception_distances": "inception",
        "clean_distances": "clean",
    },
}


def difference_name(protocol: str, metric: str, retrieved: Collection[str]) -> str:
    """The key of a metric's speech minus text: itself, "<part>/<metric>" for a protocol that has a part, and
    "generation/<metric>" for generated images' where retrieval has one of that name too.

    Args:
        retrieved: metrics of retrieval_by_caption.
    """
    [(section, part)] = [
        (section, protocols[protocol]) for section, protocols in SECTIONS.items() if protocol in protocols
    ]
    if part:
        return f"{part}/{metric}"
    return f"generation/{metric}" if section == "generation" and metric in retrieved else metric
