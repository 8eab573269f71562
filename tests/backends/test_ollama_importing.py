"""A GGUF file of this machine in an Ollama server: sent once, made with template and parameters, stopped at will."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.base import Cancel, Cancelled, Message
from backends.errors import BackendError, BadModelFile, BadOptions, ModelNotFound, OutOfMemory, ServerError
from backends.events import LoadProgress
from backends.hardware.disk import Disk
from backends.ollama import address, importing
from backends.ollama.connection import Connection
from backends.ollama.engine import _connect
from backends.ollama.modelfile import describe, modelfile
from tests.backends.fake_ollama import FakeOllama
from tests.backends.ollama_talk import Talk, failed, later, serving
from tests.backends.test_gguf_split import split
from tests.backends.tiny_models import write_bpe_model

TEMPLATES = Path(__file__).parent / "templates"
PLAIN = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant: "


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    yield from serving()


@pytest.fixture
def line(server: FakeOllama) -> Iterator[Connection]:
    connection = _connect(address.find(server.url))
    yield connection
    connection.close()


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file in DeepSeek's form."""
    path = tmp_path / "DeepSeek R1 Tiny-Q3_K_S.gguf"
    write_bpe_model(path, (TEMPLATES / "r1-distill.jinja").read_text(encoding="utf-8"))
    return path


def large(path: Path, mebibytes: int = 24) -> Path:
    """The same file, longer: what follows the weights is nobody's, and has to be sent too."""
    with path.open("ab") as file:
        file.write(os.urandom(1 << 20) * mebibytes)
    return path


def bring(line: Connection, server: FakeOllama, path: Path, cancel: Cancel | None = None) -> list[LoadProgress]:
    """Import a file; return what was told."""
    told: list[LoadProgress] = []
    importing.bring(line, server.url, path, told.append, cancel or Cancel())
    return told


def paths(server: FakeOllama) -> list[str]:
    return [path for path, _ in server.asked]


def test_a_file_is_sent_made_and_answers(server: FakeOllama, gguf: Path) -> None:
    with Talk(server, str(gguf)) as talk:
        (name,) = server.models
        assert name.startswith("deepseek-tui/deepseek-r1-tiny-q3_k_s:")
        assert server.blobs == {importing.digest_of(gguf): gguf.stat().st_size}
        answer = talk.ask((Message("user", "hello"),))
        assert answer.thought.startswith("You said: hello")  # its template opens a thought
        (body,) = server.bodies("/api/create")
        assert body["files"] == {gguf.name: importing.digest_of(gguf)}
    assert server.loaded == {}  # what we loaded is given back under its name there


def test_a_second_time_nothing_is_read_sent_or_made(
    server: FakeOllama, gguf: Path, line: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(line, server, gguf)
    server.asked.clear()
    monkeypatch.setattr(importing, "_pieces", lambda *_: pytest.fail("the file was read"))
    assert bring(line, server, gguf)[-1].note == f"asking Ollama at {line.server}"
    assert paths(server) == ["/api/version", "/api/show"]


def test_a_file_that_the_server_has_is_not_sent_again(server: FakeOllama, gguf: Path, line: Connection) -> None:
    server.blobs[importing.digest_of(gguf)] = gguf.stat().st_size
    bring(line, server, gguf)
    assert server.uploads == []
    assert len(server.models) == 1


def test_another_content_is_another_model_and_the_same_one_is_not(
    server: FakeOllama, gguf: Path, line: Connection, tmp_path: Path
) -> None:
    bring(line, server, gguf)
    twin = tmp_path / "twin" / gguf.name
    twin.parent.mkdir()
    twin.write_bytes(gguf.read_bytes())
    bring(line, server, twin)
    assert (len(server.models), len(server.uploads)) == (1, 1)
    large(gguf, 1)
    bring(line, server, gguf)
    assert (len(server.models), len(server.uploads)) == (2, 2)


@pytest.mark.parametrize(
    ("template", "opens"), [("r1-distill", True), ("r1-distill-first", False), ("r1-0528-qwen3", False)]
)
def test_deepseeks_form_goes_along_in_ollamas_language(tmp_path: Path, template: str, opens: bool) -> None:
    path = tmp_path / "m.gguf"
    write_bpe_model(path, (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8"))
    model = describe(path)
    assert ("else -}}\n<think>\n{{ end }}" in model.template) is opens
    assert "THINK" not in model.template
    assert model.parameters["temperature"] == 0.6
    assert "<｜User｜>" in model.parameters["stop"]


@pytest.mark.parametrize(
    "source", [PLAIN, "{{ broken", "<｜Assistant｜>{% for x in messages %}{{ x.nothing.here }}{% endfor %}", None]
)
def test_any_other_template_is_left_to_the_server(tmp_path: Path, source: str | None) -> None:
    path = tmp_path / "m.gguf"
    write_bpe_model(path, source)
    model = describe(path)
    assert (model.template, model.parameters) == ("", {})
    assert "TEMPLATE" not in modelfile(model)


def test_the_modelfile_says_what_is_sent(server: FakeOllama, gguf: Path, line: Connection) -> None:
    bring(line, server, gguf)
    (body,) = server.bodies("/api/create")
    text = modelfile(describe(gguf))
    assert f"\nFROM {gguf}\n" in text
    assert text.split('TEMPLATE """')[1].split('"""')[0] == body["template"]
    written = [row.split(" ", 2)[1:] for row in text.splitlines() if row.startswith("PARAMETER ")]
    sent = [
        [name, str(one)] for name, many in body["parameters"].items() for one in (many if name == "stop" else [many])
    ]
    assert written == sent
    assert text.startswith("# ollama create deepseek-tui/deepseek-r1-tiny-q3_k_s -f Modelfile\n")


@pytest.mark.parametrize(
    ("file", "base"),
    [
        ("Some Model.Q8_0.gguf", "some-model.q8_0"),
        ("../../x.gguf", "x"),
        ("…漢字.gguf", "model"),
        ("A" * 200 + ".gguf", "a" * 80),
        ("m-00001-of-00001.gguf", "m"),
    ],
)
def test_names_are_such_as_ollama_takes(tmp_path: Path, file: str, base: str) -> None:
    path = tmp_path / file.rpartition("/")[2]
    write_bpe_model(path, PLAIN)
    assert describe(path).base == f"deepseek-tui/{base}"


def test_it_tells_how_far_it_is(server: FakeOllama, gguf: Path, line: Connection) -> None:
    server.piece_s = 0.02
    told = bring(line, server, large(gguf))
    reading = [one.fraction for one in told if "once, to know it" in one.note]
    sending = [one.fraction for one in told if one.note.startswith("sending ")]
    for shares in (reading, sending):
        assert shares == sorted(shares, key=lambda share: share or 0)
        assert shares[-1] == 1
    assert len(sending) > 1
    assert f"to Ollama at {line.server}: 0.0 GB of 0.0 GB" in next(one.note for one in told if "sending" in one.note)
    assert told[-1].note.endswith(": success")


def test_it_stops_while_a_file_is_read(server: FakeOllama, gguf: Path, line: Connection) -> None:
    cancel = Cancel()
    stopped: list[LoadProgress] = []

    def stop(one: LoadProgress) -> None:
        if "once, to know it" in one.note:
            cancel.set()
            stopped.append(one)

    with pytest.raises(Cancelled):
        importing.bring(line, server.url, large(gguf), stop, cancel)
    assert stopped
    assert server.uploads == []


def test_it_stops_while_a_file_is_sent_and_leaves_nothing(server: FakeOllama, gguf: Path) -> None:
    server.piece_s = 0.2
    cancel = Cancel()
    connection = _connect(address.find(server.url))
    importing.digest_of(large(gguf))
    later(0.4, cancel.set)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        importing.bring(connection, server.url, gguf, lambda _: None, cancel)
    assert time.monotonic() - started < 1.4
    connection.close()
    assert (len(server.uploads), server.blobs, server.models) == (1, {}, {})
    server.piece_s = 0
    again = _connect(address.find(server.url))
    bring(again, server, gguf)
    again.close()
    assert len(server.models) == 1


def test_a_stopped_load_of_a_file_is_a_stopped_load(server: FakeOllama, gguf: Path) -> None:
    server.piece_s = 0.2
    talk = Talk(server, str(large(gguf)))
    cancel = Cancel()
    later(0.5, cancel.set)
    with pytest.raises(Cancelled):
        talk.backend.load(talk.model, talk.options, lambda _: None, cancel)
    assert server.models == {}


def test_what_is_no_model_goes_nowhere(server: FakeOllama, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a password")
    assert isinstance(failed(server, str(tmp_path / "secret.txt")), BadModelFile)
    assert isinstance(failed(server, str(tmp_path / "none.gguf")), ModelNotFound)
    assert server.asked == []


def test_an_old_server_is_told_before_anything_is_read(server: FakeOllama, gguf: Path, tmp_path: Path) -> None:
    server.version = "0.5.4"
    error = failed(server, str(gguf))
    assert isinstance(error, ServerError)
    assert "runs 0.5.4; 0.5.5 and later can" in error.detail
    server.version = "0.29.9"
    parts = split(tmp_path)
    error = failed(server, str(parts[0]))
    assert "too old for a model in parts" in error.title
    assert paths(server) == ["/api/version", "/api/version"]


def test_all_parts_are_sent_and_named(server: FakeOllama, line: Connection, tmp_path: Path) -> None:
    parts = split(tmp_path)
    bring(line, server, parts[1])
    (body,) = server.bodies("/api/create")
    assert list(body["files"]) == [part.name for part in parts]
    assert len(server.blobs) == 3
    assert modelfile(describe(parts[0])).count("\nFROM ") == 3


class TestSpace:
    @pytest.fixture(autouse=True)
    def _store(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.free: int | None = 0
        monkeypatch.setattr(importing, "stores", lambda: (tmp_path, tmp_path / "none"))
        monkeypatch.setattr(importing, "disk_under", lambda _: Disk(free_bytes=self.free))

    def test_it_is_looked_at_before_a_byte_is_sent(self, server: FakeOllama, gguf: Path) -> None:
        size = gguf.stat().st_size
        for version, times in (("0.33.0", 2), ("0.29.0", 1)):
            server.version = version
            self.free = times * size + 999_999_999
            error = failed(server, str(gguf))
            assert isinstance(error, ServerError)
            assert error.title == "There is not enough space for the import"
            assert ("a copy of its own" in error.detail) is (times == 2)
            assert server.uploads == []
        self.free = size + 1_000_000_000
        with Talk(server, str(gguf)):
            assert len(server.uploads) == 1

    def test_what_is_not_known_is_no_reason_to_refuse(self, server: FakeOllama, gguf: Path) -> None:
        self.free = None
        with Talk(server, str(gguf)):
            assert len(server.models) == 1


class TestFailures:
    def test_a_file_that_changes_while_it_is_sent(self, server: FakeOllama, gguf: Path) -> None:
        def fault(handler: Any, path: str, _: Any) -> bool:
            if path.startswith("/api/blobs/"):
                with gguf.open("r+b") as file:
                    file.seek(-100, os.SEEK_END)
                    file.write(b"changed")
            return False

        importing.digest_of(large(gguf))
        server.fault = fault
        server.piece_s = 0.01
        error = failed(server, str(gguf))
        assert isinstance(error, BadModelFile)
        assert error.title == "The model file changed while it was sent"
        assert server.models == {}

    @pytest.mark.parametrize(
        ("said", "kind", "title"),
        [
            ('{"error": "no space left on device"}', ServerError, "failed"),
            ('{"error": "unknown type", "status": 400}', BadOptions, "refuses"),
            ('{"error": "it is broken", "status": 500}', ServerError, "failed"),
            ('{"error": "llama-quantize: out of memory"}', OutOfMemory, "too little memory"),
            ("<html>", ServerError, "makes no sense"),
            ('{"status": []}', ServerError, "makes no sense"),
            ('{"status": "parsing GGUF"}', ServerError, "did not finish the model"),
            ("", ServerError, "did not finish the model"),
        ],
    )
    def test_a_model_that_is_not_made(
        self, server: FakeOllama, gguf: Path, said: str, kind: type[BackendError], title: str
    ) -> None:
        def fault(handler: Any, path: str, _: Any) -> bool:
            if path != "/api/create":
                return False
            handler.reply(200, said + "\n", "application/x-ndjson")
            return True

        server.fault = fault
        error = failed(server, str(gguf))
        assert isinstance(error, kind)
        assert title in error.title
        assert server.models == {}

    @pytest.mark.parametrize("status", [401, 413, 500, 507])
    def test_a_server_that_wants_no_file(self, server: FakeOllama, gguf: Path, status: int) -> None:
        def fault(handler: Any, path: str, _: Any) -> bool:
            if path.startswith("/api/blobs/"):
                handler.close_connection = True
                handler.reply(status, {"error": "no"})
                return True
            return False

        server.fault = fault
        error = failed(server, str(gguf))
        assert error.title
        assert error.hint
        assert server.models == {}

    def test_a_file_that_may_not_be_read(self, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gguf.unlink()
        gguf.mkdir()
        with pytest.raises(BadModelFile, match="cannot be read"):
            importing.digest_of(gguf)
