"""Fetching a model: whole and verified under its name or not at all, and gone on with where it was."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import Cancelled
from backends.errors import BackendError, Busy, ModelNotFound, ServerError
from backends.hub.address import HubFile
from backends.hub.failures import WrongContent
from backends.hub.part import Identity, Part
from backends.hub.patience import Patience
from tests.backends.fake_hub import COMMIT, FakeHub, HubHandler
from tests.backends.pulling import ONE, PARTS, SPLIT, Puller, make_puller, sha256


@pytest.fixture
def puller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Iterator[Puller]:
    yield from make_puller(monkeypatch, tmp_path)


def stopped_at(puller: Puller, bytes_here: int, file: HubFile = ONE, **pull: object) -> None:
    """Fetch until so many bytes have gone out, then stop."""

    def stop() -> None:
        while puller.hub.sent < bytes_here:
            time.sleep(0.001)
        puller.cancel.set()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Cancelled):
        puller.pull(file, **pull)
    thread.join()
    puller.cancel = type(puller.cancel)()


def test_a_file_is_fetched_verified_and_given_its_name(puller: Puller) -> None:
    content = puller.publish(size=2_000_000)
    assert puller.pull() == puller.folder / "one.gguf"
    assert puller.fetched(content)
    assert (puller.progress.done_bytes, puller.progress.total_bytes) == (2_000_000, 2_000_000)
    assert puller.progress.note == "Verified."
    assert puller.hub.sent <= 2_000_001
    assert (puller.folder / "one.gguf").stat().st_mode & 0o777 == 0o644
    # All of the commit that was found, whatever is published meanwhile.
    assert puller.hub.paths == ["/me/some/resolve/main/one.gguf", f"/me/some/resolve/{COMMIT}/one.gguf"]


def test_an_empty_file_is_one_too(puller: Puller) -> None:
    puller.publish("empty.txt", content=b"")
    assert puller.pull(HubFile("me", "some", "empty.txt")).read_bytes() == b""


def test_a_file_that_is_here_is_not_fetched_again(puller: Puller) -> None:
    content = puller.publish()
    puller.pull()
    sent = puller.hub.sent
    puller.pull()
    assert puller.hub.sent <= sent + 1
    assert puller.fetched(content)


def test_a_kill_between_the_name_and_the_end_leaves_nothing_for_good(puller: Puller) -> None:
    content = puller.publish()
    puller.pull()
    (puller.folder / "one.gguf.part.json").write_bytes(b"{}")
    puller.pull()
    assert puller.fetched(content)


def test_a_stopped_download_is_gone_on_with(puller: Puller) -> None:
    content = puller.publish(size=4_000_000)
    puller.hub.bytes_per_s = 20_000_000
    stopped_at(puller, 1_500_000)
    assert puller.names == ["one.gguf.part", "one.gguf.part.json"]
    here = (puller.folder / "one.gguf.part").stat().st_size
    assert here > 1_000_000
    puller.hub.parts.clear()
    puller.pull()
    assert puller.fetched(content)
    assert puller.hub.parts[-1] == (here, 4_000_000 - here)


def test_a_download_that_was_whole_but_had_no_name_yet_is_only_verified(puller: Puller) -> None:
    content = puller.publish()
    identity = Identity(len(content), sha256(content), commit=COMMIT)
    part = Part(puller.folder / "one.gguf", identity)
    part.write(content)
    part.close()
    puller.pull()
    assert puller.fetched(content)
    assert puller.hub.sent <= 1


@pytest.mark.parametrize("what", ["another hash", "a shorter file", "no note of it", "a damaged note"])
def test_what_was_left_of_another_file_is_begun_anew(puller: Puller, what: str) -> None:
    puller.publish(size=3_000_000)
    puller.hub.bytes_per_s = 20_000_000
    stopped_at(puller, 1_500_000)
    puller.hub.bytes_per_s = None
    content = puller.publish(size=700_000 if what == "a shorter file" else 3_000_000)
    about = puller.folder / "one.gguf.part.json"
    if what == "no note of it":
        about.unlink()
    elif what == "a damaged note":
        about.write_bytes(b"\xff\xff{" * 1000)
    puller.hub.parts.clear()
    puller.pull()
    assert puller.fetched(content)
    assert puller.hub.parts[-1] == (0, len(content))


def test_without_a_hash_the_commit_or_the_servers_own_name_tells_whether_it_is_the_same(puller: Puller) -> None:
    content = puller.publish(size=3_000_000)
    puller.hub.hashes["me/some/one.gguf"] = ""
    puller.hub.bytes_per_s = 20_000_000
    stopped_at(puller, 1_500_000)
    here = (puller.folder / "one.gguf.part").stat().st_size
    puller.hub.parts.clear()
    puller.pull()
    assert puller.fetched(content)
    assert puller.hub.parts[-1] == (here, 3_000_000 - here)
    assert "no hash" in puller.progress.note
    # Of another commit it may be another file.
    (puller.folder / "one.gguf").unlink()
    puller.hub.sent = 0
    stopped_at(puller, 1_500_000)
    puller.hub.commit = "f" * 40
    puller.hub.parts.clear()
    puller.pull()
    assert puller.hub.parts[-1] == (0, 3_000_000)


def test_all_parts_of_a_split_model_come_and_the_named_one_gets_its_name_last(puller: Puller) -> None:
    contents = {name: puller.publish(name, 500_000) for name in PARTS}
    names: list[str] = []
    rename = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            names.append(target.name)
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", watched)
        assert puller.pull(SPLIT) == puller.folder / SPLIT.file
    assert all(puller.fetched(content, name) for name, content in contents.items())
    assert names == [PARTS[0].rpartition("/")[2], PARTS[2].rpartition("/")[2], SPLIT.file.rpartition("/")[2]]
    assert puller.progress.total_bytes == puller.progress.done_bytes == 1_500_000


def test_a_split_model_goes_on_in_the_middle_of_a_part_and_verifies_none_twice(puller: Puller) -> None:
    contents = {name: puller.publish(name, 1_000_000) for name in PARTS}
    puller.hub.bytes_per_s = 20_000_000
    stopped_at(puller, 1_500_000, SPLIT)
    assert not any(name.endswith(".gguf") for name in puller.names)
    sent, puller.hub.sent = puller.hub.sent, 0
    puller.pull(SPLIT)
    assert all(puller.fetched(content, name) for name, content in contents.items())
    assert sent + puller.hub.sent < 3_000_000 + 400_000  # what was under way when it was stopped


def test_a_part_that_is_missing_at_the_hub_is_told_before_anything_is_fetched(puller: Puller) -> None:
    puller.publish(PARTS[0], 500_000)
    puller.publish(PARTS[1], 500_000)
    with pytest.raises(ModelNotFound, match=r"big-00003-of-00003\.gguf"):
        puller.pull(SPLIT)
    assert puller.hub.sent <= 2
    assert not puller.folder.exists()


FOLDER = {
    "config.json": b'{"a": 1}',
    "model-1.safetensors": os.urandom(300_000),
    "model-2.safetensors": os.urandom(300_000),
    "tokenizer.json": b"{}" * 500,
    "tokenizer.model": os.urandom(1000),
    "chat_template.jinja": b"{{ x }}",
    "merges.txt": b"a b",
    "LICENSE": b"MIT",
}
OTHERS = ("README.md", "model.gguf", "picture.png", "run.py", "pytorch_model.bin", "sub/config.json", ".gitattributes")


def test_of_a_model_folder_what_an_engine_needs_comes(puller: Puller) -> None:
    for name, content in FOLDER.items():
        puller.publish(name, content=content)
    for name in OTHERS:
        puller.publish(name, content=b"no")
    assert puller.pull(HubFile("me", "some", "", "3_5")) == puller.folder
    assert {name: (puller.folder / name).read_bytes() for name in puller.names} == FOLDER
    assert puller.hub.paths[0] == "/api/models/me/some/revision/3_5?blobs=true"
    assert all(f"/resolve/{COMMIT}/" in path for path in puller.hub.paths[1:])
    assert puller.progress.note == "Verified."


def test_a_folder_within_a_repository_comes_alone(puller: Puller) -> None:
    for name, content in FOLDER.items():
        puller.publish(f"4bit/{name}", content=content)
    puller.publish("config.json", content=b"{}")
    assert puller.pull(HubFile("me", "some", "4bit/")) == puller.folder / "4bit"
    assert puller.names == sorted(f"4bit/{name}" for name in FOLDER)


def test_a_half_fetched_folder_has_no_mark_of_a_model(puller: Puller) -> None:
    for name, content in FOLDER.items():
        puller.publish(name, content=content)
    puller.hub.bytes_per_s = 3_000_000
    stopped_at(puller, 400_000, HubFile("me", "some", ""))
    assert all(".part" in name for name in puller.names)
    puller.pull(HubFile("me", "some", ""))
    assert puller.names == sorted(FOLDER)


def test_a_repository_without_a_model_folder_is_none(puller: Puller) -> None:
    puller.publish()
    with pytest.raises(ModelNotFound, match="me/some is no model folder"):
        puller.pull(HubFile("me", "some", ""))


def test_a_small_file_of_a_folder_is_verified_by_gits_name_for_it(puller: Puller) -> None:
    for name, content in FOLDER.items():
        puller.publish(name, content=content)
    listing = puller.hub.listing("me/some")
    puller.publish("config.json", content=b'{"b": 1}')  # as long as before
    puller.hub.listing = lambda _repo: listing  # type: ignore[method-assign]
    with pytest.raises(WrongContent, match=r"config\.json"):
        puller.pull(HubFile("me", "some", ""))
    assert "config.json" not in puller.names


def test_a_pinned_file_that_the_hub_does_not_have_is_not_fetched(puller: Puller) -> None:
    content = puller.publish()
    with pytest.raises(WrongContent, match="another file than the one that is pinned"):
        puller.pull(sha256="0" * 64)
    assert puller.hub.sent <= 1
    assert not puller.folder.exists()
    puller.pull(sha256=sha256(content))
    assert puller.fetched(content)


def test_a_pin_is_verified_where_the_hub_names_no_hash(puller: Puller) -> None:
    content = puller.publish()
    puller.hub.hashes["me/some/one.gguf"] = ""
    with pytest.raises(WrongContent, match="not what was announced"):
        puller.pull(sha256="0" * 64)
    assert puller.names == []
    puller.pull(sha256=sha256(content))
    assert puller.fetched(content)
    assert puller.progress.note == "Verified."


def test_a_file_of_another_content_is_not_overwritten(puller: Puller) -> None:
    puller.publish()
    puller.folder.mkdir()
    (puller.folder / "one.gguf").write_bytes(b"GGUF mine")
    with pytest.raises(WrongContent, match="in the way"):
        puller.pull()
    assert (puller.folder / "one.gguf").read_bytes() == b"GGUF mine"


def test_a_file_that_comes_from_elsewhere_meanwhile_is_not_overwritten(puller: Puller) -> None:
    content = puller.publish()

    def copied(handler: HubHandler, *_: object) -> bool:
        if handler.headers["range"].endswith("-"):
            (puller.folder / "one.gguf").write_bytes(b"GGUF mine")
        return False

    puller.hub.fault = copied
    with pytest.raises(WrongContent, match="in the way"):
        puller.pull()
    assert (puller.folder / "one.gguf").read_bytes() == b"GGUF mine"
    (puller.folder / "one.gguf").unlink()
    puller.hub.fault = lambda *_: False
    puller.hub.sent = 0
    puller.pull()
    assert puller.fetched(content)
    assert puller.hub.sent <= 1  # what was fetched stayed


def test_a_part_belongs_to_one_process_at_a_time(puller: Puller) -> None:
    puller.publish()
    part = Part(puller.folder / "one.gguf", Identity(10, "x"))
    with pytest.raises(Busy):
        puller.pull()
    part.close()
    puller.pull()


def test_a_connection_is_kept_for_all_files_of_a_model(puller: Puller) -> None:
    for name in PARTS:
        puller.publish(name, 100_000)
    puller.pull(SPLIT)
    assert puller.hub.lines == 1


def test_connections_to_the_hub_and_to_its_store_are_kept(puller: Puller) -> None:
    for name in PARTS:
        puller.publish(name, 100_000)
    with FakeHub() as store:
        store.files = puller.hub.files
        puller.hub.store = store.root
        puller.pull(SPLIT)
        assert (puller.hub.lines, store.lines) == (1, 1)


def test_a_hub_that_is_switched_off_is_not_asked(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    puller.publish()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BackendError, match="switched off"):
        puller.pull()
    assert puller.hub.asked == []


def test_the_token_goes_to_nobody_but_who_it_is_for(
    puller: Puller, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = puller.publish()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with FakeHub() as store:
        store.files = puller.hub.files
        puller.hub.store = store.root
        puller.pull()
        assert puller.fetched(content)
        (puller.folder / "one.gguf").unlink()
        assert not any("authorization" in one for one in [*puller.hub.headers, *store.headers])
        (home / "config").mkdir()
        (home / "config/config.toml").write_text(f'[origins."{puller.hub.root}"]\nkey = "own-key"\n')
        puller.pull()
        assert puller.hub.headers[-1]["authorization"] == "Bearer own-key"
        assert not any("authorization" in one for one in store.headers)
        assert store.sent >= 2 * len(content)


def test_a_store_s_signed_address_is_asked_for_anew_by_each_try(puller: Puller) -> None:
    content = puller.publish(size=2_000_000)
    with FakeHub() as store:
        store.files = puller.hub.files
        puller.hub.store = store.root
        store.breaks_after = 900_000
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Patience, "_sleep", lambda *_: None)
            puller.pull()
        assert puller.fetched(content)
        assert [offset for offset, _ in store.parts][1:] == [0, 917_504, 1_835_008]
        assert len(puller.hub.asked) == len(store.asked)


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/evil.json", "a/../../evil.json", "evil\\..\\x.json", "a\x1b.json"]
)
def test_a_file_name_that_leads_out_of_the_folder_is_refused(puller: Puller, name: str) -> None:
    for one, content in FOLDER.items():
        puller.publish(f"a/{one}" if name.startswith("a/") else one, content=content)
    listing = puller.hub.listing("me/some")
    listing["siblings"].append({"rfilename": name, "size": 3, "blobId": "a" * 40})
    puller.hub.listing = lambda _repo: listing  # type: ignore[method-assign]
    if "/" in name:
        puller.pull(HubFile("me", "some", "a/" if name.startswith("a/") else ""))  # it is in no folder that is wanted
        assert not any("evil" in one.name for one in puller.folder.parent.iterdir())
        assert not any("evil" in one for one in puller.names)
    else:
        with pytest.raises(ServerError, match="a name that is not used"):
            puller.pull(HubFile("me", "some", ""))
    for unsafe in (HubFile("me", "some", name), HubFile("me", "some", f"{name}/")):
        with pytest.raises(ServerError, match="a name that is not used"):
            puller.pull(unsafe)


def test_a_link_in_the_place_of_a_part_is_not_written_through(puller: Puller, tmp_path: Path) -> None:
    puller.publish()
    puller.folder.mkdir()
    (tmp_path / "mine").write_bytes(b"mine")
    (puller.folder / "one.gguf.part").symlink_to(tmp_path / "mine")
    with pytest.raises(BackendError, match="cannot be written"):
        puller.pull()
    assert (tmp_path / "mine").read_bytes() == b"mine"
