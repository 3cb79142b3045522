"""Protocols in a comparison: where results.json holds whose numbers, and what each is called on a page."""

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
TITLES = {  # as the field writes them
    "retrieval_by_caption": "Caption-to-image retrieval, by class",
    "retrieval_by_caption_seen_speakers": "Caption-to-image retrieval, by class: seen speakers",
    "retrieval_by_caption_unseen_speakers": "Caption-to-image retrieval, by class: unseen speakers",
    "retrieval_by_image": "Image-to-caption retrieval, by class",
    "retrieval_of_exact_image": "Caption-to-image retrieval of the exact image",
    "retrieval_of_exact_captions": "Image-to-caption retrieval of the exact captions",
    "attribute_accuracy": "Attribute accuracy of generated images",
    "attribute_accuracy_unseen_speakers": "Attribute accuracy of generated images: unseen speakers",
    "bird_share_by_efficientnet_lite0": "Share of generated images with a bird: EfficientNet-Lite0",
    "bird_share_by_mobilenet_v2": "Share of generated images with a bird: MobileNetV2",
    "class_retrieval_by_generated": "Class retrieval by generated images: classifier",
    "class_retrieval_by_efficientnet_lite0": "Class retrieval by generated images: EfficientNet-Lite0",
    "class_retrieval_by_mobilenet_v2": "Class retrieval by generated images: MobileNetV2",
    "s2igan_mean_average_precision": "mAP of S2IGAN: Inception-v3",
    "s2igan_mean_average_precision_by_classifier": "mAP of S2IGAN: classifier",
    "r_precision": "R-precision",
    "classifier_distances": "FID, KID, Inception Score, Precision, Recall: classifier",
    "efficientnet_lite0_distances": "FID, KID, Precision, Recall: EfficientNet-Lite0",
    "mobilenet_v2_distances": "FID, KID, Precision, Recall: MobileNetV2",
    "inception_distances": "FID, KID, Inception Score: Inception-v3",
    "clean_distances": "FID and KID: clean-fid",
}


def protocol_title(protocol: str) -> str:
    """A heading for a protocol; one that was added from outside has its name."""
    return TITLES.get(protocol) or protocol.replace("_", " ").capitalize()


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
