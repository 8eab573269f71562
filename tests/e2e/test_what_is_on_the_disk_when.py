"""The order of writes and syncs, as the programs really make them, and every state that a power cut may leave of it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backends.host import spool
from tests.e2e.recorded import Disk, Recording, Step, place
from tui.chat import recovery
from tui.chat.storing.store import Store

WORDS = " ".join(f"word{number}" for number in range(120))
QUESTIONS = ("one?", "two?")
HOME = Path("/home/user/home")
ONLY = "only what was synced"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs LD_PRELOAD and a C compiler"
)


@pytest.fixture(scope="module")
def told() -> dict[str, list[Step]]:
    return {}


@pytest.fixture
def steps(told: dict[str, list[Step]], home: Path, tmp_path: Path, echo, end_hosts) -> list[Step]:
    """What happens when two questions are asked in an empty home, one after the other."""
    if not told:
        echo(text=WORDS, tokens_per_second=80)
        recording = Recording(tmp_path, home)
        for question in QUESTIONS:
            command = [sys.executable, "-P", "-m", "tui", "ask", "-p", "demo", question]
            ran = subprocess.run(command, env=recording.environment, capture_output=True, check=False, timeout=60)
            assert ran.stdout.decode().strip() == WORDS, ran.stderr
        end_hosts()
        told["steps"] = [_moved(step, home) for step in recording.steps()]
    return told["steps"]


def _moved(step: Step, home: Path) -> Step:
    """Return a step as if the home were /home/user/home."""
    path = step.path.replace(str(home), str(HOME), 1)
    return replace(step, path=path, data=step.data.replace(os.fsencode(home), os.fsencode(HOME), 1))


def test_the_recorder_sees_every_change(steps: list[Step], home: Path) -> None:
    """What all steps together make is what is there: none was missed."""
    kinds = {step.kind for step in steps}
    assert kinds >= {"create", "write", "sync begins", "sync", "unlink", "mkdir", "send"}
    disk = Disk(HOME)
    for step in steps:
        disk.take(step)
    disk.lose_power(home / "made", 1.0, random.Random(0))
    os.environ["DEEPSEEK_TUI_HOME"] = str(home / "made")
    assert found() == dict.fromkeys(QUESTIONS, ("done", WORDS))


def test_each_thing_is_synced_before_the_next_depends_on_it(steps: list[Step]) -> None:
    for number, question in enumerate(QUESTIONS):
        spools = [at for at, step in enumerate(steps) if step.kind == "create" and step.path.endswith(".jsonl")]
        created = spools[number]
        name = steps[created].name
        answer = name.removesuffix(".jsonl").encode()

        folder = synced(steps, "spool", created)
        row = place(steps, "write", "chats.sqlite3", answer, created)
        assert folder < row, "the spool's name is sure before the row that counts on it"
        assert place(steps, "write", "chats.sqlite3", question.encode(), created) <= synced(steps, "chats.sqlite3", row)
        committed = synced(
            steps, "data", place(steps, "unlink", "chats.sqlite3-journal", after=synced(steps, "chats.sqlite3", row))
        )
        sent = place(steps, "send", "", answer)
        assert committed < sent, "the question is on the disk before the engine can see it"

        last = max(at for at, step in enumerate(steps) if step.name == name and b'"done"' in step.data)
        sure = synced(steps, name, last)
        told = place(steps, "send", "", steps[last].data.strip().splitlines()[-1], created)
        assert sure < told, "the end is told only when it is on the disk"
        done = place(steps, "write", "chats.sqlite3", WORDS[:40].encode(), sure)
        finished = synced(
            steps, "data", place(steps, "unlink", "chats.sqlite3-journal", after=synced(steps, "chats.sqlite3", done))
        )
        assert sure < done, "the last record is sure before the row says that it is over"
        assert finished < place(steps, "unlink", name), "and the spool goes when that is sure"

        syncs = [step for step in steps[: sure + 1] if step.name == name and step.kind == "sync"]
        assert len(syncs) >= 2, "it is synced while it grows, too"


def synced(steps: list[Step], name: str, after: int) -> int:
    """Return where the first sync of a file is over that begins after a step."""
    return place(steps, "sync", name, after=place(steps, "sync begins", name, after=after))


@pytest.mark.parametrize("mode", [ONLY, "some of the rest", "most of the rest"])
def test_whenever_the_power_goes_nothing_that_was_committed_is_missing(
    steps: list[Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance, looks = random.Random(seed), 0
    moments = {"sync", "unlink"} if mode == ONLY else {"write", "sync", "unlink", "create"}
    disk, sure = Disk(HOME), Sure()
    for number, step in enumerate(steps):
        disk.take(step)
        sure.take(step)
        if step.kind not in moments or chance.random() > (1.0 if mode == ONLY else 0.25):
            continue
        monkeypatch.setenv("DEEPSEEK_TUI_HOME", str(tmp_path / f"cut{number}"))
        left = 0.0 if mode == ONLY else 0.2 if mode == "some of the rest" else 0.8
        disk.lose_power(tmp_path / f"cut{number}", left, chance)
        sure.check(found())
        shutil.rmtree(tmp_path / f"cut{number}")
        looks += 1
    print(f"{looks} power cuts")
    assert looks > 20
    assert sure.questions == set(QUESTIONS)
    assert len(sure.finished) == len(QUESTIONS)


class Sure:
    """What must be there after a power cut, from what the programs have said and synced so far."""

    def __init__(self) -> None:
        self.questions: set[str] = set()
        self.finished: set[str] = set()
        self._written: dict[str, int] = {}
        self._syncing: dict[str, int] = {}
        self._synced: dict[str, int] = {}

    def take(self, step: Step) -> None:
        if step.kind == "send" and b'"type":"chat"' in step.data:
            self.questions |= {question for question in QUESTIONS if question.encode() in step.data}
        if not step.path.endswith(".jsonl"):
            return
        if step.kind == "write":
            self._written[step.name] = self._written.get(step.name, 0) + step.data.count(b'"type":"text"')
        elif step.kind == "sync begins":
            self._syncing[step.name] = self._written.get(step.name, 0)
        elif step.kind == "sync":
            self._synced[step.name] = self._syncing[step.name]
        elif step.kind == "unlink":
            self.finished.add(step.name)

    def check(self, chats: dict[str, tuple[str, str]]) -> None:
        assert self.questions <= set(chats) <= set(QUESTIONS), "every question that was sent is there"
        for state, text in chats.values():
            assert WORDS.startswith(text)
            assert state == ("done" if text == WORDS else "interrupted") or text == WORDS
        assert sum(state == "done" for state, _ in chats.values()) >= len(self.finished)
        words = sum(len(text.split()) for _, text in chats.values())
        assert words >= sum(self._synced.values()), "every word that was synced is there"


def found() -> dict[str, tuple[str, str]]:
    """Start as after a power cut: return each question with the state and the text of its answer."""
    store = Store()
    try:
        assert store.rows("PRAGMA integrity_check")[0][0] == "ok"
        assert store.rows("PRAGMA foreign_key_check") == []
        assert recovery.take_in_all(store) == []
        assert spool.answers() == []
        chats = [store.branch(chat.id) for chat in store.conversations()]
        assert all(len(branch) == 2 for branch in chats)
        return {question.text: (answer.state, answer.text) for question, answer in chats}
    finally:
        store.close()
