"""How much memory packing a data set takes, and whether that grows with it.

python tests/benchmarks/packing.py --config FILE --manifest MANIFEST --root DIR [--images N] [key=value ...]

Packs the manifest, its images repeated until there are N (11,788: CUB's), into a temporary folder, which
takes some GB, with `data_prep/pack.py` and its processes. Every half second it reads in /proc (Linux) what
they hold, and prints the largest sums: of proportional sizes, where a page that several processes share is
one, and of resident sizes, where it counts for each; then the largest of each quarter of the time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIELDS = ("Pss", "Rss")


def repeat(manifest: Path, count: int, output: Path) -> int:
    """Write `count` images, again and again those of the manifest; returns how many captions they have."""
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    captions = 0
    with output.open("w", encoding="utf-8") as stream:
        for number in range(count):
            image = lines[number % len(lines)]
            captions += len(image["captions"])
            if number >= len(lines):
                image = {**image, "id": f"{image['id']}-{number // len(lines)}"}
            stream.write(json.dumps(image) + "\n")
    return captions


def family(process: int) -> list[int]:
    """A process and all that it, and they, have started."""
    processes = [process]
    for parent in processes:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                processes += map(int, children.read_text().split())
            except OSError:  # it has just ended
                continue
    return processes


def held(process: int) -> dict[str, int]:
    """What a process and its family hold, in MB."""
    total = dict.fromkeys(FIELDS, 0)
    for each in family(process):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name in total:
                total[name] += int(rest.split()[0])
    return {name: value // 1000 for name, value in total.items()}


def main() -> int:
    """Pack, watch, and print; returns packing's exit status."""
    parser = argparse.ArgumentParser(description="Measure the memory of packing.")
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML, as for data_prep/pack.py")
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE", help="whose images repeat")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="that its paths start from")
    parser.add_argument("--images", type=int, default=11_788, metavar="N", help="(default: 11788)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    given = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as made:
        manifest = Path(made) / "manifest.jsonl"
        captions = repeat(given.manifest, given.images, manifest)
        places = (f"data.root={given.root}", f"data.manifest={manifest}", f"data.pack={made}/pack")
        command = [sys.executable, "-m", "data_prep.pack", "--config", given.config]
        begun, samples = time.monotonic(), []
        packing = subprocess.Popen([*command, *places, *given.overrides])
        while packing.poll() is None:
            samples.append(held(packing.pid))
            time.sleep(0.5)
        seconds = time.monotonic() - begun
    largest = {name: max(sample[name] for sample in samples) for name in FIELDS}
    quarters = [samples[len(samples) * number // 4 : len(samples) * (number + 1) // 4] for number in range(4)]
    flat = [max((sample["Pss"] for sample in quarter), default=0) for quarter in quarters]
    print(
        f"{given.images} images, {captions} captions, {seconds:.0f} s: at most {largest['Pss']} MB"
        f" (resident sizes added up: {largest['Rss']} MB); by quarters of the time {flat} MB"
    )
    return packing.returncode


if __name__ == "__main__":
    raise SystemExit(main())
