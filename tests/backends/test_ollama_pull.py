"""A model that an Ollama server fetches: told as it comes, stopped with the line, gone on with, each failure typed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Cancel, Cancelled
from backends.errors import BackendError, ModelNotFound, NewOrigin, ServerError, ServerUnreachable, Unauthorized
from backends.hub import patience
from backends.hub.failures import NoSpace
from backends.hub.patience import Patience
from backends.jobs import files, launch
from backends.jobs.job import JobSpec, Progress
from backends.jobs.report import Report
from backends.ollama import address, pull_failures, pulling
from backends.ollama.connection import Connection
from backends.ollama.wanted import KIND, OllamaPull, wanted
from tests.backends.fake_ollama import FakeOllama, Handler
from tests.backends.ollama_talk import serving
from tests.backends.watching import ended, until

TAG = "deepseek-r1:7b"
SIZES = (4_000_000, 300, 40)
WHOLE = sum(SIZES)
Fault = Callable[[Handler], None]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.setattr(patience, "FIRST_S", 0.3)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.1)
    for server in serving():
        server.library[TAG] = SIZES
        yield server
    for one in launch.survey():
        assert launch.stop(one.key, force=True)


class Told(Report):
    """Keeps what was told."""

    def __init__(self, folder: Path, cancel: Cancel) -> None:
        super().__init__(folder, cancel)
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.jumps: list[int] = []

    def stage(self, stage: str, note: str = "") -> None:
        if stage not in self.stages[-1:]:
            self.stages.append(stage)
        self.notes.append(note)
        super().stage(stage, note)

    def jump(self, done: int) -> None:
        self.jumps.append(done)
        super().jump(done)


@pytest.fixture
def told(tmp_path: Path, home: Path) -> Iterator[Told]:
    files.replace(tmp_path / files.PROGRESS, Progress())
    with Told(tmp_path, Cancel()) as report:
        yield report


def fetch(server: FakeOllama, told: Told, tag: str = TAG, patience_s: float = 1.0) -> Progress:
    """Have a model fetched within this process; return the last progress. Raises what the job's work raises."""
    pull = OllamaPull(server.url, tag, patience_s=patience_s)
    result = pulling.run(msgspec.to_builtins(pull), told, told._cancel)
    told.end("done", result=result)
    return files.read_progress(told._folder)


def spec(server: FakeOllama, tag: str = TAG) -> JobSpec:
    pull = wanted(tag, server.url)
    return JobSpec(KIND, pull.target, "R1 7B", msgspec.to_builtins(pull))


def given_up(server: FakeOllama) -> bool:
    """Wait until the server has noticed that nobody listens to its fetch."""
    deadline = time.monotonic() + 5
    while server.left != ["/api/pull"] and time.monotonic() < deadline:
        time.sleep(0.01)
    return server.left == ["/api/pull"]


def once(fault: Fault, path: str = "/api/pull") -> Callable[[Handler, str, Any], bool]:
    """Answer the first request for `path` with a fault."""
    seen: list[str] = []

    def answer(handler: Handler, where: str, _body: Any) -> bool:
        if where == path:
            seen.append(where)
        if where == path and len(seen) == 1:
            fault(handler)
            return True
        return False

    return answer


def says(*lines: Any) -> Fault:
    """A pull that says this, and then ends as if that were all."""

    def fault(handler: Handler) -> None:
        handler.begin()
        for line in lines:
            handler.data(line if isinstance(line, bytes) else msgspec.json.encode(line) + b"\n")
        handler.end()

    return fault


def test_a_model_is_fetched_by_its_server_layer_by_layer(server: FakeOllama, told: Told) -> None:
    last = fetch(server, told)
    assert told.stages == ["asking", "fetching", "verifying", "finishing", "done"]
    assert (last.done_bytes, last.total_bytes, last.result) == (WHOLE, WHOLE, "")
    assert last.note == f"Ollama at {server.host} has {TAG}."
    assert [path for path, _ in server.asked] == ["/api/version", "/api/pull", "/api/show"]


def test_what_the_server_had_before_is_not_counted_into_the_rate(server: FakeOllama, told: Told) -> None:
    server.fault = once(lambda handler: handler.reply(500, {"error": "no more"}))
    with pytest.raises(ServerError):
        fetch(server, told)
    fetch(server, told)
    (digest, *_) = server.kept
    server.kept[digest] = 3_000_000
    told.jumps.clear()
    assert fetch(server, told).done_bytes == WHOLE
    assert told.jumps[0] == 3_000_000


def test_the_job_of_a_server_s_model_is_one_however_it_is_written(server: FakeOllama) -> None:
    def key(tag: str, host: str) -> str:
        return wanted(tag, host).target

    assert key("deepseek-r1", server.url) == key("DeepSeek-R1:latest", f"{server.host}/")
    assert len({key(TAG, server.url), key("deepseek-r1:8b", server.url), key(TAG, "127.0.0.1:1")}) == 3


def test_a_job_is_watched_and_stopped_and_the_next_goes_on(server: FakeOllama, home: Path) -> None:
    server.layer_s = 0.15
    begun = launch.start(spec(server))
    assert launch.start(spec(server)).pid == begun.pid
    seen = until(begun.key, lambda view: view.progress.bytes_per_s)
    assert seen.progress.stage == "fetching"
    assert seen.progress.total_bytes == SIZES[0]
    assert seen.progress.left_s is not None
    assert launch.stop(begun.key)
    stopped = launch.view(begun.key)
    assert stopped is not None
    assert stopped.state == "stopped"
    assert given_up(server)
    kept = dict(server.kept)
    assert 0 < sum(kept.values()) < WHOLE
    server.layer_s = 0.0
    last = ended(launch.start(spec(server)).key)
    assert (last.state, last.progress.done_bytes) == ("done", WHOLE)
    assert f"{TAG}" in server.models


def test_a_job_that_is_killed_leaves_the_line_and_so_ends_the_fetch(server: FakeOllama, home: Path) -> None:
    server.layer_s = 0.2
    begun = launch.start(spec(server))
    seen = until(begun.key, lambda view: view.progress.done_bytes)
    assert seen.pid is not None
    os.kill(seen.pid, signal.SIGKILL)
    assert until(begun.key, lambda view: not view.running).state == "interrupted"
    assert given_up(server)


def test_a_line_that_breaks_is_tried_again_from_what_the_server_kept(server: FakeOllama, told: Told) -> None:
    def breaks(handler: Handler) -> None:
        handler.begin()
        handler.line({"status": "pulling manifest"})
        handler.die()

    server.fault = once(breaks)
    assert fetch(server, told).done_bytes == WHOLE
    assert "waiting" in told.stages
    assert any(server.host in note and "broke off" in note for note in told.notes)


def test_a_library_that_cannot_be_reached_is_tried_again_and_then_told(server: FakeOllama, told: Told) -> None:
    error = (
        'pull model manifest: Get "https://registry.ollama.ai/v2/": dial tcp: lookup registry.ollama.ai: no such host'
    )
    server.fault = lambda handler, path, _: path == "/api/pull" and (says({"error": error})(handler) or True)
    with pytest.raises(ServerUnreachable, match="Ollama cannot reach its library") as raised:
        fetch(server, told)
    assert "HTTPS_PROXY" in raised.value.hint
    assert "waiting" in told.stages
    assert len(server.bodies("/api/pull")) > 1


@pytest.mark.parametrize(
    ("said", "kind", "title"),
    [
        ("pull model manifest: file does not exist", ModelNotFound, "There is no model called"),
        ("invalid model name", ModelNotFound, "is no model's name"),
        ("pull model manifest: 412: The model requires a newer version of Ollama.", ServerError, "too old"),
        ("write /x/sha256-ab-partial: no space left on device", NoSpace, "The disk of Ollama's server is full"),
        ("unauthorized: access denied", Unauthorized, "does not give"),
        ("digest mismatch, file must be downloaded again: want sha256:a, got sha256:b", ServerError, "damaged"),
        ("tls: failed to verify certificate: x509: unknown authority", ServerError, "does not trust"),
        ("something else \x1b[2J", ServerError, "could not fetch"),
    ],
)
def test_what_keeps_the_server_from_it_is_told_and_not_tried_again(
    server: FakeOllama, told: Told, said: str, kind: type[BackendError], title: str
) -> None:
    server.fault = once(says({"status": "pulling manifest"}, {"error": said}))
    with pytest.raises(kind, match=title) as raised:
        fetch(server, told)
    assert type(raised.value) is kind
    assert raised.value.hint
    assert "\x1b" not in raised.value.detail
    assert len(server.bodies("/api/pull")) == 1


@pytest.mark.parametrize(
    "said",
    [
        "503: upstream",
        "pull model manifest: 429: slow down",
        "max retries exceeded: unexpected EOF",
        "read: i/o timeout",
    ],
)
def test_what_passes_is_known_by_its_words(said: str) -> None:
    assert pull_failures.passes(pull_failures.refused(said, TAG, "here"))


@given(st.text(max_size=80))
def test_whatever_the_server_says_becomes_an_error_that_can_be_acted_on(said: str) -> None:
    error = pull_failures.refused(said, TAG, "here")
    assert error.title
    assert error.hint


def test_a_tag_that_the_library_has_not_is_told_so(server: FakeOllama, told: Told) -> None:
    with pytest.raises(ModelNotFound, match="no model called nothing:1b in Ollama's library"):
        fetch(server, told, "nothing:1b")


@pytest.mark.parametrize(
    ("lines", "title"),
    [
        ([{"status": "pulling manifest"}], "did not finish"),
        ([b"<html>\n"], "makes no sense"),
        ([{"status": "x", "digest": "sha256:a", "total": -1}], "makes no sense"),
        ([{"digest": f"sha256:{number}", "total": 1} for number in range(1100)], "makes no sense"),
    ],
)
def test_a_stream_without_an_end_or_sense_is_an_error(
    server: FakeOllama, told: Told, lines: list[Any], title: str
) -> None:
    server.fault = once(says(*lines))
    with pytest.raises(ServerError) as raised:
        fetch(server, told)
    assert title in raised.value.title


def test_a_server_that_has_not_what_it_said_is_told(server: FakeOllama, told: Told) -> None:
    server.fault = once(says({"status": "success"}))
    with pytest.raises(ServerError, match="Ollama has not what it fetched"):
        fetch(server, told)


def test_a_server_that_is_not_there_is_told_at_once_with_how_to_start_it(told: Told) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        pull = OllamaPull(f"http://127.0.0.1:{free.getsockname()[1]}", TAG)
    for ask in (lambda: pulling.run(msgspec.to_builtins(pull), told, Cancel()), lambda: pulling.has(pull)):
        with pytest.raises(ServerUnreachable) as raised:
            ask()
        assert "ollama serve" in raised.value.hint


def test_only_a_confirmed_server_is_asked(home: Path) -> None:
    with pytest.raises(NewOrigin):
        pulling.has(wanted(TAG, "http://ollama.example:11434"))


def test_a_server_is_asked_whether_it_has_a_model(server: FakeOllama, told: Told) -> None:
    pull = wanted(TAG, server.url)
    assert not pulling.has(pull)
    fetch(server, told)
    assert pulling.has(pull)


def test_whoever_chose_the_server_is_told_the_command_that_asks_it(
    server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.host)
    for host, command in (("", f"`deepseek-tui pull ollama:{TAG}`"), (server.url, f"`ollama pull {TAG}`")):
        where = wanted(TAG, host).where
        with (
            contextlib.closing(Connection(where, address.allowed(where))) as line,
            pytest.raises(ModelNotFound) as told,
        ):
            line.show(TAG)
        assert command in told.value.hint


def test_a_stop_while_it_waits_is_heard_at_once(
    server: FakeOllama, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience, "_sleep", lambda *_: told._cancel.set())
    server.fault = lambda handler, path, _: path == "/api/pull" and (handler.die() or True)
    with pytest.raises(Cancelled):
        fetch(server, told)
