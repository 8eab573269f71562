"""Whoever is killed, at whatever moment: each question once, each answer whole but for its last second, all sound.

KILLS says how many (64 in the suite; thousands by hand), KILL_SEED which moments; the seed is printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import paths
from tests.conftest import processes_of
from tests.e2e import dying

KILLS = int(os.environ.get("KILLS", "64"))
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LANES = 4
WORDS = " ".join(f"w{number}" for number in range(130))
SPEED = 80.0
LOST_S = 1.0
ROOT = Path(__file__).resolve().parents[2]
PRESET = (
    'title = "{name}"\nbackend = "echo"\nkeep_alive_s = 5\n[model]\nfamily = "echo"\nquantization = "none"\n'
    '[backends.echo]\nsource = "server:{name}"\ntext = "{text}"\ntokens_per_second = {speed}\n'
)


class Nursery:
    """Where the programs come from that are to be killed."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.e2e.dying"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._asking = threading.Lock()

    def start(self, home: Path, log: Path, what: str, name: str = "") -> int:
        order = json.dumps({"home": str(home), "log": str(log), "what": what, "name": name}).encode()
        with self._asking:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(order + b"\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


class Program:
    """One of them, and what it has told."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log

    @property
    def alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    def told(self) -> list[list[Any]]:
        """Return what it has told in whole lines; what `ask` prints of its answer is passed over."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in self._log.read_text().split("\n")[:-1]:
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line[line.find("[") :]))
        return [each for each in found if isinstance(each, list)]

    @property
    def printed(self) -> bool:
        """Whether an `ask` has shown the beginning of its answer."""
        return re.search(r"^w0", self._log.read_text(), re.MULTILINE) is not None

    def kill(self) -> None:
        kill(self.pid)
        until(lambda: not self.alive)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Lane:
    """One home in which programs ask, and are killed with their host."""

    def __init__(self, nursery: Nursery, home: Path, seed: int) -> None:
        self._nursery = nursery
        self._home = home
        self._chance = random.Random(seed)
        self._programs: list[Program] = []
        self._started = 0
        self.kills = 0
        self.host_kills: list[float] = []
        (home / "config" / "presets").mkdir(parents=True)
        for name, speed in ((dying.SLOW, SPEED), (dying.QUICK, 0)):
            text = PRESET.format(name=name, text=WORDS, speed=speed)
            (home / "config" / "presets" / f"{name}.toml").write_text(text)

    def start(self, what: str) -> Program:
        self._started += 1
        number = self._started
        log = self._home / f"log{number}"
        one = Program(self._nursery.start(self._home, log, what, f"{self._home.name} {number}"), log)
        self._programs.append(one)
        return one

    def round(self) -> None:
        """Have something asked, and kill somebody at a random moment of it."""
        alive = [one for one in self._programs if one.alive]
        while not alive or (len(alive) < 2 and self._chance.random() < 0.4):
            alive.append(self.start(self._chance.choice(["chat", "chat", "ask"])))
        until(lambda: all(one.told() or not one.alive for one in alive))
        time.sleep(self._chance.choice([self._chance.uniform(0.0, 0.3), self._chance.uniform(0.3, 2.0)]))
        client = self._chance.choice(alive)
        who = self._chance.choice(["client", "host", "both", "client first", "host first"])
        if who in {"host", "host first"}:
            self._kill_hosts()
        if who in {"client first", "host first"}:
            self._kill(client)
            time.sleep(self._chance.uniform(0.0, 0.05))
        if who == "client first":
            self._kill_hosts()
        if who == "both":
            self._kill_hosts()
            self._kill(client)
        if who == "client":
            self._kill(client)
        self.look()

    def look(self) -> list[Any]:
        """Open the conversations as the next program does: they are sound, every time."""
        looking = self.start("look")
        until(lambda: not looking.alive)
        self._programs.remove(looking)
        (told,) = looking.told()
        assert told[0] == "found", told
        assert (told[2], told[3]) == (["ok"], [])
        return told[4:]

    def go_on(self) -> list[tuple[str, str]]:
        """Have everything finished that was cut off; return how each chat ends."""
        one = self.start("go on")
        until(lambda: not one.alive, 60)
        self._programs.remove(one)
        told = one.told()
        assert all(each[0] != "error" for each in told), told
        return [(each[2], each[3]) for each in told if each[0] == "whole"]

    def end(self) -> None:
        for one in self._programs:
            one.kill()
        self._kill_hosts()
        for pid in processes_of(self._home):
            kill(pid)
        until(lambda: not processes_of(self._home))

    def told(self, kind: str) -> list[list[Any]]:
        return [each for one in self._programs for each in one.told() if each[0] == kind]

    def printed(self) -> set[str]:
        return {each[2] for one in self._programs if one.printed for each in one.told() if each[0] == "asking"}

    def _kill(self, one: Program) -> None:
        self.kills += one.alive
        one.kill()

    def _kill_hosts(self) -> None:
        pids = [pid for pid, command in processes_of(self._home).items() if "backends.host" in command]
        if pids:
            self.host_kills.append(time.monotonic())
        for pid in pids:
            self.kills += 1
            kill(pid)
        until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))


def check(lane: Lane) -> list[str]:
    """The reader's promise, once everybody is dead: nothing said is missing, doubled or other than it was.

    Returns all answers.
    """
    lane.end()
    assert lane.told("error") == []
    messages, running, spools = lane.look()
    assert (running, spools) == ([], [])
    questions = {row["id"]: row["text"] for row in messages if row["role"] == "user"}
    asking = {each[2] for each in lane.told("asking")}
    asked = {each[2] for each in lane.told("asked")} | lane.printed()
    assert len(set(questions.values())) == len(questions), "no question is there twice"
    assert asked <= set(questions.values()) <= asking, "each question that was committed is there, and no other"

    answers = [row for row in messages if row["role"] == "assistant"]
    for place, question in questions.items():
        count = sum(row["parent"] == place for row in answers)
        least = 1 + sum(each[2] == question for each in lane.told("begun again"))
        most = 1 + sum(each[2] == question for each in lane.told("again"))
        assert least <= count <= most, "each answer that was begun is there once"
    ended = {each[2]: (each[3], each[4]) for each in lane.told("ended") if each[3] != "streaming"}
    for row in answers:
        check_answer(row, [each for each in lane.told("grown") if each[2] == row["id"]], lane.host_kills)
        if row["id"] in ended:
            assert ended[row["id"]] == (row["state"], row["text"]), "what was saved is as it was"
    for state, text in lane.go_on():
        assert (state, text) == ("done", WORDS), "whatever was cut off can be gone on with, or had anew"
    lane.end()
    return [row["text"] for row in answers]


def check_answer(row: dict[str, Any], grown: list[list[Any]], host_kills: list[float]) -> None:
    """`grown` is what was seen of it, and when."""
    assert WORDS.startswith(row["text"])
    whole = row["text"] == WORDS
    assert row["state"] in ({"done", "interrupted"} if whole else {"interrupted"})
    if not grown:
        return
    died = min((at for at in host_kills if at > grown[0][1]), default=None)
    if died is None:
        assert (row["state"], row["text"]) == ("done", WORDS), "its host lived: it had to go on to its end"
    else:
        had_to_be = max((length for _, at, _, length in grown if at <= died - LOST_S), default=0)
        assert len(row["text"]) >= had_to_be, "no more than a second is lost"


def test_killed_at_random_moments_nothing_said_is_lost(nursery: Nursery, tmp_path: Path) -> None:
    print(f"KILL_SEED={SEED} KILLS={KILLS}")
    lanes = [Lane(nursery, tmp_path / f"lane{number}", SEED + number) for number in range(LANES)]
    failed: list[BaseException] = []
    answers: list[str] = []

    def work(lane: Lane) -> None:
        try:
            while sum(each.kills for each in lanes) < KILLS and not failed:
                lane.round()
            answers.extend(check(lane))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(lane,)) for lane in lanes]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for lane in lanes:
            lane.end()
    if failed:
        raise failed[0]
    assert sum(lane.kills for lane in lanes) >= KILLS
    assert "" in answers
    assert WORDS in answers
    assert any(0 < len(text) < len(WORDS) for text in answers)


def test_real_screens_and_their_hosts_are_killed_and_the_next_screen_has_it_all(terminal, echo, hosts) -> None:
    print(f"KILL_SEED={SEED}")
    chance = random.Random(SEED)
    echo(text=WORDS, tokens_per_second=100)
    asked, shown = [], []
    for number, who in enumerate(chance.sample(["screen", "host", "both", "screen"], 4)):
        screen = terminal("-p", "demo")
        screen.see(r"Demo · echo │.*saved" if shown else r"Demo · echo │", 20)
        asked.append(f"question {number}")
        screen.ask(asked[-1])
        screen.read(chance.uniform(0.0, 1.2))
        if "saving" in screen.text:
            shown.append(asked[-1])
        if who in {"host", "both"}:
            for pid in hosts():
                kill(pid)
        if who == "host":
            screen.see("process ended|w129|not loaded", 10)
        kill(screen.child.pid)
        screen.ended()
    last = terminal("-p", "demo")
    last.see(r"Demo · echo │.*saved", 20)
    found = said()
    for _, text, state in found:
        assert WORDS.startswith(text)
        assert state == ("done" if text == WORDS else "interrupted")
    assert set(shown) <= {question for question, _, _ in found} <= set(asked)
    assert [question for question, _, _ in found] == sorted({question for question, _, _ in found})
    if found[-1][2] == "interrupted":
        last.press("^e")
        until(lambda: last.read() or said()[-1][1:] == (WORDS, "done"))
    last.leave()


def said() -> list[tuple[str, str, str]]:
    """Return each question with the text and state of the last answer to it, in order."""
    with contextlib.closing(sqlite3.connect(paths.database())) as database:
        rows = database.execute(
            "SELECT question.text, answer.text, answer.state FROM message AS question JOIN message AS answer"
            " ON answer.parent = question.id WHERE question.role = 'user' ORDER BY answer.rowid"
        ).fetchall()
    return list({row[0]: row for row in rows}.values())
