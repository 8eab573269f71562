"""Headers of models at Hugging Face: how little is read of them, from where, and what is remembered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.errors import ServerError
from backends.gguf.files import read_shape
from backends.gguf.problems import BadGguf
from backends.hub import header as header_module
from backends.hub.address import HubFile
from backends.hub.header import fetch_header, kept_header
from tests.backends.fake_hub import COMMIT, SHA256, FakeHub, HubHandler
from tests.backends.test_gguf_split import split
from tests.gguf_files import QWEN_1_5B, QWEN_32B, sparse_model

ONE = HubFile("me", "some", "one.gguf")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 32B of true size, its vocabulary included."""
    return sparse_model(tmp_path_factory.mktemp("large") / "32b.gguf", QWEN_32B)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1.5B of true size, whose header is short."""
    return sparse_model(tmp_path_factory.mktemp("one") / "one.gguf", QWEN_1_5B, small_vocabulary=True)


@pytest.fixture
def store(hub: FakeHub) -> Iterator[FakeHub]:
    """Where the hub sends to for the files themselves."""
    with FakeHub() as store:
        store.files = hub.files
        hub.store = store.root
        yield store


def test_of_a_32b_eight_megabytes_are_read_by_six_requests_over_two_connections(
    hub: FakeHub, store: FakeHub, large: Path
) -> None:
    hub.add(large)
    header = fetch_header(HubFile("me", "some", "32b.gguf"))
    assert header.shape == read_shape(large)
    assert large.stat().st_size > 19e9
    assert store.sent <= 9 * 1024**2
    assert len(hub.asked) == 1
    assert len(store.asked) <= 6
    assert (hub.lines, store.lines) == (1, 1)
    assert hub.sent == 0


def test_no_byte_is_asked_for_twice_or_beyond_the_end(hub: FakeHub, store: FakeHub, large: Path, one: Path) -> None:
    for file in (hub.add(large), hub.add(one)):
        store.parts.clear()
        fetch_header(HubFile("me", "some", file.name))
        ends = [offset + length for offset, length in store.parts]
        assert all(offset >= end for (offset, _), end in zip(store.parts[1:], ends, strict=False))
        assert ends[-1] <= file.stat().st_size


def test_the_hub_says_commit_and_hash_and_the_store_is_not_believed_in_that(
    hub: FakeHub, store: FakeHub, one: Path
) -> None:
    def tag(handler: HubHandler, *_: object) -> bool:
        handler.part(one, X_Repo_Commit="f" * 40, X_Linked_Etag="e" * 64)
        return True

    hub.add(one)
    store.fault = tag
    header = fetch_header(ONE)
    assert (header.commit, header.sha256) == (COMMIT, SHA256)
    assert header.server == hub.root.removeprefix("http://")


def test_a_mirror_that_serves_files_itself_names_the_hash_as_the_file_s_tag(hub: FakeHub, one: Path) -> None:
    def mirrored(handler: HubHandler, *_: object) -> bool:
        handler.part(one, ETag=f'W/"{"b" * 64}"')
        return True

    hub.fault = mirrored
    header = fetch_header(ONE)
    assert (header.commit, header.sha256) == ("", "b" * 64)


def test_a_store_s_own_tag_is_not_taken_for_the_hash(hub: FakeHub, one: Path) -> None:
    def sending(handler: HubHandler, path: str, *_: object) -> bool:
        if path.startswith("/me/"):
            handler.reply(302, b"", Location=store.root + "/store/me/some/one.gguf")
        return path.startswith("/me/")

    def tagged(handler: HubHandler, *_: object) -> bool:
        handler.part(one, ETag=f'"{"c" * 64}"')
        return True

    with FakeHub() as store:
        hub.fault, store.fault = sending, tagged
        assert fetch_header(ONE).sha256 == ""


@pytest.mark.parametrize("tag", ['"0123"', '"' + "B" * 64 + '"', '"' + "b" * 65 + '"', "\x7f"])
def test_a_tag_that_is_no_hash_is_none(hub: FakeHub, one: Path, tag: str) -> None:
    def tagged(handler: HubHandler, *_: object) -> bool:
        handler.part(one, X_Linked_Etag=tag, X_Repo_Commit="main")
        return True

    hub.fault = tagged
    header = fetch_header(ONE)
    assert (header.commit, header.sha256) == ("", "")


def test_names_and_revisions_are_asked_for_as_they_are_written(hub: FakeHub, one: Path) -> None:
    hub.files["me/some/F 16/ü#?%20.gguf"] = one
    fetch_header(HubFile("me", "some", "F 16/ü#?%20.gguf", "refs/pr/1"))
    assert hub.paths == ["/me/some/resolve/refs%2Fpr%2F1/F%2016/%C3%BC%23%3F%2520.gguf"]


def test_parts_are_each_asked_for_at_one_commit(hub: FakeHub, tmp_path: Path) -> None:
    parts = split(tmp_path)
    for part in parts:
        hub.add(part, folder="Q8/")
    header = fetch_header(HubFile("me", "some", f"Q8/{parts[1].name}"))
    assert header.shape == read_shape(parts[1])
    assert [part.name for part in header.shape.parts] == [part.name for part in parts]
    assert (header.commit, header.sha256) == (COMMIT, "")
    assert hub.paths == [
        f"/me/some/resolve/main/Q8/{parts[1].name}",
        f"/me/some/resolve/{COMMIT}/Q8/{parts[0].name}",
        f"/me/some/resolve/{COMMIT}/Q8/{parts[2].name}",
    ]


def test_a_part_that_is_not_published_is_named(hub: FakeHub, tmp_path: Path) -> None:
    parts = split(tmp_path)
    for part in parts[:2]:
        hub.add(part, folder="Q8/")
    with pytest.raises(BadGguf) as caught:
        fetch_header(HubFile("me", "some", f"Q8/{parts[0].name}"))
    assert caught.value.title == "A part of the model is missing"
    assert caught.value.detail.startswith(f"me/some/Q8/{parts[2].name}: ")
    assert "choose another file" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "the file is empty"), (b"<html>", "it begins with"), (b"GGUF\3\0\0\0", "the file ends in its header")],
    ids=["empty", "another format", "cut"],
)
def test_what_is_no_model_is_told_with_its_place_at_the_hub(
    hub: FakeHub, tmp_path: Path, content: bytes, said: str
) -> None:
    file = hub.add(tmp_path / "one.gguf")
    file.write_bytes(content)
    with pytest.raises(BadGguf) as caught:
        fetch_header(ONE)
    assert caught.value.detail.startswith(f"me/some/one.gguf: {said}")
    assert "Fetch the file again" not in caught.value.hint
    assert kept_header(ONE) is None


def test_a_file_that_is_cut_where_it_was_published_cannot_be_used(hub: FakeHub, one: Path, tmp_path: Path) -> None:
    file = hub.add(tmp_path / "one.gguf")
    with one.open("rb") as opened:
        file.write_bytes(opened.read(1 << 20))
    with pytest.raises(BadGguf) as caught:
        fetch_header(ONE)
    assert caught.value.missing_bytes == one.stat().st_size - (1 << 20)
    assert caught.value.hint == "It is so where it was published: choose another file."


@pytest.mark.parametrize("change", ["size", "tag"])
def test_a_file_that_changes_while_it_is_read_is_refused(hub: FakeHub, large: Path, change: str) -> None:
    def second(handler: HubHandler, *_: object) -> bool:
        first, last = (int(end) for end in handler.headers["range"].removeprefix("bytes=").split("-"))
        size = large.stat().st_size + (first > 0 and change == "size")
        with large.open("rb") as opened:
            opened.seek(first)
            data = opened.read(last - first + 1)
        tag = "two" if first and change == "tag" else "one"
        handler.reply(206, data, Content_Range=f"bytes {first}-{last}/{size}", ETag=tag)
        return True

    hub.fault = second
    with pytest.raises(ServerError, match="changed while it was read"):
        fetch_header(ONE)


def test_what_was_found_is_remembered_for_its_owner_alone(hub: FakeHub, one: Path, home: Path) -> None:
    hub.add(one)
    header = fetch_header(ONE)
    assert kept_header(ONE) == header
    assert header.shape == read_shape(one)
    (kept,) = (home / "cache" / "shapes").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert kept.stat().st_size < 16 * 1024
    assert len(hub.asked) == 1


@pytest.mark.parametrize("other", ["owner", "repo", "file", "revision"])
def test_another_file_is_not_taken_for_the_one_that_is_remembered(hub: FakeHub, one: Path, other: str) -> None:
    hub.add(one)
    fetch_header(ONE)
    fields = {"owner": "me", "repo": "some", "file": "one.gguf", "revision": ""} | {other: "x"}
    assert kept_header(HubFile(**fields)) is None


def test_a_remembered_header_is_bound_to_its_own_place(hub: FakeHub, one: Path, home: Path) -> None:
    hub.add(one)
    fetch_header(ONE)
    (kept,) = (home / "cache" / "shapes").iterdir()
    other = header_module._place(HubFile("me", "some", "two.gguf"))
    kept.rename(other)
    assert kept_header(HubFile("me", "some", "two.gguf")) is None


def test_a_template_beyond_all_measure_is_not_remembered(hub: FakeHub, tmp_path: Path, home: Path) -> None:
    template = "é" * 40_000
    (file,) = split(tmp_path, 1, **{"tokenizer.chat_template": (8, template)})
    hub.add(file)
    of = HubFile("me", "some", file.name)
    assert fetch_header(of).shape.chat_template == template
    kept = kept_header(of)
    assert kept is not None
    assert kept.shape.chat_template == ""
    assert kept.shape.layers == 1


def test_where_the_disk_refuses_the_header_is_still_returned(hub: FakeHub, one: Path, home: Path) -> None:
    hub.add(one)
    (home / "cache").write_text("in the way")
    assert fetch_header(ONE).commit == COMMIT
    assert kept_header(ONE) is None


@pytest.fixture
def kept(hub: FakeHub, one: Path, home: Path) -> Path:
    """The file in which one header is remembered."""
    hub.add(one)
    fetch_header(ONE)
    (file,) = (home / "cache" / "shapes").iterdir()
    return file


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_damaged_memory_counts_as_none(kept: Path, data: st.DataObject) -> None:
    content = bytearray(kept.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    other = kept.with_name("whole")
    if not other.exists():
        other.write_bytes(kept.read_bytes())
    kept.write_bytes(content)
    try:
        assert kept_header(ONE) is None
    finally:
        kept.write_bytes(other.read_bytes())
    assert kept_header(ONE) is not None


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"\0" * 600_000], ids=range(4))
def test_a_strange_memory_is_replaced_by_the_next_look(kept: Path, content: bytes) -> None:
    kept.write_bytes(content)
    assert kept_header(ONE) is None
    header = fetch_header(ONE)
    assert kept_header(ONE) == header


def test_the_memory_of_another_version_counts_as_none(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_header(ONE) is not None
    monkeypatch.setattr(header_module, "_FORMAT", header_module._FORMAT + 1)
    assert kept_header(ONE) is None


def test_a_folder_or_a_pipe_in_the_memory_s_place_is_none_and_not_waited_for(kept: Path) -> None:
    kept.unlink()
    os.mkfifo(kept)
    assert kept_header(ONE) is None
    kept.unlink()
    kept.mkdir()
    assert kept_header(ONE) is None
    assert fetch_header(ONE).commit == COMMIT
    assert [file.name for file in kept.parent.iterdir()] == [kept.name]
