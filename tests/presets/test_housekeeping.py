"""Removing models: ours and those of the Hugging Face cache, which stays consistent; nobody else's, ever."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from backends.errors import Problem
from backends.jobs import launch
from backends.jobs.job import JobSpec, Progress, State
from presets.catalog import load_catalog
from presets.found import Found, find_models
from presets.housekeeping import discard, leftovers, not_ours, remove, users
from presets.sources import hub_cache, models
from tests.gguf_files import LLAMA_8B, QWEN_1_5B, QWEN_14B
from tests.models_here import COMMIT, LATER, gguf, in_hub_cache, in_lm_studio, in_ollama, user
from tests.tui.fetches import Job

REPO = "bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF"
FILE = "DeepSeek-R1-Distill-Qwen-14B-Q3_K_S.gguf"


def found(name: str) -> Found:
    (one,) = [one for one in find_models().found if name in (one.name, *one.also)]
    return one


def consistent(cache: Path) -> list[str]:
    """What huggingface_hub would call a corrupt cache: a dangling link, or a reference to a snapshot that is gone."""
    faults: list[str] = []
    for repository in cache.glob("models--*"):
        snapshots = repository / "snapshots"
        known = {path.name for path in snapshots.iterdir()}
        links = [path for path in snapshots.rglob("*") if path.is_symlink()]
        references = [path for path in (repository / "refs").rglob("*") if path.is_file()]
        faults += [f"dangling: {path}" for path in links if not path.exists()]
        faults += [f"reference: {path}" for path in references if path.read_text() not in known]
    return faults


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


class TestOfTheHuggingFaceCache:
    def test_one_file_goes_from_every_snapshot_and_the_others_stay(self) -> None:
        link = in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
        in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S", commit=LATER)
        other = in_hub_cache(REPO, "other.gguf", QWEN_1_5B, commit=LATER)
        blob, size = link.resolve(), link.stat().st_size
        done = remove(found(f"{REPO}/{FILE}"))
        assert done.freed_bytes == size
        assert not blob.exists()
        assert other.exists()
        folder = link.parents[2]
        assert everything(folder / "snapshots") == {LATER, f"{LATER}/other.gguf"}
        assert (folder / "refs/main").read_text() == LATER
        assert consistent(hub_cache()) == []

    def test_a_snapshot_that_is_empty_then_goes_with_its_references(self) -> None:
        link = in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S", commit=COMMIT)
        in_hub_cache(REPO, "other.gguf", QWEN_1_5B, commit=LATER)
        references = link.parents[2] / "refs"
        (references / "pr").mkdir()
        (references / "pr/1").write_text(COMMIT)
        remove(found(f"{REPO}/{FILE}"))
        assert everything(references) == {"main", "pr"}
        assert not link.parent.exists()
        assert consistent(hub_cache()) == []

    def test_a_repository_of_which_more_is_being_downloaded_stays(self) -> None:
        link = in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
        coming = link.parents[2] / "blobs/etag.incomplete"
        coming.write_bytes(b"x" * 10)
        remove(found(f"{REPO}/{FILE}"))
        assert not link.is_symlink()
        assert coming.read_bytes() == b"x" * 10
        assert consistent(hub_cache()) == []

    def test_a_repository_without_anything_goes_whole(self) -> None:
        in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
        in_hub_cache("me/some", "m.gguf", QWEN_1_5B)
        locks = hub_cache() / ".locks/models--me--some"
        locks.mkdir(parents=True)
        (locks / "x.lock").touch()
        remove(found("me/some/m.gguf"))
        assert sorted(path.name for path in hub_cache().iterdir()) == [".locks", f"models--{REPO.replace('/', '--')}"]
        assert list((hub_cache() / ".locks").iterdir()) == []

    def test_all_parts_go(self) -> None:
        from tests.backends.test_gguf_split import split

        folder = hub_cache() / "models--me--some"
        (folder / "blobs").mkdir(parents=True)
        snapshot = folder / "snapshots" / COMMIT / "F16"
        snapshot.mkdir(parents=True)
        for part in split(folder / "blobs"):
            blob = part.rename(part.with_name(f"sha{part.name[2:7]}"))
            (snapshot / part.name).symlink_to(os.path.relpath(blob, snapshot))
        done = remove(found("me/some/F16/m-00001-of-00003.gguf"))
        assert len(done.paths) == 6
        assert not folder.exists()

    def test_copies_where_the_disk_knows_no_links_go_too(self) -> None:
        snapshot = hub_cache() / "models--me--some/snapshots" / COMMIT
        path = gguf(snapshot / "m.gguf", QWEN_1_5B)
        size = path.stat().st_size
        assert remove(found("me/some/m.gguf")).freed_bytes == size
        assert not (hub_cache() / "models--me--some").exists()

    def test_a_model_folder_goes_with_all_its_files(self) -> None:
        snapshot = hub_cache() / "models--me--exl/snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        blobs = hub_cache() / "models--me--exl/blobs"
        blobs.mkdir()
        for name in ("config.json", "output.safetensors", "tokenizer.json"):
            (blobs / name[:4]).write_bytes(b"x" * 1000)
            (snapshot / name).symlink_to(f"../../blobs/{name[:4]}")
        one = found("me/exl")
        assert (one.path, one.size, one.problem) == (snapshot, 1000, "")
        assert remove(one).freed_bytes == 3000
        assert not (hub_cache() / "models--me--exl").exists()

    def test_a_file_that_repositories_share_is_left_to_huggingface_hub(self) -> None:
        store = hub_cache() / "blobs/ab"
        store.mkdir(parents=True)
        shared = gguf(store / ("ab" * 32), QWEN_1_5B)
        folder = hub_cache() / "models--me--some"
        (folder / "blobs").mkdir(parents=True)
        (folder / "blobs/etag").symlink_to(os.path.relpath(shared, folder / "blobs"))
        (folder / "snapshots" / COMMIT).mkdir(parents=True)
        (folder / "snapshots" / COMMIT / "m.gguf").symlink_to("../../blobs/etag")
        done = remove(found("me/some/m.gguf"))
        assert "hf cache prune" in done.note
        assert done.freed_bytes == 0
        assert shared.exists()
        assert not folder.exists()

    def test_a_link_out_of_the_repository_loses_only_itself(self, tmp_path: Path) -> None:
        precious = gguf(tmp_path / "precious.gguf", QWEN_1_5B)
        snapshot = hub_cache() / "models--me--some/snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (snapshot / "m.gguf").symlink_to(precious)
        assert remove(found("me/some/m.gguf")).freed_bytes == 0
        assert precious.exists()

    def test_a_linked_folder_is_not_entered(self, tmp_path: Path) -> None:
        precious = gguf(tmp_path / "mine/precious.gguf", QWEN_1_5B)
        snapshot = hub_cache() / "models--me--some/snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (snapshot / "sub").symlink_to(tmp_path / "mine")
        with pytest.raises(Problem, match="only linked here"):
            remove(found("me/some/sub/precious.gguf"))
        assert precious.exists()


class TestOfOurs:
    def test_a_file_goes_and_its_folders_with_it(self) -> None:
        gguf(models() / "me/some@v1/deep/m.gguf", QWEN_1_5B)
        kept = gguf(models() / "me/other/m.gguf", QWEN_1_5B, "Q8_0")
        remove(found("me/some@v1/deep/m.gguf"))
        assert everything(models()) == {"me", "me/other", "me/other/m.gguf"}
        assert kept.exists()

    def test_what_is_elsewhere_too_stays_there_and_that_is_said(self) -> None:
        path = gguf(models() / "me/some/m.gguf", QWEN_1_5B)
        twin = user() / ".lmstudio/models/a/b/c.gguf"
        twin.parent.mkdir(parents=True)
        os.link(path, twin)
        done = remove(found("me/some/m.gguf"))
        assert (done.freed_bytes, twin.exists(), path.exists()) == (0, True, False)
        assert "elsewhere too" in done.note

    def test_a_folder_that_is_only_linked_there_is_left_alone(self, tmp_path: Path) -> None:
        precious = gguf(tmp_path / "mine/some/m.gguf", QWEN_1_5B)
        models().mkdir(parents=True)
        (models() / "me").symlink_to(tmp_path / "mine")
        with pytest.raises(Problem) as caught:
            remove(found("me/some/m.gguf"))
        assert str(tmp_path / "mine") in caught.value.hint
        assert precious.exists()

    def test_our_folder_itself_may_be_a_link_to_a_larger_disk(self, tmp_path: Path) -> None:
        (tmp_path / "large disk").mkdir()
        models().parent.mkdir(parents=True)
        models().symlink_to(tmp_path / "large disk")
        gguf(models() / "me/some/m.gguf", QWEN_1_5B)
        remove(found("me/some/m.gguf"))
        assert everything(tmp_path / "large disk") == set()

    def test_of_a_model_folder_another_model_in_it_or_below_it_stays(self) -> None:
        folder = models() / "me/exl"
        below, beside = gguf(folder / "gguf/m.gguf", QWEN_1_5B), gguf(folder / "m.gguf", QWEN_1_5B, "Q8_0")
        part = folder / "more.gguf.part"
        for path in (folder / "config.json", folder / "output.safetensors", part):
            path.write_bytes(b"x" * 100)
        assert remove(found("me/exl")).freed_bytes == 200
        assert below.exists()
        assert everything(folder) == {"gguf", "gguf/m.gguf", beside.name, part.name}


def test_everybody_elses_models_stay_and_their_own_command_is_said(tmp_path: Path) -> None:
    files = [in_ollama("deepseek-r1:8b", LLAMA_8B), in_lm_studio("a/b/c.gguf", QWEN_1_5B)]
    files.append(gguf(user() / ".cache/llama.cpp/it's.gguf", QWEN_1_5B, "Q8_0"))
    files.append(gguf(tmp_path / "shelf/m.gguf", QWEN_1_5B, "Q6_K"))
    hints = []
    for one in find_models([tmp_path / "shelf"]).found:
        with pytest.raises(Problem) as caught:
            remove(one)
        hints.append(caught.value.hint)
    assert all(file.exists() for file in files)
    assert hints[0] == "Remove it there, under My Models."
    assert "rm -- " in hints[1]
    assert """'"'"'s.gguf""" in hints[1]
    assert hints[3] == "Run: ollama rm deepseek-r1:8b"
    assert not_ours(Found("deepseek-tui", "x", Path("/x"), 1)) is None


def test_each_preset_names_the_models_that_it_uses(home: Path) -> None:
    in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
    blob = in_ollama("deepseek-r1:8b-llama-distill-q4_K_M", LLAMA_8B)
    folder = home / "config/presets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(f'extends = "starter"\n[backends.llama_cpp]\nsource = "file:{blob}"\n')
    used = users(load_catalog().entries, find_models().found)
    names = {preset: [one.name for one in uses] for preset, uses in used.items() if uses}
    assert names == {
        "14b-q3_k_s-offload": [f"{REPO}/{FILE}"],
        "8b-q4_k_m": ["deepseek-r1:8b-llama-distill-q4_K_M"],
        "mine": ["deepseek-r1:8b-llama-distill-q4_K_M"],
    }


def test_what_downloads_left_is_found_and_discarded_unless_one_is_at_it() -> None:
    ours = models() / "me/some/m.gguf.part"
    ours.parent.mkdir(parents=True)
    ours.write_bytes(b"x" * 100)
    ours.with_name("m.gguf.part.json").write_text("{}")
    theirs = hub_cache() / "models--me--some/blobs/etag.incomplete"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"x" * 10)
    lock = hub_cache() / ".locks/models--me--some/etag.lock"
    lock.parent.mkdir(parents=True)
    with ours.open("rb") as held, lock.open("w") as theirs_held:
        fcntl.flock(held, fcntl.LOCK_EX)
        fcntl.flock(theirs_held, fcntl.LOCK_EX)
        left = leftovers()
        assert [(one.place, one.size, one.busy) for one in left] == [
            ("deepseek-tui", 100, True), ("Hugging Face", 10, True),
        ]  # fmt: skip
        for one in left:
            with pytest.raises(Problem, match="being fetched"):
                discard(one)
    assert [discard(one) for one in leftovers()] == [100, 10]
    assert everything(models()) == set()
    assert leftovers() == ()


def job_into(folder: Path, state: State) -> Job:
    spec = JobSpec("pull", str(folder / "m.gguf"), "Some model", {"folder": str(folder)})
    return Job(spec, Progress(state, done_bytes=100, total_bytes=200))


def part_of(name: str) -> Path:
    part = models() / "me/some" / f"{name}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(b"x" * 100)
    return part


def test_the_whole_parts_of_a_split_model_stay_while_the_next_one_is_fetched() -> None:
    part = part_of("m-00001-of-00002.gguf")
    (before,) = leftovers()
    job = job_into(part.parent, "running")
    (left,) = leftovers()
    assert left.busy
    for one in (left, before):  # also where it was begun after the list was made
        with pytest.raises(Problem, match="being fetched"):
            discard(one)
    assert part.exists()
    job.let_go()
    assert [one.busy for one in leftovers()] == [False]


def test_a_download_of_another_program_that_began_meanwhile_keeps_its_part() -> None:
    theirs = hub_cache() / "models--me--some/blobs/etag.incomplete"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"x" * 10)
    (left,) = leftovers()
    lock = hub_cache() / ".locks/models--me--some/etag.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Problem, match="being fetched"):
            discard(left)
    assert theirs.exists()


def test_nobody_is_told_of_a_fetch_whose_last_part_was_discarded() -> None:
    one, other = part_of("m.gguf"), part_of("other.gguf")
    job = job_into(one.parent, "stopped")
    discard(next(left for left in leftovers() if left.path == one))
    assert launch.view(job.key) is not None
    discard(next(left for left in leftovers() if left.path == other))
    assert launch.view(job.key) is None
