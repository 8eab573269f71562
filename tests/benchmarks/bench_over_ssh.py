"""What an answer costs over an SSH line: the whole program in a pseudo-terminal of 160x45, in its SSH profile.

    python tests/benchmarks/bench_over_ssh.py [PART…] [--rounds 3] [--idle 60] [--keys 300]

A server streams 100 tokens a second. CPU time is that of the program's own process, without the model's host; bytes are
those that reach the terminal. Both from the first token's appearance to the last one's. A token's way is timed from the
server's write on, so that the host is in it. Times of a loaded machine say nothing: look at the load that is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests import streaming
from tests.throttled import Line
from tests.watched import Watched, watched

WIDTH, HEIGHT, RATE, TOKENS = 160, 45, 100.0, 400
FIRST, LAST = "§§§§", "¶¶¶¶"
"""Characters that nothing else has: none of them is on the terminal already, so that all of them are sent."""
WORDS = (
    "Every generated token reads **all the weights** once, so decode is bound by memory bandwidth. With `q8_0` the "
    "cache takes 816 MiB at 8k tokens, and that has to be read too. "
)
ANSWER = (
    f"## Why\n\n{WORDS * 2}\n\n1. **Weights**: {WORDS}\n2. **Cache**: {WORDS}\n3. Overhead\n\n"
    "```python\ndef tokens_per_second(bandwidth: float, weights: float) -> float:\n"
    "    # one pass over the weights a token\n    return bandwidth / weights\n\n\n"
    "print(tokens_per_second(448e9, 8.99e9))\n```\n\n"
    f"| model | size | speed |\n|---|--:|--:|\n| 8B | 4.9 | 36 |\n| 14B | 6.7 | 24 |\n\n{WORDS * 2}\n\n"
)
FENCE = "```python\n" + "".join(f"value_{number} = table[{number}]\n" for number in range(400)) + "```\n\n"
TABLE = "| n | size | speed |\n|---|--:|--:|\n" + "".join(f"| {n} | {n * 7} | {n * 3} |\n" for n in range(150)) + "\n"
KEYS = "ЖЩЮЯФЦЭЪБДЛПЧШЫИГ"
"""None of them is in the stream, so that one on its way to the terminal is the echo of its key."""
KEY_S = 0.075
GOALS = {"ms CPU": 1.0, "bytes": 150.0, "last ms": 150.0, "echo ms": 40.0, "idle %": 0.3}
PEER = "a peer: 10.7 ms and 1,100 bytes a token"


class Cost(msgspec.Struct, frozen=True):
    """What one answer cost: a token's CPU time and bytes, how late the last one was seen, and what its end cost."""

    cpu_ms: float
    bytes: float
    last_ms: float
    end_cpu_ms: float
    end_bytes: int


def tokens(text: str, most: int | None = None) -> list[str]:
    """Return text in tokens of four characters, marked at both ends; repeated or cut to `most`."""
    found = [text[at : at + 4] for at in range(0, len(text), 4)]
    if most is not None:
        found = [found[number % len(found)] for number in range(most)]
    return [f"{FIRST} ", *found, f" {LAST}"]


@contextlib.contextmanager
def asked(
    pieces: Sequence[str], chat: Callable[[], str] | None = None, line: Line | None = None
) -> Iterator[tuple[Watched, Path]]:
    """Ask, in a home of its own, for an answer of these pieces; below the chat that `chat` writes, if one is given."""
    with contextlib.ExitStack() as stack:
        os.environ["DEEPSEEK_TUI_HOME"] = stack.enter_context(tempfile.TemporaryDirectory())
        url, stamps = stack.enter_context(streaming.serving(pieces, RATE))
        streaming.write_preset(url)
        opened = ["-c", chat()] if chat is not None else []
        screen = stack.enter_context(watched("-p", "stream", *opened, width=WIDTH, height=HEIGHT, line=line))
        screen.until("Stream · .*/1024k")
        time.sleep(1)
        screen.type("go\r")
        yield screen, stamps


def measured(pieces: Sequence[str], chat: Callable[[], str] | None = None) -> Cost:
    """Return what an answer of these pieces costs."""
    with asked(pieces, chat) as (screen, stamps):
        began = screen.see(FIRST)
        before = screen.cpu_s()
        ended = screen.see(LAST, began, len(pieces) / RATE + 30)
        middle = screen.cpu_s()
        time.sleep(3)
        after = screen.cpu_s()
        written = float(stamps.read_text().split()[1])
        count = len(pieces) - 1
        return Cost(
            (middle - before) / count * 1e3,
            len(screen.sent(began, ended)) / count,
            (ended - written) * 1e3,
            (after - middle) * 1e3,
            len(screen.sent(ended)),
        )


def echoes(keys: int, line: Line | None = None, key_s: float = KEY_S) -> list[float]:
    """Return how long each of so many keys took to be seen while an answer streams, in milliseconds."""
    taken = []
    count = int((keys * key_s * (1 + 1 / (len(KEYS) - 1)) + 4) * RATE)
    with asked(tokens(ANSWER, count), line=line) as (screen, _stamps):
        screen.see(FIRST)
        for number in range(keys):
            if number % (len(KEYS) - 1) == 0:  # The next line begins with another letter.
                screen.type("\x15")  # ^u empties the line, so that each letter is in it once.
                time.sleep(key_s)
            at = screen.type(KEYS[number % len(KEYS)])
            taken.append((screen.see(KEYS[number % len(KEYS)], at) - at) * 1e3)
            time.sleep(max(0.0, at + key_s - time.monotonic()))
        assert LAST.encode() not in screen.sent(), "the answer ended before the keys did"
    return taken


def key_cost(keys: int) -> tuple[float, float]:
    """Return the CPU milliseconds and the bytes of a key while nothing else happens."""
    with asked(tokens("short")) as (screen, _stamps):
        ended = screen.see(LAST)
        time.sleep(4)
        before, start = screen.cpu_s(), time.monotonic()
        for number in range(keys):
            screen.type(KEYS[number % len(KEYS)])
            time.sleep(KEY_S)
        assert ended < start
        return (screen.cpu_s() - before) / keys * 1e3, len(screen.sent(start)) / keys


def idle(seconds: float) -> tuple[float, int]:
    """Return the share of a core, in per cent, and the bytes that a screen takes in which nothing happens."""
    with asked(tokens(ANSWER, TOKENS)) as (screen, _stamps):
        screen.see(LAST)
        time.sleep(6)
        before, start = screen.cpu_s(), time.monotonic()
        time.sleep(seconds)
        return (screen.cpu_s() - before) / (time.monotonic() - start) * 100, len(screen.sent(start))


def long_chat(messages: int) -> Callable[[], str]:
    """Return what writes a chat of so many messages into the home folder and gives its id."""

    def write() -> str:
        from tests.long_chats import long_chat as written

        return written(messages)

    return write


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return median and range of some values."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def show(title: str, costs: Sequence[Cost], times: float = 1.0) -> None:
    """Print what answers of one kind cost, beside goals `times` the usual ones."""
    print(f"{title}   [load {os.getloadavg()[0]:.1f}]")
    print(f"  CPU a token    {spread([c.cpu_ms for c in costs], 3)} ms    (goal: at most {times:g}; {PEER})")
    print(f"  bytes a token  {spread([c.bytes for c in costs], 0)}    (goal: at most {150 * times:g})")
    print(f"  last token     {spread([c.last_ms for c in costs], 0)} ms after it was sent    (goal: at most 150)")
    print(f"  its end        {spread([c.end_cpu_ms for c in costs], 0)} ms CPU, ", end="")
    print(f"{spread([c.end_bytes for c in costs], 0)} bytes in 3 s", flush=True)


def main() -> None:
    parts = ("markdown", "long", "fence", "table", "echo", "line", "key", "idle")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds")
    parser.add_argument("--keys", type=int, default=300)
    options = parser.parse_args()
    rounds, wanted = range(options.rounds), options.parts or parts
    os.environ.setdefault("TERM", "xterm-256color")
    if "markdown" in wanted:
        show(f"{TOKENS} tokens of Markdown", [measured(tokens(ANSWER, TOKENS)) for _ in rounds])
    if "long" in wanted:
        chat = long_chat(2000)
        show("the same under 2,000 messages", [measured(tokens(ANSWER, TOKENS), chat) for _ in rounds], 1.2)
    if "fence" in wanted:
        show("a fence of 400 lines", [measured(tokens(FENCE)) for _ in rounds], 2)
    if "table" in wanted:
        show("a table of 150 rows", [measured(tokens(TABLE)) for _ in rounds], 2)
    if "echo" in wanted:
        taken = sorted(echoes(options.keys))
        middle, late = statistics.median(taken), taken[int(len(taken) * 0.99)]
        print(f"echo of {len(taken)} keys while an answer streams   [load {os.getloadavg()[0]:.1f}]")
        print(
            f"  median {middle:.1f}, 99 of 100 {late:.1f}, longest {taken[-1]:.1f} ms    (goal: 99 of 100 in 40)",
            flush=True,
        )
    if "line" in wanted:
        taken = sorted(echoes(min(options.keys, 40), Line(), 0.7))
        print("echo over 64 kbit/s, 300 ms there and back, while an answer streams")
        print(f"  first {taken[0]:.0f}, median {statistics.median(taken):.0f}, longest {taken[-1]:.0f} ms", flush=True)
    if "key" in wanted:
        cpu_ms, sent = key_cost(100)
        print(f"a key when nothing else happens: {cpu_ms:.2f} ms CPU, {sent:.0f} bytes", flush=True)
    if "idle" in wanted:
        share, sent = idle(options.idle)
        print(f"idle for {options.idle:g} s: {share:.2f} % of a core, {sent} bytes    (goal: at most 0.3 %, no bytes)")


if __name__ == "__main__":
    main()
