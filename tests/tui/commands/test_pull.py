"""`pull`: what is said before, while and after a model comes; leaving, coming back, stopping; from a hub of our own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest
import tomli_w

from backends.jobs import launch
from presets.pulling import job_key
from presets.sources import HuggingFace, models
from tests.backends.fake_hub import FakeHub, HubHandler, go_online
from tests.backends.watching import ended, until
from tests.gguf_files import Model, sparse_model
from tests.tui.commands.in_process import runner
from tui.commands import pull, pull_words

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Start

MODELS = {
    "small": Model("Small", "qwen2", 4, 256, 512, 4, 2, 8192),
    "other": Model("Other", "qwen2", 2, 256, 512, 4, 2, 8192),
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command within this process; what it begins is a process of its own all the same."""
    return runner(monkeypatch, capfd, tmp_path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Iterator[FakeHub]:
    """A hub with two models of some megabytes, and a preset for each of them."""
    with FakeHub() as hub:
        go_online(monkeypatch, hub.root)
        (home / "config/presets").mkdir(parents=True)
        for name, model in MODELS.items():
            file = hub.add(sparse_model(tmp_path / f"{name}.gguf", model, small_vocabulary=True))
            with file.open("rb") as opened:
                hub.hashes[f"me/some/{name}.gguf"] = hashlib.file_digest(opened, "sha256").hexdigest()
            table = {
                "title": name.capitalize(),
                "backend": "llama_cpp",
                "model": {"family": model.name, "quantization": "Q4_K_M"},
                "backends": {
                    "llama_cpp": {"source": f"hf:me/some/{name}.gguf"},
                    "ollama": {"source": "ollama:tiny"},
                },
            }
            (home / f"config/presets/{name}.toml").write_text(tomli_w.dumps(table))
        yield hub
        for one in launch.survey():
            assert launch.stop(one.key, force=True)


@pytest.fixture
def slow(hub: FakeHub) -> FakeHub:
    """The hub sends so slowly that a model takes many seconds, but its header none."""

    def slowly(handler: HubHandler, *_: object) -> bool:
        whole = handler.headers.get("range", "").endswith("-")
        hub.bytes_per_s = size(hub) / 20 if whole else None
        return False

    hub.fault = slowly
    return hub


def size(hub: FakeHub, name: str = "small") -> int:
    return hub.files[f"me/some/{name}.gguf"].stat().st_size


def place(name: str = "small") -> Path:
    return models() / "me/some" / f"{name}.gguf"


def key(name: str = "small") -> str:
    return job_key(HuggingFace("me", "some", f"{name}.gguf"))


def fetching(name: str = "small") -> launch.JobView:
    """Wait until bytes of a model have come."""
    return until(key(name), lambda view: view.progress.done_bytes >= 50_000)


def test_a_preset_s_model_comes_and_what_it_will_be_is_said_before(run: Run, hub: FakeHub) -> None:
    ran = run("pull", "small")
    assert (ran.status, place().stat().st_size) == (0, size(hub)), ran.err
    first, second, third, last = ran.out.splitlines()
    assert first == "Small: hf:me/some/small.gguf"
    assert re.fullmatch(
        rf"  {size(hub) / 1e6:.0f} MB from {hub.host} to .*/models/me/some, where [\d.]+ GB are free", second
    )
    assert third.startswith("  expected here: on the CPU · ")
    assert last == f"Small is here: {place()}   Verified."
    assert "Small · starting" in ran.err
    again = run("pull", "small")
    assert (again.status, again.out) == (0, f"Small is here already ({size(hub) / 1e6:.0f} MB): {place()}\n")


def test_a_home_that_is_named_from_here_is_the_same_for_the_job(
    run: Run, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEEPSEEK_TUI_HOME", "here")
    ran = run("pull", "hf:me/some/small.gguf")
    assert ran.status == 0, ran.err
    assert (tmp_path / "here/state/jobs/pull.turn").exists()


def test_as_json_every_line_is_an_object(run: Run, hub: FakeHub) -> None:
    ran = run("pull", "small", "--json")
    events = ran.events
    assert (ran.status, ran.err) == (0, "")
    assert [event["event"] for event in events if event["event"] != "progress"] == ["plan", "begun", "done"]
    plan, begun, *_, done = events
    assert (plan["size_bytes"], plan["path"], plan["server"]) == (size(hub), str(place()), hub.host)
    assert plan["free_bytes"] > 0
    assert begun["key"] == done["key"] == key()
    assert (done["path"], done["note"]) == (str(place()), "Verified.")
    assert {event["name"] for event in events} == {"small"}
    (here,) = run("pull", "small", "--json").events
    assert (here["event"], here["path"], here["size_bytes"]) == ("here", str(place()), size(hub))


def test_detached_it_goes_on_and_is_listed_and_ended(run: Run, slow: FakeHub) -> None:
    ran = run("pull", "small", "--detach")
    assert ran.status == 0
    assert "Watch it: deepseek-tui pull small   End it: deepseek-tui pull --stop small" in ran.out
    view = fetching()
    shown = run("ps")
    assert re.search(rf"{key()}  Small · [\d.]+ of {size(slow) / 1e6:.1f} MB · \d+ %.* · pid {view.pid}", shown.out)
    (job,) = run("ps", "--json").json["jobs"]
    assert (job["key"], job["kind"], job["title"], job["stage"]) == (key(), "pull", "Small", "fetching")
    assert (job["total_bytes"], job["target"], job["stopping"]) == (size(slow), str(place()), False)
    assert job["rss_bytes"] > 1_000_000
    ran = run("pull", "--stop", "small")
    assert ran.status == 0
    assert re.search(
        r"Small: stopped\. [\d.]+ of [\d.]+ MB are here and stay\. Go on: deepseek-tui pull small", ran.out
    )
    assert run("ps", "--json").json == {"hosts": [], "jobs": []}
    assert run("pull", "--stop", "small").out == "small is not being fetched.\n"
    assert not place().exists()
    here = place().with_name("small.gguf.part").stat().st_size
    slow.fault = lambda *_: False
    slow.bytes_per_s = None
    slow.parts.clear()
    assert run("pull", "small").status == 0
    assert (here, size(slow) - here) in slow.parts


def test_a_download_that_failed_while_nobody_watched_is_listed_until_it_is_begun_again(run: Run, hub: FakeHub) -> None:
    hub.hashes["me/some/small.gguf"] = "0" * 64
    assert run("pull", "small", "--detach").status == 0
    assert ended(key()).state == "failed"
    assert f"{key()}  Small · failed: What was fetched is not what was announced\n" in run("ps").out
    assert run("ps", "--json").json["jobs"] == []
    hub.hashes["me/some/small.gguf"] = ""
    assert run("pull", "small").status == 0
    assert run("ps").out == "No model is loaded.\n"


@pytest.mark.parametrize("name", ["key", "pid", "preset"])
def test_stop_ends_a_download_that_is_named_and_no_other(run: Run, slow: FakeHub, name: str) -> None:
    run("pull", "small", "--detach")
    view = fetching()
    assert run("stop").out == "No model is loaded.\n"
    assert run("stop", "other").out == "Not loaded: nothing to end.\n"
    assert "no preset is called" in run("stop", key()[:3]).err
    ran = run("stop", {"key": key()[:6], "pid": str(view.pid), "preset": "small"}[name])
    assert (ran.status, ran.out) == (0, f"Small (pid {view.pid}): ended\n")
    last = launch.view(key())
    assert last is not None
    assert last.state == "stopped"


def test_who_comes_second_watches_the_one_that_is_under_way(run: Run, start: Start, slow: FakeHub) -> None:
    first = start("pull", "small")
    view = fetching()
    second = start("pull", "small", "--json")
    assert second.stdout is not None
    assert json.loads(second.stdout.readline()) | {"pid": 0} == {
        "event": "attached",
        "name": "small",
        "key": key(),
        "pid": 0,
    }
    assert json.loads(second.stdout.readline())["event"] == "progress"
    assert run("pull", "--stop", "small").status == 0
    for process in (first, second):
        assert process.wait(5) == 130
    assert view.pid is not None
    assert "stopped" in json.loads(second.communicate()[0].splitlines()[-1])["title"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., pexpect.spawn]]:
    """`terminal("pull", "small")` runs a command in a terminal of 100 columns."""
    children: list[pexpect.spawn] = []

    def call(*arguments: str) -> pexpect.spawn:
        command = ["-P", "-m", "tui", *arguments]
        children.append(
            pexpect.spawn(
                sys.executable, command, cwd=str(tmp_path), timeout=15, encoding="utf-8", dimensions=(24, 100)
            )
        )
        return children[-1]

    yield call
    for child in children:
        child.close(force=True)


def test_ctrl_c_leaves_the_download_to_itself_and_says_how_to_end_it(
    terminal: Callable[..., pexpect.spawn], slow: FakeHub
) -> None:
    child = terminal("pull", "small")
    child.expect(r"Small · [\d.]+ of [\d.]+ MB · \d+ % · [\d.]+ [kM]B/s · \d+ s left")
    child.sendintr()
    child.expect("It goes on in the background. Watch it: deepseek-tui pull small")
    child.expect("End it; what is here stays: deepseek-tui pull --stop small")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130
    assert fetching().running


def test_ctrl_c_while_the_second_is_asked_for_tells_of_the_first(
    run: Run, slow: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pull_words.Words, "begun", lambda *_: monkeypatch.setattr(pull, "_size", interrupted))
    ran = run("pull", "small", "other")
    assert ran.status == 130
    assert "It goes on in the background. Watch it: deepseek-tui pull small\n" in ran.err
    assert fetching().running


def test_a_terminal_that_goes_away_takes_no_download_with_it(
    terminal: Callable[..., pexpect.spawn], slow: FakeHub
) -> None:
    child = terminal("pull", "small")
    fetching()
    child.kill(signal.SIGHUP)
    child.close(force=True)
    done = fetching().progress.done_bytes
    assert until(key(), lambda view: view.progress.done_bytes > done).running


def test_several_come_one_after_the_other_and_a_failure_does_not_end_the_others(run: Run, hub: FakeHub) -> None:
    hub.hashes["me/some/small.gguf"] = "0" * 64
    ran = run("pull", "small", "other")
    assert ran.status == 1
    assert "small: What was fetched is not what was announced" in ran.err
    assert place("other").exists()
    assert not place().exists()


def test_all_is_every_preset_whose_model_is_not_here(run: Run, hub: FakeHub) -> None:
    run("pull", "small")
    events = run("pull", "--all", "--json").events
    names = {event["name"] for event in events if event["event"] == "error"}
    # The hub has none of the built-in ones.
    assert names == {"8b-q4_k_m", "14b-q3_k_s-offload", "32b-mixed-ssd", "1.5b-q4_k_m"}
    assert {event["name"] for event in events if event["event"] == "done"} == {"other"}
    assert not any(event["name"] in {"small", "starter"} for event in events)


def test_a_source_needs_no_preset(run: Run, hub: FakeHub) -> None:
    ran = run("pull", "hf:me/some/small.gguf@v1")
    assert ran.status == 0
    assert (models() / "me/some@v1/small.gguf").exists()
    pinned = f"hf:me/some/other.gguf#sha256={'0' * 64}"
    ran = run("pull", pinned)
    assert ran.status == 1
    assert "another file than the one that is pinned" in ran.err


def test_a_model_folder_comes_too(run: Run, hub: FakeHub, tmp_path: Path) -> None:
    for name, content in {"config.json": b"{}", "a.safetensors": os.urandom(100_000), "README.md": b"no"}.items():
        hub.publish(name, content, tmp_path, "me/exl2")
    ran = run("pull", "hf:me/exl2@4.0bpw")
    assert ran.status == 0
    folder = models() / "me/exl2@4.0bpw"
    assert f"A model folder from {hub.host} to" in ran.out
    assert sorted(path.name for path in folder.iterdir()) == ["a.safetensors", "config.json"]


def test_the_modelfile_that_ollama_would_take_is_printed_and_nothing_fetched(run: Run, hub: FakeHub) -> None:
    ran = run("pull", "--print-modelfile", "starter")
    assert ran.status == 0
    assert ran.out.startswith("FROM ") or "\nFROM " in ran.out
    assert ran.out == run("presets", "show", "starter", "--modelfile").out
    assert hub.asked == []
    assert run("pull", "--print-modelfile", "8b-q4_k_m").status == 1


def test_what_cannot_be_fetched_says_what_to_do_instead(run: Run, hub: FakeHub) -> None:
    ran = run("pull", "exl2-8b-4.0bpw")
    assert ran.status == 1
    assert "is not fetched from Hugging Face" in ran.err
    assert run("pull", "starter").out.startswith("Starter 135M is here already (98 MB)")
    hub.files.clear()
    ran = run("pull", "small")
    assert ran.status == 1
    assert "has no file small.gguf" in ran.err
    assert launch.survey() == []


@pytest.mark.parametrize(
    "arguments", [[], ["--all", "small"], ["small", "--wait", "--detach"], ["small", "--stop", "--detach"]]
)
def test_wrong_usage_is_status_2(run: Run, arguments: list[str]) -> None:
    assert run("pull", *arguments).status == 2


def test_what_another_program_has_is_not_fetched_again_unless_it_is_wished(
    run: Run, hub: FakeHub, home: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "small.gguf").write_bytes(hub.files["me/some/small.gguf"].read_bytes())
    (home / "config/config.toml").write_text(f'model_folders = ["{mine}"]\n')
    run("plan", "small", "--fetch-headers", "--no-measure")  # so that its size is known
    ran = run("pull", "small")
    assert ran.status == 1
    assert "the same model is on this machine already" in ran.err
    assert str(mine / "small.gguf") in ran.err
    assert "deepseek-tui presets use small" in ran.err
    assert not place().exists()
    assert run("pull", "small", "--force").status == 0
    assert place().exists()


def test_a_hub_that_is_switched_off_or_away_is_told_at_once(
    run: Run, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ran = run("pull", "small")
    assert (ran.status, ran.out) == (1, "")
    assert "Hugging Face is switched off" in ran.err
    assert launch.survey() == []
