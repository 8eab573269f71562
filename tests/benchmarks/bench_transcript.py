"""What a streaming answer costs: bytes and CPU a token, in a pseudo-terminal.

    python tests/benchmarks/bench_transcript.py [--tokens 400] [--rate 100] [--hertz 10] [--step 8] [--history 40]

A child shows a chat and streams an answer of Markdown into it; the parent counts the bytes that reach the terminal
between the first token and the last, and the child says what CPU time it used for them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import time
from pathlib import Path

ROWS, COLUMNS = 45, 160
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
START, END = b"<<first token>>", b"<<last token>>"


def child(options: argparse.Namespace) -> None:
    """Run the screen; the marks around the stream go out as terminal titles, in order with what is drawn."""
    os.environ["TEXTUAL_ANIMATIONS"] = "none"
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from textual.app import App, ComposeResult

    from tui.widgets.transcript import Entry, Transcript

    tokens = [ANSWER[at : at + 4] for at in range(0, len(ANSWER), 4)]
    pieces = [tokens[number % len(tokens)] for number in range(options.tokens)]

    class Bench(App[None]):
        def compose(self) -> ComposeResult:
            yield Transcript()

        def on_mount(self) -> None:
            transcript = self.query_one(Transcript)
            transcript.scroll_step = options.step
            history = [Entry(f"h{n}", "assistant", "8B", "21:04", text=ANSWER) for n in range(options.history)]
            transcript.show([*history, Entry("q", "user", "You", "21:05", text="Why?")])
            self.run_worker(self.stream(transcript))

        async def stream(self, transcript: Transcript) -> None:
            thinking = options.thinking

            def entry(text: str, live: bool = True) -> Entry:
                if thinking:
                    summary = f"thinking · {len(text) // 4} tokens · 23.6 tok/s"
                    return Entry("a", "assistant", "8B", reasoning=text, thought=summary, thinking=True, live=live)
                return Entry("a", "assistant", "8B", "21:05", text=text, live=live)

            await asyncio.sleep(1)
            self.mark(START)
            before = time.process_time()
            shown = 0
            start = time.monotonic()
            while shown < len(pieces):
                shown = min(len(pieces), int((time.monotonic() - start) * options.rate) + 1)
                transcript.put(entry("".join(pieces[:shown])))
                await asyncio.sleep(1 / options.hertz)
            transcript.put(entry("".join(pieces), live=False))
            await asyncio.sleep(0.2)
            used = time.process_time() - before
            self.mark(END + f"{used:.4f} s {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} KiB".encode())
            await asyncio.sleep(0.3)
            self.exit()

        def mark(self, text: bytes) -> None:
            if self._driver is not None:
                self._driver.write(f"\x1b]2;{text.decode()}\x07")
                self._driver.flush()

    Bench().run()


def measure(options: argparse.Namespace) -> None:
    """Run the child in a pseudo-terminal and report."""
    import pexpect

    arguments = [__file__, "--child", *sys.argv[1:]]
    terminal = pexpect.spawn(
        sys.executable,
        arguments,
        dimensions=(ROWS, COLUMNS),
        timeout=120,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    chunks = []
    try:
        while True:
            chunks.append(terminal.read_nonblocking(65536, timeout=60))
    except pexpect.EOF:
        pass
    out = b"".join(chunks)
    between = out.split(START)[1].split(END)[0]
    seconds, _, memory, _ = out.split(END)[1].split(b"\x07")[0].decode().split()
    print(f"{options.tokens} tokens at {options.rate}/s, put at {options.hertz} Hz, scroll step {options.step}")
    print(f"{len(between) / options.tokens:8.1f} bytes a token")
    print(f"{float(seconds) / options.tokens * 1000:8.2f} ms CPU a token")
    print(f"{int(memory) / 1024:8.1f} MiB resident at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--hertz", type=float, default=10)
    parser.add_argument("--step", type=int, default=8)
    parser.add_argument("--history", type=int, default=40, help="answers above the one that streams")
    parser.add_argument("--thinking", action="store_true", help="stream a thought instead of an answer")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
    else:
        measure(options)


if __name__ == "__main__":
    main()
