"""A GGUF file in a true Ollama server: it answers there, and its template writes what the file's own writes.

    OLLAMA_HOST=http://127.0.0.1:11434 python -m pytest -m ollama tests/backends/test_ollama_importing_true_server.py

What is imported is deleted afterwards. A server with OLLAMA_GO_TEMPLATE=1 in its environment shows that the template in
Ollama's language is right; without it, one from 0.30 on takes the file's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.base import Cancel, Message, Sampling
from backends.ollama import address, importing
from backends.ollama.connection import Connection
from backends.ollama.engine import _connect
from backends.ollama.modelfile import describe
from backends.template import compile_template, render
from tests.backends.ollama_talk import Talk
from tests.backends.tiny_models import write_bpe_model

_HOST = os.environ.get("OLLAMA_HOST", "")
TEMPLATES = Path(__file__).parent / "templates"

pytestmark = pytest.mark.ollama
if not _HOST:
    _RUN = "OLLAMA_HOST=http://127.0.0.1:11434 python -m pytest -m ollama"
    pytest.skip(f"no Ollama server is named: {_RUN}", allow_module_level=True)


class Server:
    """What `Talk` asks of a server."""

    url = address.find(_HOST).url


@pytest.fixture
def line() -> Iterator[Connection]:
    connection = _connect(address.find(_HOST), 60.0)
    yield connection
    connection.close()


def bring(line: Connection, path: Path) -> str:
    return importing.bring(line, Server.url, path, lambda _: None, Cancel())


def test_the_starter_is_imported_once_and_answers(line: Connection, starter_gguf: Path) -> None:
    name = bring(line, starter_gguf)
    try:
        with Talk(Server(), str(starter_gguf), context=512) as talk:  # type: ignore[arg-type]
            question = (Message("user", "What is the capital of France? Answer in one short sentence."),)
            answer = talk.ask(question, sampling=Sampling(temperature=0.0, max_tokens=64))
            assert "Paris" in answer.text
            assert line.running(name) is not None
        assert line.running(name) is None
        assert bring(line, starter_gguf) == name
        assert line.has(f"/api/blobs/{importing.digest_of(starter_gguf)}")
    finally:
        line.reply("DELETE", "/api/delete", {"model": name})


@pytest.mark.parametrize("template", ["r1-distill", "r1-distill-first", "r1-0528-qwen3"])
def test_its_template_writes_what_the_files_own_writes(line: Connection, tmp_path: Path, template: str) -> None:
    source = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    write_bpe_model(tmp_path / f"{template}.gguf", source)
    assert describe(tmp_path / f"{template}.gguf").template
    name = bring(line, tmp_path / f"{template}.gguf")
    try:
        for talk in (
            (Message("user", "Q."),),
            (Message("system", "S."), Message("user", "Q."), Message("assistant", "A."), Message("user", "R.")),
        ):
            messages = [{"role": one.role, "content": one.text} for one in talk]
            body = {"model": name, "messages": messages, "think": True, "stream": False, "_debug_render_only": True}
            said: dict[str, Any] = msgspec.json.decode(line.reply("POST", "/api/chat", body, name))
            assert said["_debug_info"]["rendered_template"] == render(compile_template(source), talk).replace(
                "A.<｜User", "A.<｜end▁of▁sentence｜><｜User"
            )
    finally:
        line.reply("DELETE", "/api/delete", {"model": name})
