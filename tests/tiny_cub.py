"""A miniature of CUB-200-2011 in the official layout, with the published tree around it."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

from PIL import Image

CLASSES = {  # 1 and 4 are of the published test classes
    1: "001.Black_footed_Albatross",
    2: "002.Laysan_Albatross",
    3: "003.Sooty_Albatross",
    4: "004.Groove_billed_Ani",
    5: "005.Crested_Auklet",
    7: "007.Parakeet_Auklet",
}
ATTRIBUTES: dict[str, float | None] = {  # per cent of the annotators of each class; None: ten times its id
    "has_wing_color::blue": None,
    "has_wing_color::grey": 45.0,
    "has_belly_color::white": 90.0,
    "has_belly_color::red": 10.0,
    "has_bill_length::shorter_than_head": 80.0,
    "has_bill_color::black": 70.0,
    "has_size::small_(5_-_9_in)": 60.0,
    "has_head_pattern::eyering": 50.0,
    "has_primary_color::grey": 66.0,
    "has_tail_shape::forked_tail": 40.0,
}


def photograph_name(class_id: int, number: int) -> str:
    return f"{CLASSES[class_id]}/{CLASSES[class_id][4:]}_{number:04d}_{class_id * 100 + number}"


def write_cub(root: Path, images: int = 3) -> Path:
    """A miniature of the official folder and the published tree; ids have gaps, rows another order."""
    folder = root / "CUB_200_2011"
    (folder / "attributes").mkdir(parents=True)
    rng = random.Random(0)
    names = {}
    for class_id in CLASSES:
        for number in range(images):
            names[class_id * 50 + 3 * number] = class_id, photograph_name(class_id, number)
    rows = list(names.items())
    rng.shuffle(rows)
    tables = {"images": [], "image_class_labels": [], "bounding_boxes": [], "train_test_split": []}
    for index, (_, name) in rows:
        path = folder / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((60, 40), 50).convert("RGB").save(path)
        tables["images"].append(f"{index} {name}.jpg")
    rng.shuffle(rows)
    for index, (class_id, _) in rows:
        tables["image_class_labels"].append(f"{index} {class_id}")
        tables["bounding_boxes"].append(f"{index} {index % 20}.0 2.0 30.0 20.0")
        tables["train_test_split"].append(f"{index} 1")
    tables["classes"] = [f"{class_id} {name}" for class_id, name in CLASSES.items()]
    for table, lines in tables.items():
        (folder / f"{table}.txt").write_text("\n".join(lines) + "\n")
    attributes = [f"{number} {name}" for number, name in enumerate(ATTRIBUTES, 1)]
    (folder / "attributes" / "attributes.txt").write_text("\n".join(attributes) + "\n")
    percentages = [
        " ".join(str(float(row * 10 if value is None else value)) for value in ATTRIBUTES.values())
        for row in range(1, 9)
    ]
    table = folder / "attributes" / "class_attribute_labels_continuous.txt"
    table.write_text("\n".join(percentages) + "\n")
    for class_id in (3, 5):
        text = root / "text" / f"{photograph_name(class_id, 0)}.txt"
        text.parent.mkdir(parents=True)
        text.write_text("\n".join(f"a person saw bird {number}" for number in range(12)) + "\n")
    for split, class_ids in (("train", (2, 3, 5, 7)), ("test", (1, 4))):
        (root / split).mkdir()
        listed = [photograph_name(class_id, number) for class_id in class_ids for number in range(images)]
        (root / split / "filenames.pickle").write_bytes(pickle.dumps(listed, protocol=2))
        classes = [class_id for class_id in class_ids for _ in range(images)]
        (root / split / "class_info.pickle").write_bytes(pickle.dumps(classes, protocol=2))
    return root
