"""Fetching CUB-200-2011 from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from data_prep import cub, cub_archive
from s2i.data.manifest import read_manifest
from s2i.errors import InputError
from tests.fixtures.cub import write_cub


class _Server(HTTPServer):
    """Serves one file; may ignore ranges, or hang up after some bytes of each answer."""

    content = b""
    serves_ranges = True
    hang_up_after: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str | None] = []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.serves_ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.hang_up_after])

    def log_message(self, *_) -> None:
        pass


@contextmanager
def serving(content: bytes, **settings):
    server = _Server()
    server.content = content
    for name, value in settings.items():
        setattr(server, name, value)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> bytes:
    tree = write_cub(tmp_path_factory.mktemp("official") / "birds")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        names = tree / "CUB_200_2011" / "attributes" / "attributes.txt"
        tar.add(names, "attributes.txt")
        names.unlink()
        tar.add(tree / "CUB_200_2011", "CUB_200_2011")
    return buffer.getvalue()


def archive_at(server: _Server) -> cub_archive.Archive:
    url = f"http://127.0.0.1:{server.server_port}/CUB_200_2011.tgz"
    return replace(cub_archive.CUB, url=url, md5=hashlib.md5(server.content).hexdigest())


def test_an_absent_folder_is_fetched_and_used(packed, tmp_path, monkeypatch, capsys):
    root = tmp_path / "new" / "birds"
    with serving(packed) as server:
        monkeypatch.setattr(cub, "CUB", archive_at(server))
        command = ["--root", str(root), "--output", str(root / "manifest.jsonl")]
        cub.main(command)
        assert len(read_manifest(root / "manifest.jsonl")) == 18
        assert "attributes 18" in capsys.readouterr().out
        cub.main(command)
        assert server.asked == [None]
    kept = {path.name for path in root.iterdir()}
    assert kept == {"CUB_200_2011", "CUB_200_2011.tgz", "attributes.txt", "manifest.jsonl"}


def test_a_download_goes_on_where_it_was_cut(packed, tmp_path):
    (tmp_path / ".CUB_200_2011.tgz.s2i-part").write_bytes(packed[:1000])
    with serving(packed) as server:
        cub_archive.obtain(tmp_path, archive_at(server))
        assert server.asked == ["bytes=1000-"]
    assert (tmp_path / "CUB_200_2011.tgz").read_bytes() == packed
    assert (tmp_path / "CUB_200_2011" / "images.txt").exists()


def test_a_download_that_a_browser_has_begun_is_left_alone(packed, tmp_path):
    mine = [tmp_path / "CUB_200_2011.tgz.part", tmp_path / ".CUB_200_2011.mine" / "x"]
    mine[1].parent.mkdir()
    for path in mine:
        path.write_bytes(b"mine")
    with serving(packed) as server, pytest.raises(InputError, match="MD5"):
        cub_archive.obtain(tmp_path, replace(archive_at(server), md5="0" * 32))
    with serving(packed) as server:
        cub_archive.obtain(tmp_path, archive_at(server))
        assert server.asked == [None]
    assert all(path.read_bytes() == b"mine" for path in mine)


def test_a_connection_that_keeps_breaking_off_gets_there(packed, tmp_path):
    part = len(packed) // 3
    with serving(packed, hang_up_after=part) as server:
        cub_archive.obtain(tmp_path, archive_at(server))
        assert server.asked[:3] == [None, f"bytes={part}-", f"bytes={2 * part}-"]
    assert (tmp_path / "CUB_200_2011" / "images.txt").exists()


def test_a_connection_that_gives_nothing_more_is_an_error_and_the_part_stays(packed, tmp_path):
    (tmp_path / ".CUB_200_2011.tgz.s2i-part").write_bytes(packed[:1000])
    with serving(packed, hang_up_after=0) as server:
        with pytest.raises(InputError, match="1,000 bytes and then no more"):
            cub_archive.obtain(tmp_path, archive_at(server))
    assert [path.name for path in tmp_path.iterdir()] == [".CUB_200_2011.tgz.s2i-part"]
    with serving(packed) as server:
        cub_archive.obtain(tmp_path, archive_at(server))


def test_a_server_without_ranges_begins_anew_and_a_whole_part_is_not_fetched_twice(packed, tmp_path):
    part = tmp_path / ".CUB_200_2011.tgz.s2i-part"
    part.write_bytes(b"something else")
    with serving(packed, serves_ranges=False) as server:
        cub_archive.obtain(tmp_path, archive_at(server))
    assert (tmp_path / "CUB_200_2011.tgz").read_bytes() == packed
    other = tmp_path / "other"
    other.mkdir()
    (other / part.name).write_bytes(packed)
    with serving(packed) as server:
        cub_archive.obtain(other, archive_at(server))
    assert (other / "CUB_200_2011.tgz").read_bytes() == packed


def test_a_download_with_a_wrong_md5_is_refused_and_removed(packed, tmp_path):
    with serving(packed) as server:
        archive = replace(archive_at(server), md5="0" * 32)
        with pytest.raises(InputError, match="expected MD5 0{32}, found .* for CUB_200_2011.tgz"):
            cub_archive.obtain(tmp_path, archive)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_put_there_by_hand_is_checked_and_used_without_a_network(packed, tmp_path):
    file = tmp_path / "CUB_200_2011.tgz"
    file.write_bytes(packed)
    archive = replace(cub_archive.CUB, url="http://127.0.0.1:9/none")
    with pytest.raises(InputError, match=f"found .* for {re.escape(str(file))}"):
        cub_archive.obtain(tmp_path, archive)
    assert list(tmp_path.iterdir()) == [file]
    cub_archive.obtain(tmp_path, replace(archive, md5=hashlib.md5(packed).hexdigest()))
    assert (tmp_path / "CUB_200_2011" / "images.txt").exists()


def test_without_a_network_one_line_says_which_file_to_put_where(tmp_path):
    root = tmp_path / "birds"
    archive = replace(cub_archive.CUB, url="http://127.0.0.1:9/none")
    with pytest.raises(InputError) as caught:
        cub_archive.obtain(root, archive)
    for part in ("put CUB_200_2011.tgz", cub_archive.CUB.md5, str(root / "CUB_200_2011.tgz"), "caltech"):
        assert part in str(caught.value)
    assert not root.exists()


@pytest.mark.parametrize("fault", ["cut", "climbs", "other"])
def test_an_archive_that_cannot_be_unpacked_leaves_nothing(fault, packed, tmp_path):
    content = packed[: len(packed) // 2]
    if fault != "cut":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo("../climbed.txt" if fault == "climbs" else "letter.txt"))
        content = buffer.getvalue()
    root = tmp_path / "birds"
    root.mkdir()
    (root / "CUB_200_2011.tgz").write_bytes(content)
    archive = replace(cub_archive.CUB, md5=hashlib.md5(content).hexdigest())
    with pytest.raises(InputError, match=r"expected to unpack .*CUB_200_2011\.tgz"):
        cub_archive.obtain(root, archive)
    assert [path.name for path in root.iterdir()] == ["CUB_200_2011.tgz"]
    assert [path.name for path in tmp_path.iterdir()] == ["birds"]
