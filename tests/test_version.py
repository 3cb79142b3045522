"""Which version and commit the package says that it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import s2i
from s2i import version

TELL = "from s2i.version import commit, described; print(*commit(), described(), sep='|')"


def test_a_clone_tells_its_commit_and_whether_it_was_changed(tmp_path):
    package = tmp_path / "s2i"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(version.__file__, package)

    def git(*words: str) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *named, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit_and_version() -> list[str]:
        command = [sys.executable, "-B", "-c", TELL]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip().split("|")

    assert commit_and_version() == ["None", "None", s2i.__version__]
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    head = git("rev-parse", "HEAD")
    assert commit_and_version() == [head, "False", f"{s2i.__version__} (commit {head[:10]})"]
    (tmp_path / "bird.png").touch()
    assert commit_and_version()[1] == "False"  # somebody's image is no change of the code
    (package / "new.py").touch()
    assert commit_and_version() == [head, "True", f"{s2i.__version__} (commit {head[:10]}, with changes)"]


def test_another_projects_repository_is_not_taken_for_ours(tmp_path):
    inside = tmp_path / "lib" / "s2i"
    inside.mkdir(parents=True)
    (inside / "__init__.py").touch()
    shutil.copy(Path(version.__file__), inside)
    named = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run(["git", *named, *words], cwd=tmp_path, check=True)
    command = [sys.executable, "-B", "-c", TELL]
    done = subprocess.run(command, cwd=tmp_path / "lib", capture_output=True, text=True, check=True)
    assert done.stdout.split("|")[0] == "None"
