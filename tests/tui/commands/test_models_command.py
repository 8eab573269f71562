"""`models`: whose models there are, what uses them, and what `models remove` does and refuses to do."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from backends.errors import Problem
from presets import housekeeping
from presets.found import Found
from presets.housekeeping import Removed
from presets.sources import models
from tests.gguf_files import LLAMA_8B, QWEN_1_5B, QWEN_14B
from tests.models_here import gguf, in_hub_cache, in_lm_studio, in_ollama
from tests.tui.commands.conftest import COMMAND
from tests.tui.commands.in_process import runner

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Start, Write

REPO = "bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF"
FILE = "DeepSeek-R1-Distill-Qwen-14B-Q3_K_S.gguf"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    return runner(monkeypatch, capsys, tmp_path)


def test_the_list_says_whose_each_is_how_large_and_what_uses_it(run: Run, home: Path, tmp_path: Path) -> None:
    in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
    in_ollama("deepseek-r1:8b", LLAMA_8B)
    gguf(tmp_path / "shelf/m.gguf", QWEN_1_5B)
    (home / "config").mkdir()
    (home / "config/config.toml").write_text(f'model_folders = ["{tmp_path}/shelf"]\n')
    ran = run("models")
    head, *rows = ran.out.splitlines()
    assert head.split() == ["PLACE", "MODEL", "SIZE", "USED", "BY"]
    assert rows[0].split("  ")[0] == "Hugging Face"
    assert "6.7 GB" in rows[0]
    assert rows[0].endswith("14b-q3_k_s-offload")
    assert rows[1].startswith("folder")
    assert rows[2].startswith("Ollama        deepseek-r1:8b")
    assert rows[3].startswith("3 models, ")
    assert any(row.startswith("Free under ") for row in rows)
    assert run("models", "list").out == ran.out


def test_the_list_as_json(run: Run) -> None:
    in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
    studio = in_lm_studio("a/b/\x1b[31m.gguf", QWEN_1_5B)
    part = models() / "me/some/m.gguf.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 5)
    ran = run("models", "--json")
    assert "\x1b" not in ran.out
    said = ran.json
    hub, other = said["models"]
    assert (hub["place"], hub["name"], hub["presets"]) == ("Hugging Face", f"{REPO}/{FILE}", ["14b-q3_k_s-offload"])
    assert (hub["loaded"], hub["removable"], hub["problem"]) == (False, True, "")
    assert (hub["family"], hub["quantization"]) == ("DeepSeek R1 Distill Qwen 14B", "Q3_K_S")
    assert (other["place"], other["removable"], other["presets"]) == ("LM Studio", False, [])
    assert other["file"] == str(studio)
    assert said["total_bytes"] == hub["size_bytes"] + other["size_bytes"]
    assert said["unfinished"] == [{"place": "deepseek-tui", "file": str(part), "size_bytes": 5, "busy": False}]
    assert said["unused_by_ollama_bytes"] == 0
    assert said["disks"][0]["free_bytes"] > 0
    assert said["troubles"] == []


def test_what_ollama_keeps_for_no_model_is_said(run: Run) -> None:
    blob = in_ollama("deepseek-r1:8b", LLAMA_8B)
    (blob.parent / f"sha256-{'d' * 64}").write_bytes(b"x" * 60_000_000)
    assert "Of no model: 60 MB in ~/.ollama/models; Ollama removes that when it is started." in run("models").out


def test_without_any_model_that_is_said(run: Run) -> None:
    ran = run("models")
    assert ran.status == 0
    assert "No model was found" in ran.out


def test_a_model_is_removed_by_name_end_of_name_path_or_preset(run: Run) -> None:
    for how in (f"{REPO}/{FILE}", FILE.lower(), "path", "14b-q3_k_s-offload"):
        link = in_hub_cache(REPO, FILE, QWEN_14B, "Q3_K_S")
        ran = run("models", "remove", str(link) if how == "path" else how, "--yes")
        assert ran.status == 0, ran.err
        assert ran.out == f"Removed: {REPO}/{FILE}, 6.7 GB freed.\n"
        assert "without it these presets cannot run: 14b-q3_k_s-offload" in ran.err
        assert not link.parents[2].exists()


def test_nobody_is_asked_without_a_terminal_and_json_says_what_went(run: Run) -> None:
    path = gguf(models() / "me/some/m.gguf", QWEN_1_5B)
    assert run("models", "remove", "me/some/m.gguf").status == 2
    assert path.exists()
    size = path.stat().st_size
    assert run("models", "remove", "m.gguf", "-y", "--json").json == {
        "removed": [{"name": "me/some/m.gguf", "files": [str(path)], "freed_bytes": size}]
    }
    assert run("models", "remove").status == 2
    assert run("models", "remove", "x", "--unfinished").status == 2


def test_a_person_is_asked_and_may_refuse(home: Path) -> None:
    path = gguf(models() / "me/some/m.gguf", QWEN_1_5B)
    for said, status, stays in (("n", 130, True), ("y", 0, False)):
        child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "models", "remove", "m.gguf"], encoding="utf-8", timeout=20)
        child.expect("deepseek-tui: me/some/m.gguf, 1.1 GB; no preset uses it")
        child.expect(r"Remove it \(1.1 GB\)\? \[y/N\] ")
        child.sendline(said)
        child.expect(pexpect.EOF)
        child.close()
        assert (child.exitstatus, path.exists()) == (status, stays)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("deepseek-r1:8b", "ollama rm deepseek-r1:8b"),
        ("c.gguf", "under My Models"),
        ("gguf", "could be several models"),
        ("8b-q4_k_m", "has no model on this machine"),
        ("no\x1b[31mthing", "There is no model called no\\x1b[31mthing"),
        ("", "There is no model called"),
        ("~nobody-of-this-name/m.gguf", "There is no model called ~nobody"),
    ],
)
def test_what_is_not_removed_and_why(run: Run, name: str, said: str) -> None:
    blob, studio = in_ollama("deepseek-r1:8b", LLAMA_8B), in_lm_studio("a/b/c.gguf", QWEN_1_5B)
    in_lm_studio("a/b/d.gguf", QWEN_1_5B, "Q8_0")
    ran = run("models", "remove", name, "--yes")
    assert ran.status == 1
    assert said in ran.err
    assert blob.exists()
    assert studio.exists()


def test_one_that_may_not_go_keeps_the_others_too(run: Run) -> None:
    in_ollama("deepseek-r1:8b", LLAMA_8B)
    path = gguf(models() / "me/some/m.gguf", QWEN_1_5B)
    assert run("models", "remove", "m.gguf", "deepseek-r1:8b", "--yes").status == 1
    assert path.exists()


def test_what_went_is_told_where_the_next_one_cannot_go(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf(models() / "me/one/m.gguf", QWEN_1_5B)
    gguf(models() / "me/two/n.gguf", QWEN_1_5B)
    remove = housekeeping.remove

    def only_the_first(one: Found) -> Removed:
        if one.name.startswith("me/two"):
            raise Problem("It cannot be removed")
        return remove(one)

    monkeypatch.setattr(housekeeping, "remove", only_the_first)
    ran = run("models", "remove", "m.gguf", "n.gguf", "--yes")
    assert ran.status == 1
    assert ran.out.startswith("Removed: me/one/m.gguf")


def test_what_is_loaded_stays(
    run: Run, start: Start, preset: Write, home: Path, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    path = gguf(models() / "me/some/m.gguf", QWEN_1_5B)
    file = preset("slow", keep_alive_s=30, tokens_per_second=5)
    file.write_text(file.read_text().replace("server:slow", f"file:{path}"))
    asking = start("ask", "-p", "slow", "--no-save", "hello")
    wait_until(lambda: [one for one in run("models", "--json").json["models"] if one["loaded"]])
    ran = run("models", "remove", "m.gguf", "--yes")
    assert ran.status == 1
    assert "me/some/m.gguf is loaded" in ran.err
    assert path.exists()
    run("stop", "--force")
    asking.communicate(timeout=20)
    assert run("models", "remove", "m.gguf", "--yes").status == 0


def test_where_a_job_is_writing_nothing_is_removed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.jobs import launch
    from backends.jobs.job import JobSpec, JobView, Progress

    path = gguf(models() / "me/some/m.gguf", QWEN_1_5B)
    spec = JobSpec("pull", str(path), "Some model", {"folder": str(models() / "me/some")})
    view = JobView("k", path, 1, spec, Progress(updated_at=time.time()), "running")
    monkeypatch.setattr(launch, "survey", lambda: [view])
    ran = run("models", "remove", "m.gguf", "--yes")
    assert ran.status == 1
    assert "Some model is being fetched into that folder" in ran.err
    assert path.exists()
    (path.parent / "config.json").write_text("{}")
    (path.parent / "model.safetensors").write_bytes(b"x")
    assert "Some model is being fetched" in run("models", "remove", "me/some", "--yes").err


def test_what_broken_downloads_left_is_removed(run: Run) -> None:
    assert "left anything" in run("models", "remove", "--unfinished", "--yes").out
    part = models() / "me/some/m.gguf.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 60_000_000)
    assert "Unfinished downloads: 1, 60 MB" in run("models").out
    with part.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        listed = run("models").out
        assert "Being fetched: 60 MB so far" in listed
        assert "Unfinished" not in listed
        assert "left anything" in run("models", "remove", "--unfinished", "--yes").out
    assert run("models", "remove", "--unfinished").status == 2
    assert json.loads(run("models", "remove", "--unfinished", "-y", "--json").out) == {
        "removed": [{"file": str(part), "freed_bytes": 60_000_000}]
    }
    assert not part.parent.exists()
