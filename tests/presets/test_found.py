"""Models that other programs fetched are found where those keep them, each once, and told apart by their headers."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import ollama_store as store
from backends.ollama_store import stored_models, tag_of
from presets import found as found_module
from presets import found_places
from presets.catalog import find, load_catalog
from presets.found import Found, choose, find_models, is_model, match
from presets.found_headers import Headers
from presets.schema import PresetEntry
from tests.gguf_files import LLAMA_8B, QWEN_1_5B, QWEN_14B, Model
from tests.models_here import COMMIT, LATER, gguf, in_hub_cache, in_lm_studio, in_ollama, manifest, user

REPO = "bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF"
FILE = "DeepSeek-R1-Distill-Qwen-14B-Q3_K_S.gguf"


def preset(name: str) -> PresetEntry:
    return find(load_catalog(), name)


def named() -> dict[str, Found]:
    return {f"{one.place}: {one.name}": one for one in find_models().found}


def test_every_program_is_looked_into_and_each_model_told_by_its_header(tmp_path: Path) -> None:
    link = in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
    blob = in_ollama("deepseek-r1:8b", LLAMA_8B)
    studio = in_lm_studio("lmstudio-community/R1-GGUF/r1.gguf", QWEN_1_5B)
    cached = gguf(user() / ".cache/llama.cpp/me_some_m.gguf", QWEN_1_5B, "Q8_0")
    ours = gguf(Path(os.environ["DEEPSEEK_TUI_HOME"]) / "data/models/me/some@v1/deep/m.gguf", QWEN_1_5B, "Q6_K")
    other = gguf(tmp_path / "shelf/below/m.gguf", QWEN_1_5B, "F16")
    search = find_models([tmp_path / "shelf", tmp_path / "no such folder"])
    assert search.troubles == ()
    assert [(one.place, one.name, one.path, one.quantization) for one in search.found] == [
        ("deepseek-tui", "me/some@v1/deep/m.gguf", ours, "Q6_K"),
        ("Hugging Face", f"{REPO}/{FILE}", link, "Q3_K_S"),
        ("LM Studio", "lmstudio-community/R1-GGUF/r1.gguf", studio, "Q4_K_M"),
        ("llama.cpp", "me_some_m.gguf", cached, "Q8_0"),
        ("folder", "below/m.gguf", other, "F16"),
        ("Ollama", "deepseek-r1:8b", blob, "Q4_K_M"),
    ]
    hub = search.found[1]
    assert (hub.family, hub.architecture, hub.layers) == ("DeepSeek R1 Distill Qwen 14B", "qwen2", 48)
    assert hub.size == link.stat().st_size
    assert (search.found[0].repository, search.found[0].file) == ("me/some", "deep/m.gguf")


def test_a_preset_finds_its_very_model_and_no_other(tmp_path: Path) -> None:
    in_ollama("deepseek-r1:14b", QWEN_14B, "Q4_K_M")
    wanted = preset("14b-q3_k_s-offload")
    assert match(wanted, find_models().found) is None
    studio = in_lm_studio("a/b/some name.gguf", QWEN_14B, "Q3_K_S")
    found = match(wanted, find_models().found)
    assert found is not None
    assert found.path == studio
    assert match(preset("8b-q4_k_m"), find_models().found) is None
    assert match(preset("exl2-14b-3.5bpw"), find_models().found) is None


def test_a_base_model_in_the_same_shape_is_not_its_distill() -> None:
    base = Model("Qwen2.5 14B Instruct", "qwen2", 48, 5120, 13_824, 40, 8, 152_064)
    in_lm_studio("a/b/c.gguf", base, "Q3_K_S")
    named_so = Model("DeepSeek R1 Distill Qwen 14B", "qwen2", 28, 1536, 8960, 12, 2, 151_936)
    in_lm_studio("a/b/d.gguf", named_so, "Q3_K_S")
    assert match(preset("14b-q3_k_s-offload"), find_models().found) is None


def test_the_same_file_is_known_by_its_name_and_the_size_that_hugging_face_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unnamed = Model("models", "qwen2", 48, 5120, 13_824, 40, 8, 152_064)
    studio = in_lm_studio(f"other/mirror/{FILE}", unnamed, "Q3_K_S")
    wanted, here = preset("14b-q3_k_s-offload"), find_models().found
    assert match(wanted, here) is None
    size = studio.stat().st_size
    monkeypatch.setattr(found_module, "_published_size", lambda _: size)
    assert match(wanted, here) == here[0]
    monkeypatch.setattr(found_module, "_published_size", lambda _: size + 1)
    assert match(wanted, here) is None


def test_snapshots_and_hard_links_of_one_file_count_once() -> None:
    link = in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
    in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S", commit=LATER)
    copy = user() / ".lmstudio/models/a/b/c.gguf"
    copy.parent.mkdir(parents=True)
    os.link(link.resolve(), copy)
    (one,) = find_models().found
    assert one.place == "Hugging Face"
    assert one.also == ("LM Studio: a/b/c.gguf",)
    assert len(one.paths) == 3
    assert COMMIT in str(one.path)


def test_parts_are_one_model_and_a_missing_one_is_a_problem(tmp_path: Path) -> None:
    from tests.backends.test_gguf_split import split

    folder = user() / ".lmstudio/models/a/b"
    folder.mkdir(parents=True)
    parts = split(folder)
    (one,) = find_models().found
    assert (one.path, one.problem) == (parts[0], "")
    assert one.size == sum(part.stat().st_size for part in parts)
    parts[1].unlink()
    (one,) = find_models().found
    assert "part" in one.problem
    parts[0].unlink()
    (one,) = find_models().found
    assert one.problem


def test_what_is_no_model_is_listed_with_its_problem_and_never_offered() -> None:
    folder = user() / ".lmstudio/models/a/b"
    folder.mkdir(parents=True)
    (folder / "empty.gguf").touch()
    (folder / "text.gguf").write_text("GGUF? no")
    (folder / "readme.md").write_text("no model")
    (folder / "half.gguf.part").write_text("GGUF")
    os.mkfifo(folder / "pipe.gguf")
    (folder / "gone.gguf").symlink_to("/nowhere")
    cut = gguf(folder / FILE, QWEN_14B, "Q3_K_S")
    os.truncate(cut, cut.stat().st_size - 1)
    found = find_models().found
    assert [Path(one.name).name for one in found] == [FILE, "empty.gguf", "text.gguf"]
    assert all(one.problem and one.problem.isprintable() for one in found)
    assert match(preset("14b-q3_k_s-offload"), found) is None


def test_hostile_names_are_printable_and_their_files_can_be_opened() -> None:
    name = "a\x1b[31m/b\u202e/c\n.gguf"
    in_lm_studio(name, QWEN_1_5B)
    raw = os.fsencode(user() / ".lmstudio/models/a\x1b[31m/b\u202e") + b"/\xff\xfe.gguf"
    os.link(user() / ".lmstudio/models" / name, raw)
    for _ in range(2):  # read, then remembered
        (one,) = find_models().found
        assert all(text.isprintable() for text in (one.name, one.repository, one.file, *one.also))
        assert one.path.is_file()
        assert one.family


def test_what_was_read_is_not_read_again_until_the_file_changes() -> None:
    path = in_lm_studio("a/b/c.gguf", QWEN_1_5B)
    assert find_models().found[0].problem == ""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"XXXX")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_models().found[0].problem == ""
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert "not a GGUF" in find_models().found[0].problem


def test_a_damaged_memory_of_headers_is_no_harm(home: Path) -> None:
    in_lm_studio("a/b/c.gguf", QWEN_1_5B)
    kept = home / "cache/found.json"
    kept.parent.mkdir(parents=True)
    for content in (b"", b"{", b'{"a": 3}', b"[" * 100_000, b"\xff"):
        kept.write_bytes(content)
        assert find_models().found[0].quantization == "Q4_K_M"
    (kept.parent / "found.json").unlink()
    kept.mkdir()
    assert find_models().found[0].quantization == "Q4_K_M"


def test_a_place_that_hangs_is_named_and_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    in_ollama("deepseek-r1:8b", LLAMA_8B)
    let_go, original = threading.Event(), found_places.seen

    def hanging(root: found_places.Root, walk: found_places.Walk) -> object:
        if root.place == "LM Studio":
            let_go.wait(20)
        return original(root, walk)

    monkeypatch.setattr(found_module, "seen", hanging)
    started = time.monotonic()
    search = find_models(patience_s=0.5)
    assert time.monotonic() - started < 3
    let_go.set()
    assert [one.name for one in search.found] == ["deepseek-r1:8b"]
    assert any("LM Studio: ~/.lmstudio/models has not answered" in trouble for trouble in search.troubles)


def test_loops_depth_and_numbers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = tmp_path / "shelf"
    gguf(shelf / "a/m.gguf", QWEN_1_5B)
    (shelf / "a/loop").symlink_to(shelf)
    gguf(shelf / "deeply/buried/below/many/other/folders/of/any/name/m.gguf", QWEN_1_5B)
    search = find_models([shelf])
    assert [one.name for one in search.found] == ["a/m.gguf"]
    monkeypatch.setattr(found_places, "MAX_FILES", 2)
    for number in range(4):
        os.link(shelf / "a/m.gguf", shelf / f"{number}.gguf")
    search = find_models([shelf])
    assert len(search.found[0].paths) == 2
    assert search.troubles == (f"folder: there is more in {shelf} than could be looked at.",)


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_lm_studio("a/b/c.gguf", QWEN_1_5B)
    original = os.scandir

    def refusing(path: str | Path) -> object:
        if str(path) == str(tmp_path / "shelf") or str(path).endswith("manifests"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    (tmp_path / "shelf").mkdir()
    monkeypatch.setattr(os, "scandir", refusing)
    search = find_models([tmp_path / "shelf"])
    assert len(search.found) == 1
    assert f"folder: {tmp_path}/shelf cannot be read: Permission denied." in search.troubles
    ollamas = "Ollama: ~/.ollama/models cannot be read: Permission denied. Being in the group ollama helps."
    assert ollamas in search.troubles


def test_what_may_not_be_read_now_may_be_later(monkeypatch: pytest.MonkeyPatch) -> None:
    in_lm_studio("a/b/c.gguf", QWEN_1_5B)
    original = os.open

    def refusing(path: str | Path, *arguments: int) -> int:
        if str(path).endswith("c.gguf"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        assert "Permission denied" in find_models().found[0].problem
    assert find_models().found[0].problem == ""


def test_lm_studio_is_followed_to_where_it_was_moved(tmp_path: Path) -> None:
    moved, downloads = tmp_path / "moved", tmp_path / "downloads"
    gguf(moved / "models/a/b/moved.gguf", QWEN_1_5B)
    gguf(downloads / "a/b/chosen.gguf", QWEN_1_5B, "Q8_0")
    (user() / ".lmstudio-home-pointer").write_text(f"{moved}\n")
    (moved / "settings.json").write_text(json.dumps({"downloadsFolder": str(downloads)}))
    assert sorted(one.name for one in find_models().found) == ["a/b/chosen.gguf", "a/b/moved.gguf"]
    for content in ("[]", "{", '{"downloadsFolder": 3}', '{"downloadsFolder": "../x"}'):
        (moved / "settings.json").write_text(content)
        assert [one.name for one in find_models().found] == ["a/b/moved.gguf"]


class TestOllamasStore:
    def test_names_are_as_short_as_ollama_shows_them(self) -> None:
        assert tag_of(("registry.ollama.ai", "library", "deepseek-r1", "8b")) == "deepseek-r1:8b"
        assert tag_of(("registry.ollama.ai", "me", "mine", "latest")) == "me/mine:latest"
        assert tag_of(("hf.co", "bartowski", "R1-GGUF", "Q4_K_M")) == "hf.co/bartowski/R1-GGUF:Q4_K_M"
        assert tag_of(("hf.co", "bartowski", "R1-GGUF")) == ""
        assert tag_of(("registry.ollama.ai", "library", "..", "x")) == ""
        assert tag_of(("registry.ollama.ai", "lib rary", "x", "x")) == ""

    def test_damaged_and_strange_manifests_are_passed_over(self) -> None:
        here = user() / ".ollama/models"
        in_ollama("good:1b", QWEN_1_5B)
        in_ollama("no-weights-there:1b")
        layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{'a' * 64}", "size": 1}
        for name, content in {
            "empty": "", "text": "no json", "list": [], "deep": "[" * 100_000, "cloud": {"layers": None},
            "outside": {"layers": [{**layer, "digest": "sha256:../../../../etc/passwd"}]},
            "parts": {"layers": [layer, {**layer, "digest": f"sha256:{'b' * 64}"}]},
            "number": {"layers": [{**layer, "size": "many"}]},
        }.items():  # fmt: skip
            manifest(here, f"registry.ollama.ai/library/{name}/latest", content)
        manifest(here, "registry.ollama.ai/library/too-short", {"layers": [layer]})
        manifest(here, "registry.ollama.ai/library/a/b/too-long", {"layers": [layer]})
        assert [model.tag for model in stored_models(here)] == ["good:1b", "no-weights-there:1b"]
        assert list(named()) == ["Ollama: good:1b"]

    def test_the_server_of_ollama_models_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
        assert store.stores()[0] == tmp_path / "store"
        blob = in_ollama("mine:1b", QWEN_1_5B, store=tmp_path / "store")
        assert named()["Ollama: mine:1b"].path == blob

    def test_what_no_model_uses_is_counted_unless_a_manifest_cannot_be_read(self) -> None:
        here = user() / ".ollama/models"
        blob = in_ollama("good:1b", QWEN_1_5B)
        assert store.unused_bytes(here) == 0
        (here / "blobs/sha256-left-partial-3").write_bytes(b"x" * 30)
        (here / "blobs" / f"sha256-{'d' * 64}").write_bytes(b"x" * 1000)
        assert store.unused_bytes(here) == 1030
        in_ollama("damaged:1b")
        manifest(here, "registry.ollama.ai/library/damaged/1b", "{")
        assert store.unused_bytes(here) == 0
        assert blob.exists()
        assert store.unused_bytes(here / "nothing") == 0

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(content=st.binary(max_size=200) | st.from_type(int | str | None).map(lambda v: json.dumps(v).encode()))
    def test_no_manifest_breaks_the_look(self, content: bytes, tmp_path: Path) -> None:
        path = manifest(tmp_path, "registry.ollama.ai/library/x/latest", "")
        path.write_bytes(content)
        assert list(stored_models(tmp_path)) == []


def test_a_model_is_chosen_by_its_name_its_path_or_the_end_of_its_name() -> None:
    in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
    in_ollama("deepseek-r1:8b", LLAMA_8B)
    found = find_models().found
    hub, ollama = found
    assert choose("deepseek-r1:8b", found) == ollama
    assert choose(FILE.lower(), found) == hub
    assert choose(FILE.removesuffix(".gguf"), found) == hub
    assert choose(str(hub.path), found) == hub
    assert choose("gguf", found) is None
    assert choose("", found) is None


def test_a_file_that_lies_here_is_nearer_than_one_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = in_lm_studio("a/b/c.gguf", QWEN_1_5B)
    gguf(tmp_path / "c.gguf", QWEN_1_5B, "Q8_0")
    found = find_models().found
    monkeypatch.chdir(tmp_path)
    assert choose("c.gguf", found) is None
    assert choose("c", found) == choose("b/c.gguf", found) == found[0]
    monkeypatch.chdir(kept.parent)
    assert choose("c.gguf", found) == choose("../b/c.gguf", found) == found[0]


def test_a_header_without_a_quantisation_is_no_match() -> None:
    assert not is_model(Found("folder", "x", Path("/x"), 1, family="echo"), "echo", "")
    assert is_model(Found("folder", "x", Path("/x"), 1, family="E-c h", quantization="q8_0"), "owner/ECH", "Q8_0")


def test_a_hundred_remembered_files_are_listed_in_no_time(tmp_path: Path) -> None:
    first = gguf(tmp_path / "shelf/m.gguf", QWEN_1_5B)
    with first.open("rb") as opened:
        content = opened.read(4096)
    for number in range(100):
        (tmp_path / f"shelf/{number}.gguf").write_bytes(content)
    assert len(find_models([tmp_path / "shelf"]).found) == 101
    started = time.monotonic()
    assert len(find_models([tmp_path / "shelf"]).found) == 101
    assert time.monotonic() - started < 1
    assert Headers().facts(first).quantization == "Q4_K_M"
