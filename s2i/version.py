"""Which version of s2i this is."""

from __future__ import annotations

from pathlib import Path

VERSION = "0.1.0"
CODE = (
    ".",
    "../data_prep",
    "../recipes",
    "../setup.py",
)  # what a commit is to say of, from the package's folder


def commit() -> tuple[str | None, bool | None]:
    """Commit and whether the code differs from it, if the package lies in its own git repository. Images and
    runs that lie beside the code are no change."""
    import subprocess  # here: `s2i` itself is imported with this file

    package = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(package), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:  # git is not installed
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "HEAD")
    if head is None or git("rev-parse", "--show-prefix") != "s2i/":
        return None, None
    return head, git("status", "--porcelain", "--", *CODE) != ""


def described() -> str:
    """The version and, in a clone, its commit, for a person."""
    head, is_changed = commit()
    if head is None:
        return VERSION
    return f"{VERSION} (commit {head[:10]}{', with changes' if is_changed else ''})"
