"""`deepseek-tui bench`: how fast a preset is here, what of it is our own doing, and what quantising has cost."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from typing import TYPE_CHECKING

from tui.commands import bench_quality as quality
from tui.commands import output, parser

if TYPE_CHECKING:
    from backends.bench.figures import Progress, Report
    from backends.bench.plan import Plan
    from tui.chat.target import Target

_ERASE = "\r\x1b[K"
_ENGINE = ""
"""What --against is with nothing behind it."""
_EPILOG = """\
examples:
  deepseek-tui bench                         the preset that would answer next
  deepseek-tui bench 8b-q4_k_m --json        one JSON object with every figure
  deepseek-tui bench starter --depths 0,4096 at these depths of the context
  deepseek-tui bench starter --against       beside the engine on its own and the binding's chat completion
  deepseek-tui bench --quality Q3.gguf --against F16.gguf    what quantising has cost: KL divergence, perplexity

Close what else is busy on this machine: every figure is a wall clock's. An idle model is ended first, a busy one only
with --evict. Only presets of llama.cpp can be measured at present. --against writes one answer of 4,000 tokens and
ten of 1,500, so a large model takes hours; --quick takes fewer and shorter ones, good for a first look.

--quality runs a text through both files, one after the other, and compares the probabilities of every next token as
llama-perplexity does. It needs memory for the larger file alone, or reads that from the disk. BASE may also be a file
that `llama-perplexity --kl-divergence-base` wrote. The shipped text is the beginning of Newton's Opticks; a saved
answer of the base is nearer to what a thinking model is used for. It goes on in the background if it is left.

exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped"""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bench`."""
    subparser.epilog = _EPILOG
    parser.add_choice(subparser, argparse.SUPPRESS)
    parser.add_json(subparser)
    named = subparser.add_argument("named", nargs="?", metavar="PRESET", help="the same as -p PRESET")
    named.complete = parser.PRESET_COMPLETION  # type: ignore[attr-defined]  # shtab reads it
    subparser.add_argument(
        "--against",
        nargs="?",
        const=_ENGINE,
        metavar="BASE",
        help="compare with the bare engine and its Python binding; with --quality: the file or preset to compare with",
    )
    subparser.add_argument(
        "--depths", type=_depths, metavar="N,N", help="tokens in the context already (default: 0,512,2048)"
    )
    subparser.add_argument("--quick", action="store_true", help="fewer rounds: rough figures, soon")
    subparser.add_argument("--evict", action="store_true", help="end another model even while it is answering")
    quality.configure(subparser)
    subparser.set_defaults(usage_error=subparser.error)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; return the exit status. Raises Problem."""
    if arguments.quality is not None:
        return quality.run(arguments)
    quality.refuse_without(arguments)
    if arguments.against not in {None, _ENGINE}:  # `--against PRESET`: the preset stands behind the option
        if arguments.named is not None:
            arguments.usage_error("--against takes a BASE only with --quality")
        arguments.named, arguments.against = arguments.against, _ENGINE
    from backends.bench.hosting import check_backend
    from backends.bench.plan import DEPTHS, FULL, QUICK, Plan
    from tui.commands.choice import choose
    from tui.settings import load_settings

    target = choose(arguments.named or arguments.preset, arguments.backend, load_settings(), None)
    check_backend(target.spec.backend)
    plan = Plan(arguments.depths or DEPTHS, QUICK if arguments.quick else FULL, arguments.against is not None)
    report = asyncio.run(_measure(target, plan, evict=arguments.evict))
    if report is None:
        return output.STOPPED
    if arguments.json:
        output.say_json({"preset": target.preset, "title": target.title, "quick": arguments.quick, **_plain(report)})
    else:
        from tui.commands.bench_table import lines

        for line in lines(target.title, report):
            output.say(line)
    return output.DONE


async def _measure(target: Target, plan: Plan, *, evict: bool) -> Report | None:
    """Return what was measured, None if it was interrupted; either way no process is left."""
    from backends.bench.hosting import clear_the_way
    from backends.bench.measure import measure

    line = _Line()

    async def work() -> Report:
        await clear_the_way(evict=evict)
        return await measure(target.spec, target.sampling, plan, line.tell)

    task = asyncio.create_task(work())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return None
    finally:
        line.clear()


class _Line:
    """The stage on stderr: one line that is written over on a terminal, else a line for each stage."""

    def __init__(self) -> None:
        self._terminal = output.is_terminal(2)
        self._stage = ""

    def tell(self, progress: Progress) -> None:
        steps = f" · {progress.done + 1} of {progress.total}" if progress.total > 1 else ""
        if self._terminal:
            self._write(f"{_ERASE}measuring: {progress.stage}{steps}")
        elif progress.stage != self._stage:
            self._write(f"measuring: {progress.stage}\n")
        self._stage = progress.stage

    def clear(self) -> None:
        if self._terminal and self._stage:
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        try:
            os.write(2, text.encode())
        except OSError:
            self._terminal = False


def _plain(report: Report) -> dict[str, object]:
    """Return the report with each comparison's verdict."""
    import msgspec

    plain: dict[str, object] = msgspec.to_builtins(report)
    plain["against"] = {key: msgspec.to_builtins(one) | {"met": one.met} for key, one in report.against.items()}
    return plain


def _depths(text: str) -> tuple[int, ...]:
    try:
        depths = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        depths = (-1,)
    if not 0 <= depths[0] <= depths[-1] <= 1 << 20 or len(depths) > 32:
        raise argparse.ArgumentTypeError(f"not a list of depths: {text!r}; write them like 0,512,2048")
    return depths
