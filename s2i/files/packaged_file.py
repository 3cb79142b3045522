"""Published weights that come by pip inside a package: found and checked, nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from s2i.errors import InputError
from s2i.files.atomic import sha256_of


@dataclass(frozen=True)
class PackagedFile:
    """One file of a package that pip installs. Its hash is checked, so the package's code need not be run.

    Attributes:
        what: the file holds, as errors call it.
        package: its name as pip knows it.
        install: what pip is asked for, `package==version` with whatever options.
        name: of the file, inside the folder that packages are installed in.
        sha256: of its content.
    """

    what: str
    package: str
    install: str
    name: str
    sha256: str

    def find(self) -> Path:
        """Where the file lies.

        Raises InputError where the package is not installed or its file is another than the one known here.
        """
        again = f"pip install --force-reinstall {self.install}"
        try:
            path = Path(str(distribution(self.package).locate_file(self.name)))
        except PackageNotFoundError as error:
            raise InputError(
                f"expected {self.what} from the package {self.package}, found none installed:"
                f" pip install {self.install}"
            ) from error
        if not path.is_file():
            raise InputError(f"expected {self.what} in {self.package}, found no file at {path}: {again}")
        if (digest := sha256_of(path)) != self.sha256:
            raise InputError(
                f"expected SHA-256 {self.sha256[:8]}... of {self.what}, found {digest[:8]}... in {path}:"
                f" {again}"
            )
        return path
