"""The official archive of CUB-200-2011: fetched, checked, unpacked; each step whole or to be continued."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s2i.errors import InputError
from s2i.files.locks import only_process
from s2i.files.unfinished import lasting_part, part_folder
from s2i.progress import progress, say

_BLOCK = 1 << 20  # bytes read at a time
_PATIENCE = 60.0  # s without an answer or a byte


@dataclass(frozen=True)
class Archive:
    """A tar file and the folder that it unpacks to."""

    url: str
    page: str  # where a person finds it
    name: str
    md5: str
    folder: str
    proof: str  # a file in the folder without which it isn't this data set
    beside: tuple[str, ...] = ()  # what else of the archive is wanted, beside the folder


CUB = Archive(
    url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
    page="https://data.caltech.edu/records/65de6-vp158",
    name="CUB_200_2011.tgz",
    md5="97eceeb196236b17998738112f37df78",
    folder="CUB_200_2011",
    proof="images.txt",
    beside=("attributes.txt",),
)


def obtain(root: str | Path, archive: Archive) -> Path:
    """The unpacked folder in `root`, from the archive there, else from the network.

    A download that breaks off is continued, at once while bytes still come and else by the next call.

    Raises InputError without a network, for a wrong MD5 and for an archive that can't be unpacked.
    """
    root = Path(root)
    folder, packed = root / archive.folder, root / archive.name
    if folder.exists():
        return folder
    with only_process(root, f".{archive.folder}.lock", wait=True):  # two calls at once: the second waits
        if not folder.exists():
            _obtain(root, folder, packed, archive)
    return folder


def _obtain(root: Path, folder: Path, packed: Path, archive: Archive) -> None:
    if packed.exists():
        md5 = _md5(packed)
        if md5 != archive.md5:
            raise InputError(
                f"expected MD5 {archive.md5}, found {md5} for {packed}: remove it and run again,"
                f" or get it from {archive.page}"
            )
    else:
        say(f"{folder} is not there: fetching {archive.url} (stop at any time; the same command continues)")
        _download(packed, archive)
    say(f"unpacking {packed}")
    _unpack(packed, root, archive)


def _download(packed: Path, archive: Archive) -> None:
    """Fetch to a part, and give it its name once its MD5 is right."""
    part = lasting_part(packed)  # not NAME.part, as browsers call their own
    try:
        is_whole = False
        while not is_whole:
            before = _size(part)
            is_whole = _fetch(part, archive)
            if not is_whole and _size(part) <= before:
                raise TimeoutError(f"{before:,} bytes and then no more")
    except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InputError(
            f"expected {archive.url}, found: {reason}: run the same command again with a network,"
            f" or put {archive.name} (MD5 {archive.md5}) from {archive.page} at {packed}"
        ) from error
    md5 = _md5(part)
    if md5 != archive.md5:
        part.unlink()
        raise InputError(
            f"expected MD5 {archive.md5}, found {md5} for {packed.name} from {archive.url}; it is removed:"
            f" run the same command again, or put the file from {archive.page} at {packed}"
        )
    os.replace(part, packed)


def _fetch(part: Path, archive: Archive) -> bool:
    """Go on where `part` ends; True once all of it is there, False where the connection broke off."""
    start = _size(part)
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return True  # nothing is missing; the MD5 tells whether it is too much
        raise
    with response:
        if start and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0  # a server that can't continue begins anew
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab" if start else "wb") as stream:
            blocks = -(-(total or 0) // _BLOCK)
            for block in progress(_blocks(response), blocks, f"{archive.name}, MiB", start // _BLOCK):
                stream.write(block)
    return total is None or _size(part) >= total


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What comes, until it ends or breaks off."""
    while True:
        try:
            block = response.read(_BLOCK)
        except (http.client.IncompleteRead, ConnectionError, TimeoutError):
            return
        if not block:
            return
        yield block


def _unpack(packed: Path, root: Path, archive: Archive) -> None:
    """Unpack beside the place, then move there: the folder is whole or absent."""
    try:
        with part_folder(root / archive.folder) as work:
            with tarfile.open(packed) as tar:
                for member in tar:
                    _unpack_member(tar, member, work.resolve())
            if not (work / archive.folder / archive.proof).is_file():
                raise tarfile.TarError(f"no {archive.folder}/{archive.proof}")
            for name in archive.beside:
                if (work / name).is_file() and not (root / name).exists():
                    os.replace(work / name, root / name)
            os.replace(work / archive.folder, root / archive.folder)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"expected to unpack {packed} into {root}, found: {error}: make room or fetch the archive again"
        ) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, work: Path) -> None:
    """One file or folder. Links, devices and names that lead out of `work` are refused, on any Python."""
    target = (work / member.name).resolve()
    if not target.is_relative_to(work) or not (member.isfile() or member.isdir()):
        raise tarfile.TarError(f"{member.name}, which is no plain file inside it")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tar.extractfile(member) as source, target.open("wb") as written:
        shutil.copyfileobj(source, written)
