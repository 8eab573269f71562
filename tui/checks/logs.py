"""The last lines of the hosts' logs, for strangers: only those that an engine or Python is known to write.

What an engine prints may hold anything, a prompt too. So a line is kept by what it is, and what stands in quotes in it
is not.
"""

from __future__ import annotations

import re
from pathlib import Path

from backends.hardware.bounded import tail
from tui.chat.clean import clean_line

_LAST_BYTES = 16 * 1024
_MOST_HOSTS = 4
_MOST_LINES = 20
_LONGEST = 300

_ENGINE = re.compile(
    r"(?:ggml|llama|gguf|load|print_info|sched|graph|init|create|alloc|CUDA|cuda|GGML|HIP|Vulkan|system)\w*(?: \w+)?:"
    r"|GGML_ASSERT|CUDA error|Fatal Python error|Segmentation fault|Aborted|terminate called|Killed|Illegal instruction"
)
_LOADER = re.compile(r"cannot open shared object file|version `\w+' not found|undefined symbol|out of memory")
_FRAME = re.compile(r"\s*File \"[^\"]*?([\w.-]+/[\w.-]+/[\w.-]+\.py)\", line (\d+)(?:, in (\w+|<\w+>))?")
_ERROR = re.compile(r"((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Died|Memory))(?::|$)")
_METADATA = re.compile(r"general\.|tokenizer|template|kv +\d+:|prompt", re.IGNORECASE)
"""What a model says of itself, and what it was asked."""
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`']*[`']|“[^”]*”|«[^»]*»")


def host_logs(hosts: Path) -> list[str]:
    """Return the kept lines of the newest logs, a head above each; nothing where there are none."""
    told: list[str] = []
    for number, log in enumerate(_newest(hosts), 1):
        lines = [line for line in tail(log, _LAST_BYTES).splitlines() if line.strip()]
        kept = [shown for line in lines if (shown := shown_line(line))]
        kept = kept[-_MOST_LINES:]
        told.append(f"host {number}: {len(lines)} lines, {len(lines) - len(kept)} of them left out")
        told += [f"  {line}" for line in kept]
    return told


def shown_line(line: str) -> str:
    """Return what strangers may see of a line of a log, "" for nothing."""
    line = clean_line(line)[:_LONGEST]
    frame = _FRAME.match(line)
    if frame is not None:
        inside = f" in {frame[3]}" if frame[3] else ""
        return f"at {frame[1]}:{frame[2]}{inside}"
    if line.startswith("Traceback (most recent call last)"):
        return "Traceback:"
    error = _ERROR.match(line)
    if error is not None:
        # What an exception says may quote what it was given.
        return f"{error[1]}: {_loader(line)}" if _loader(line) else error[1]
    if _METADATA.search(line):
        return ""
    if _ENGINE.match(line) or _loader(line):
        return _QUOTED.sub("'…'", line)
    return ""


def _loader(line: str) -> str:
    """Return what the system's loader or an allocator says in a line, with the library that it is about."""
    found = _LOADER.search(line)
    if found is None:
        return ""
    library = re.search(r"\blib[\w+-]+\.so[\d.]*", line)
    return f"{library[0]} {found[0]}" if library else found[0]


def _newest(hosts: Path) -> list[Path]:
    try:
        logs = [(log.stat().st_mtime, log) for log in hosts.glob("*/log") if log.is_file()]
    except OSError:
        return []
    return [log for _, log in sorted(logs, reverse=True)[:_MOST_HOSTS]]
