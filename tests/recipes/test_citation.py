"""`.github/CITATION.cff` and the README's BibTeX cite the same works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from s2i.version import VERSION

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / ".github" / "CITATION.cff").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
KINDS = {"conference-paper": "inproceedings", "article": "article", "software": "software"}


def entries(page: str) -> list[dict[str, str]]:
    """The BibTeX entries of a page: their fields, without braces, and their `kind`."""
    [block] = re.findall(r"```bibtex\n(.*?)```", page, re.DOTALL)
    citations = []
    for kind, body in re.findall(r"^@(\w+)\{[^,]+,\n(.*?)^\}", block, re.DOTALL | re.MULTILINE):
        fields = re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", body, re.MULTILINE)
        citations.append({"kind": kind, **{name: re.sub(r"[{}]", "", value) for name, value in fields}})
    return citations


def as_entry(work: dict) -> dict[str, str]:
    """A work of the Citation File Format as the fields of a BibTeX entry."""
    people = (
        author.get("name") or f"{author['family-names']}, {author['given-names']}"
        for author in work["authors"]
    )
    fields = {
        "kind": KINDS[work["type"]],
        "title": work["title"],
        "author": " and ".join(people),
        "booktitle": work.get("collection-title"),
        "journal": work.get("journal"),
        "pages": f"{work['start']}--{work['end']}" if "start" in work else None,
        "version": work.get("version"),
        "license": work.get("license"),
        "year": work.get("year"),
    }
    return {name: str(value) for name, value in fields.items() if value is not None}


def test_readme_and_citation_file_cite_the_same_works():
    assert [as_entry(work) for work in (CITATION, *CITATION["references"])] == entries(README)


@pytest.mark.parametrize("said, other", [("2292", "2293"), ("Qiao", "Quiao"), ("year      = {2020}", "")])
def test_a_change_of_either_is_noticed(said, other):
    assert said in README
    changed = entries(README.replace(said, other, 1))
    assert [as_entry(work) for work in (CITATION, *CITATION["references"])] != changed


def test_version_and_licence_are_those_of_the_package():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert CITATION["version"] == VERSION and f'license="{CITATION["license"]}"' in setup
    assert CITATION["authors"][0]["name"] in setup
