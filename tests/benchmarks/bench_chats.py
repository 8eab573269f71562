"""What conversations cost once there are many: 100,000 messages, 118 MB of text.

    python tests/benchmarks/bench_chats.py [--messages 100000] [--folder FOLDER] [--repeat 15]

Builds such a database in a temporary folder, or takes the one that it has built there, and prints each figure beside
its goal: the median of its runs, with the fastest and the slowest, and what of it this process was computing.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from backends import paths
from backends.events import Done, Reasoning, Text
from backends.host.wire import Record
from tui.chat.answer import Answer, fold
from tui.chat.searching import indexing, search
from tui.chat.storing import shelf, tree
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id

LONG_CHAT = 5_000
CHAT = 50
QUESTION_WORDS, THOUGHT_WORDS, ANSWER_WORDS = 25, 210, 160
ASKED = Asked("8b", "llama_cpp", "/models/8b.gguf")
COMMON = re.findall(
    r"\w+", "the of and to in is for that with as on be it by memory model cache token layer card speed bandwidth"
)
SYLLABLES = re.findall(
    r"\w+", "an be co de er fa gi ho in ka lo me no or pa qui ra se ti un ve wo xe yo za com pre con pro"
)
HAN = "的是了在人有我他这中大来上个国说们为和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心多天能好都"
HAN += "显存模型推理速度带宽缓存上下文层数问题答案思考语言机器"


class Words:
    """A language: words that are as frequent as words are, and runs of Chinese."""

    def __init__(self, seed: int = 8) -> None:
        self._random = random.Random(seed)
        made = {"".join(self._random.choices(SYLLABLES, k=self._random.randint(1, 4))) for _ in range(60_000)}
        self.words = COMMON + sorted(made - set(COMMON), key=lambda word: (len(word), word))
        self._weights = list(accumulate(1 / (rank + 3) for rank in range(len(self.words))))

    def text(self, words: int) -> str:
        words = max(3, int(self._random.gauss(words, words / 3)))
        if self._random.random() < 0.1:
            return "".join(self._random.choices(HAN, k=words * 2))
        return " ".join(self._random.choices(self.words, cum_weights=self._weights, k=words))


def build(store: Store, messages: int) -> None:
    """Fill a store as if so much had been said in it over two years."""
    words, now = Words(), time.time() - 2 * 365 * 86_400
    step = 2 * 365 * 86_400 / messages
    with store.transaction() as db:
        for number in range(messages // 2):
            at = now + number * 2 * step
            in_long = number < LONG_CHAT // 2
            if number == 0 or (not in_long and number % (CHAT // 2) == 0):
                chat, head = new_id(), None
                db.execute(
                    "INSERT INTO conversation (id, title, created_at, updated_at, preset, renamed)"
                    " VALUES (?, ?, ?, ?, '8b', ?)",
                    (chat, words.text(6)[:60], at, at, number % 10 == 0),
                )
            question, answer = new_id(), new_id()
            db.executemany(
                "INSERT INTO message (id, conversation, parent, role, text, reasoning, state, preset, backend, model,"
                " created_at, usage, timings) VALUES (?, ?, ?, ?, ?, ?, 'done', '8b', 'llama_cpp', 'm', ?, ?, ?)",
                [
                    (question, chat, head, "user", words.text(QUESTION_WORDS), "", at, None, None),
                    (
                        *(answer, chat, question, "assistant", words.text(ANSWER_WORDS), words.text(THOUGHT_WORDS)),
                        *(at + 1, '{"prompt_tokens":100,"output_tokens":300}', '{"decode_s":9.5}'),
                    ),
                ],
            )
            head = answer
            db.execute("UPDATE conversation SET head = ?, updated_at = ? WHERE id = ?", (answer, at, chat))
        indexing.later(db)


def measure(what: str, goal_ms: float | None, repeat: int, work: Callable[[], object]) -> None:
    """Print how long something takes."""
    took, used = [], []
    for _ in range(repeat):
        start, cpu = time.perf_counter(), time.thread_time()
        work()
        took.append((time.perf_counter() - start) * 1000)
        used.append((time.thread_time() - cpu) * 1000)
    middle = statistics.median(took)
    spread = f"({min(took):.2f} to {max(took):.2f}, {statistics.median(used):.2f} of it computing)"
    goal = f"≤ {goal_ms:g} ms{'' if middle <= goal_ms else ': MISSED'}" if goal_ms else ""
    print(f"{what:54} {middle:8.2f} ms  {spread:44} {goal}", flush=True)


def queries(words: Words) -> Iterator[tuple[str, str]]:
    yield "a common word", "the"
    yield "a common word in the middle of the list", words.words[40]
    yield "a rare word", words.words[-5]
    yield "a word that is nowhere", "zzyzzx"
    yield "two common words", "memory bandwidth"
    yield "a common and a rare word", f"the {words.words[-9]}"
    yield "a phrase", '"the memory"'
    yield "two letters", "co"
    yield "three letters", "com"
    yield "four letters that begin many words", "comp"
    yield "five letters", "prepr"
    yield "one Chinese character", "显"
    yield "a Chinese word of two", "显存"
    yield "two Chinese words", "模型 缓存"
    yield "eight words", " ".join(COMMON[:8])


def answer(text: str, thought: str) -> Answer:
    events = (Reasoning(thought), Text(text), Done("stop"))
    return fold([Record("a", number, 0.0, event) for number, event in enumerate(events)])


def turns(store: Store, words: Words, repeat: int) -> None:
    """Compare the commits of a turn with and without the index."""
    index = indexing.index
    chat = store.begin(new_id(), ASKED, "Begin")
    store.finish(chat.id, answer("Begun", ""))
    took: dict[str, list[float]] = {}
    for number in range(repeat * 8):
        plain = number % 2 == 0
        indexing.index = (lambda db, messages: None) if plain else index
        said = answer(words.text(ANSWER_WORDS), words.text(THOUGHT_WORDS))
        start = time.perf_counter()
        row = store.begin(new_id(), ASKED, words.text(QUESTION_WORDS), chat.conversation)
        between = time.perf_counter()
        store.finish(row.id, said)
        end = time.perf_counter()
        name = "without the index" if plain else "with the index"
        took.setdefault(f"commit a question, {name}", []).append((between - start) * 1000)
        took.setdefault(f"commit an answer's end, {name}", []).append((end - between) * 1000)
    indexing.index = index
    for what, times in sorted(took.items()):
        print(f"{what:58} {statistics.median(times):9.2f} ms  ({min(times):.2f} to {max(times):.2f})", flush=True)
    with store.transaction() as db:
        indexing.later(db)
    search.catch_up(store, 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to build it, or where it is")
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.gettempdir()) / f"deepseek-tui-bench-{os.getuid()}-{options.messages}"
    os.environ["DEEPSEEK_TUI_HOME"] = str(folder)
    print(f"SQLite {sqlite3.sqlite_version}, {folder}")
    store, words = Store(), Words()
    if store.count() == 0:
        start = time.monotonic()
        build(store, options.messages)
        print(f"built in {time.monotonic() - start:.1f} s, {store.path.stat().st_size / 1e6:.0f} MB without an index")
    if not search.complete(store):
        start = time.monotonic()
        search.catch_up(store, 3600)
        print(f"indexed in {time.monotonic() - start:.1f} s, {store.path.stat().st_size / 1e6:.0f} MB with it")
    long_chat = store.rows("SELECT conversation FROM message GROUP BY conversation ORDER BY count(*) DESC LIMIT 1")[0][
        0
    ]
    repeat = options.repeat

    def opened() -> None:
        other = Store()
        other.conversations(50)
        other.close()

    measure("open the store, list 50", None, repeat, opened)
    measure("list 50", 50, repeat, lambda: store.conversations(50))
    measure("list 200", 50, repeat, lambda: store.conversations(200))
    measure(
        "list 20 with their lengths", 50, repeat, lambda: [store.branch_length(c.id) for c in store.conversations(20)]
    )
    last = store.conversations(store.count())[-1]
    measure("list what follows the last", 50, repeat, lambda: store.conversations(50, before=last))
    for name, wanted in queries(words):
        found = search.search(store, wanted)
        measure(f"search: {name} ({len(found)})", 50, repeat, lambda text=wanted: search.search(store, text))
    measure("search in one chat of 5,000", 50, repeat, lambda: search.search(store, "the memory", chat=long_chat))
    branch = store.branch(long_chat)
    measure(f"read a branch of {len(branch):,}", 150, repeat, lambda: store.branch(long_chat))
    measure(f"versions in a branch of {len(branch):,}", 50, repeat, lambda: tree.versions(store, branch))
    turns(store, words, repeat)
    new = store.begin(new_id(), ASKED, "To be thrown away")
    store.finish(new.id, answer(words.text(ANSWER_WORDS), words.text(THOUGHT_WORDS)))
    measure("throw a chat away and take it back", None, 3, lambda: _to_and_fro(store, new.conversation))
    start = time.monotonic()
    store.delete(new.conversation)
    print(f"a chat deleted in {time.monotonic() - start:.2f} s", flush=True)
    start = time.monotonic()
    search.catch_up(store, 600)
    print(f"its words out of the file {time.monotonic() - start:.2f} s later; {store.path.stat().st_size / 1e6:.0f} MB")
    store.close()
    print(f"{paths.database()} stays for the next run.")


def _to_and_fro(store: Store, chat: str) -> None:
    shelf.throw_away(store, chat)
    shelf.take_back(store, chat)


if __name__ == "__main__":
    main()
