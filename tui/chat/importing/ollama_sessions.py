"""Chats from `ollama run`: what its terminal showed, and the Modelfile of a session that `/save` has kept.

Its terminal asks with `>>> `, and `... ` where a message goes on; `/clear` and `/load` begin a new conversation. A
saved session is a model: `ollama show --modelfile NAME` prints its messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from backends.events import Timings, Usage
from tui.chat.importing.incoming import CannotImport, Incoming, Role, Said, from_said, taken_apart
from tui.chat.importing.recorded import plain

PROMPT, MORE = ">>> ", "... "
_PLACEHOLDERS = ("Send a message (/? for help)", "Press Enter to send")
_COMMANDS = ("/set", "/show", "/load", "/save", "/clear", "/bye", "/exit", "/list", "/help", "/?")
_QUOTES = '"""'
_RUN = re.compile(r"\bollama\s+run\s+(?:--?\S+\s+)*([\w./:@-]+)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_THOUGHT = re.compile(r"\A\s*Thinking\.\.\.\n(.*?)\n?\.\.\.done thinking\.[ \t]*(?:\n|\Z)", re.DOTALL)
_STATISTIC = re.compile(r"(total duration|load duration|(?:prompt )?eval (?:count|duration|rate)): +(\S.*)")
_DURATION = re.compile(r"([0-9.]+)(ns|µs|us|ms|h|m|s)")
_SECONDS = {"ns": 1e-9, "µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MESSAGE = re.compile(r"[ \t]*MESSAGE[ \t]+(system|user|assistant)[ \t]+(.*)", re.IGNORECASE)
_FROM = re.compile(r"[ \t]*FROM[ \t]+(\S+)", re.IGNORECASE)


class _Turn(msgspec.Struct):
    """What was typed at one prompt, from which line of the file on, and what came back."""

    line: int
    typed: str
    back: list[str]


def is_transcript(text: str) -> bool:
    """Say whether a text looks like what `ollama run` shows."""
    return any(line.startswith(PROMPT) for line in plain(text).split("\n"))


def is_modelfile(text: str) -> bool:
    """Say whether a text looks like a Modelfile with messages."""
    lines = text.splitlines()
    return any(map(_FROM.match, lines)) and any(map(_MESSAGE.match, lines))


def transcript(text: str) -> Iterator[Incoming]:
    """Yield the conversations of a transcript. Raises CannotImport if there is none."""
    lines = plain(text).split("\n")
    model = None
    said: list[Said] = []
    place = None
    found = 0
    for turn in _turns(lines):
        if place is None:
            model = next((run[1] for line in lines[: turn.line] if (run := _RUN.search(line[:1000]))), None)
            place = f"line {turn.line + 1}"
        word, _, rest = turn.typed.strip().partition(" ")
        if word in {"/clear", "/load"}:
            if any(one.role == "user" for one in said):
                found += 1
                yield Incoming(from_said(said, model=model), place, own=False)
            said = [one for one in said[:1] if one.role == "system" and word == "/clear"]
            model = rest.strip() or model if word == "/load" else model
            place = f"line {turn.line + 1}"
        elif word == "/set" and rest.startswith("system "):
            if said and said[-1].role == "system":
                said.pop()
            said.append(Said("system", _unquoted(rest.removeprefix("system ").strip())))
        elif not (word in _COMMANDS or _is_refused(turn)):
            said += _exchange(turn)
    if any(one.role == "user" for one in said):
        found += 1
        yield Incoming(from_said(said, model=model), place or "", own=False)
    if not found:
        raise CannotImport(
            "There is no conversation in it", "a transcript of `ollama run`", "A message stands behind `>>> `."
        )


def modelfile(text: str) -> Incoming:
    """Return the conversation that a saved session holds. Raises CannotImport if there is none."""
    lines = text.replace("\r\n", "\n").split("\n")
    # Of each quote the last line that closes one: where none does, it is not looked for again and again.
    closing = {
        quote: max((number for number, line in enumerate(lines) if line.rstrip().endswith(quote)), default=-1)
        for quote in ('"', _QUOTES)
    }
    model, said, place, first = None, [], 0, 0
    while place < len(lines):
        source, message = _FROM.match(lines[place]), _MESSAGE.match(lines[place])
        place += 1
        if source is not None:
            model = source[1]
        elif message is not None:
            first = first or place
            value, place = _value(message[2], lines, place, closing)
            role: Role = "user" if message[1].lower() == "user" else "assistant"
            if message[1].lower() == "system":
                said.append(Said("system", value))
            elif role == "user":
                said.append(Said("user", value))
            else:
                thought, visible = taken_apart(value)
                said.append(Said("assistant", visible, thought))
    if not said:
        raise CannotImport("There are no messages in it", "a Modelfile", "`/save` keeps them in a model.")
    return Incoming(from_said(said, model=_model_name(model)), f"line {first}", own=False)


def _turns(lines: Sequence[str]) -> Iterator[_Turn]:
    place = next((number for number, line in enumerate(lines) if line.startswith(PROMPT)), len(lines))
    last_fence = {found[1][0]: number for number, line in enumerate(lines) if (found := _FENCE.match(line))}
    while place < len(lines):
        began = place
        typed = lines[place][len(PROMPT) :]
        place += 1
        many = typed.startswith((_QUOTES, "/set system " + _QUOTES)) and typed.count(_QUOTES) < 2
        while place < len(lines) and (many or lines[place].startswith(MORE)):
            more = lines[place].removeprefix(MORE)
            typed += "\n" + more
            place += 1
            if many and more.endswith(_QUOTES):
                break
        back: list[str] = []
        fence = ""
        while place < len(lines):
            # Python's own prompt in a block of code that is closed below is none of ours.
            if lines[place].startswith(PROMPT) and place >= last_fence.get(fence[:1], 0):
                break
            found = _FENCE.match(lines[place])
            if found is not None and found[1].startswith(fence):
                fence = "" if fence else found[1]
            back.append(lines[place])
            place += 1
        if typed.strip() in {"/bye", "/exit"}:
            return
        if typed.strip() and typed.strip() not in _PLACEHOLDERS:
            yield _Turn(began, typed, back)


def _exchange(turn: _Turn) -> Iterator[Said]:
    yield Said("user", _unquoted(turn.typed))
    back = list(turn.back)
    told: dict[str, str] = {}
    while back and (not back[-1].strip() or (found := _STATISTIC.fullmatch(back[-1].strip()))):
        line = back.pop()
        if line.strip() and found is not None:
            told[found[1]] = found[2]
    text = "\n".join(back).strip("\n")
    found_thought = _THOUGHT.match(text)
    if found_thought is not None:
        thought, text = found_thought[1].strip("\n"), text[found_thought.end() :].strip("\n")
    else:
        thought, text = taken_apart(text)
    if text or thought:
        yield Said("assistant", text, thought, *_figures(told))


def _figures(told: dict[str, str]) -> tuple[Usage | None, Timings | None]:
    """Return what `--verbose` has told."""
    if not told:
        return None, None
    rate = re.match(r"[0-9.]+", told.get("eval rate", ""))
    return (
        Usage(prompt_tokens=_count(told.get("prompt eval count")), output_tokens=_count(told.get("eval count"))),
        Timings(
            _duration(told.get("load duration")),
            _duration(told.get("prompt eval duration")),
            _duration(told.get("eval duration")),
            _number(rate[0]) if rate else None,
        ),
    )


def _count(text: str | None) -> int | None:
    found = re.match(r"\d{1,12}(?!\d)", text or "")
    return int(found[0]) if found else None


def _duration(text: str | None) -> float | None:
    parts = _DURATION.findall(text or "")
    amounts = [(_number(amount), unit) for amount, unit in parts]
    if not parts or "".join(map("".join, parts)) != text:
        return None
    return sum((amount or 0.0) * _SECONDS[unit] for amount, unit in amounts)


def _number(text: str) -> float | None:
    try:
        return float(text) if len(text) < 32 else None
    except ValueError:
        return None


def _is_refused(turn: _Turn) -> bool:
    """Whether it was taken for a command and not for a message."""
    return turn.typed.startswith("/") and any(line.startswith("Unknown command") for line in turn.back[:1])


def _unquoted(text: str) -> str:
    text = text.strip()
    return text.removeprefix(_QUOTES).removesuffix(_QUOTES) if text.startswith(_QUOTES) else text


def _value(first: str, lines: Sequence[str], place: int, closing: Mapping[str, int]) -> tuple[str, int]:
    """Return a Modelfile's value, which may go over several lines until `closing`, and the line behind it.

    Ollama quotes what has a line break, with three quotes where one stands in it, and leaves all else as it is.
    """
    quote = _QUOTES if first.startswith(_QUOTES) else '"' if first.startswith('"') else ""
    if not quote:
        return first, place
    if first.rstrip().endswith(quote) and len(first.rstrip()) >= 2 * len(quote):
        return first.rstrip()[len(quote) : -len(quote)], place
    if quote == '"' and '"' in first[1:]:
        return first, place
    for end in range(place, closing[quote] + 1):
        if lines[end].rstrip().endswith(quote):
            whole = "\n".join([first, *lines[place : end + 1]]).rstrip()
            return whole[len(quote) : -len(quote)], end + 1
    return first, place


def _model_name(source: str | None) -> str | None:
    """Return a model's name from a FROM line; the path of a file says nothing to anybody."""
    return None if source is None or source.startswith(("/", ".", "~")) or "\\" in source else source
