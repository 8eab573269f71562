"""`pull` of what a server of Ollama's fetches: for a preset on that backend, and by its tag."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli_w

from backends.jobs import launch
from presets.catalog import find, load_catalog
from presets.pulling import job_key, keys, wanted
from tests.backends.fake_ollama import FakeModel, FakeOllama
from tests.backends.watching import until
from tests.tui.commands.in_process import runner

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Start

TAG = "deepseek-r1:7b"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command within this process; what it begins is a process of its own all the same."""
    return runner(monkeypatch, capfd, tmp_path)


@pytest.fixture
def server(home: Path) -> Iterator[FakeOllama]:
    """A server that can fetch one model, and a preset for that."""
    with FakeOllama() as server:
        server.library[TAG] = (2_000_000, 300)
        write(home, server.url)
        yield server
        for one in launch.survey():
            assert launch.stop(one.key, force=True)


def write(home: Path, host: str) -> None:
    (home / "config/presets").mkdir(parents=True, exist_ok=True)
    table = {
        "title": "Served",
        "backend": "ollama",
        "model": {"family": "deepseek-r1", "quantization": "Q4_K_M"},
        "backends": {"ollama": {"source": f"ollama:{TAG}", "host": host}},
    }
    (home / "config/presets/served.toml").write_text(tomli_w.dumps(table))


def key() -> str:
    source = wanted(find(load_catalog(), "served"), "ollama")
    assert source is not None
    return job_key(source)


def fetching() -> None:
    until(key(), lambda view: view.progress.done_bytes >= 50_000)


def test_a_preset_s_model_is_fetched_by_its_server(run: Run, server: FakeOllama) -> None:
    ran = run("pull", "served")
    assert ran.status == 0, ran.err
    first, second, last = ran.out.splitlines()
    assert first == f"Served: ollama:{TAG}"
    assert second == f"  fetched and kept by Ollama at {server.host}; how large it is, it says when it begins"
    assert last == f"Served: Ollama at {server.host} has {TAG}."
    assert TAG in server.models
    again = run("pull", "served")
    assert again.status == 0
    assert again.out == f"Served is there already: Ollama at {server.host} has {TAG}.\n"
    assert len(server.bodies("/api/pull")) == 1


def test_as_json_what_is_not_known_before_is_null(run: Run, server: FakeOllama) -> None:
    told = [json.loads(line) for line in run("pull", "served", "--json").out.splitlines()]
    assert [one["event"] for one in told if one["event"] != "progress"] == ["plan", "begun", "done"]
    assert (told[0]["size_bytes"], told[0]["server"], told[-1]["path"]) == (None, server.host, None)
    (here,) = [json.loads(line) for line in run("pull", "served", "--json").out.splitlines()]
    assert (here["event"], here["server"]) == ("here", server.host)


def test_a_tag_is_fetched_without_a_preset(
    run: Run, server: FakeOllama, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.host)
    assert run("pull", f"ollama:{TAG}").status == 0
    assert TAG in server.models
    ran = run("pull", "ollama:nothing:1b")
    assert ran.status == 1
    assert "There is no model called nothing:1b in Ollama's library" in ran.err


def test_what_is_under_way_is_joined_listed_and_stopped(run: Run, start: Start, server: FakeOllama) -> None:
    server.layer_s = 0.3
    assert "It comes in the background." in run("pull", "served", "--detach").out
    fetching()
    (job,) = json.loads(run("ps", "--json").out)["jobs"]
    assert (job["kind"], job["key"]) == ("ollama_pull", key())
    assert "Served is being fetched already." in run("pull", "served", "--detach").out
    ran = run("pull", "--stop", "served")
    assert re.search(r"Served: stopped\. [\d.]+ of 2\.0 MB are here and stay", ran.out)
    server.layer_s = 0.0
    assert run("pull", "served").status == 0


def test_stop_knows_it_by_the_preset_s_name(run: Run, server: FakeOllama) -> None:
    server.layer_s = 0.3
    run("pull", "served", "--detach")
    fetching()
    assert keys(find(load_catalog(), "served")) == (key(),)
    assert run("stop", "served").status == 0
    view = launch.view(key())
    assert view is not None
    assert view.state == "stopped"


def test_all_takes_what_its_server_has_not(run: Run, server: FakeOllama, home: Path) -> None:
    for entry in load_catalog().entries:
        if entry.name not in {"served", "starter"}:
            text = 'title = "x"\nbackend = "echo"\n[model]\nfamily = "e"\nquantization = "n"\n[backends.echo]\n'
            (home / f"config/presets/{entry.name}.toml").write_text(f'{text}source = "server:x"\n')
    assert run("pull", "--all").status == 0
    assert TAG in server.models


def test_a_server_that_is_not_there_is_told_with_how_to_start_it_and_no_job_begins(run: Run, home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        write(home, f"http://127.0.0.1:{free.getsockname()[1]}")
    ran = run("pull", "served")
    assert ran.status == 1
    assert "does not answer" in ran.err
    assert "ollama serve" in ran.err
    assert launch.survey() == []


def test_a_server_elsewhere_has_to_be_confirmed_first(run: Run, home: Path) -> None:
    write(home, "http://ollama.example:11434")
    ran = run("pull", "served")
    assert ran.status == 1
    assert "deepseek-tui origins add http://ollama.example:11434" in ran.err


def test_a_model_that_the_server_has_is_not_fetched_anew(run: Run, server: FakeOllama) -> None:
    server.models[TAG] = FakeModel()
    assert run("pull", "served").status == 0
    assert server.bodies("/api/pull") == []
