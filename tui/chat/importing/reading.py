"""Reading chats from a file: our own, lists of messages of other programs, and what `ollama run` leaves.

Files are hostile: whatever stands in one, each chat of it comes out whole, or as a problem that names its place.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from backends.shown import printable
from tui.chat.exporting import chat_file
from tui.chat.exporting.chat_file import ChatFile
from tui.chat.importing import message_lists, ollama_sessions
from tui.chat.importing.incoming import CannotImport, Incoming
from tui.chat.storing.stored import storable

MOST_BYTES = 512 * 1024**2
MOST_TEXT_BYTES = 16 * 1024**2
"""A transcript can hold a message in every six bytes, which would take a hundred times as much memory."""
MOST_ITEMS = 2_000_000
MOST_FAILED = 1_000
_SHORTEST_ITEM = 8
"""No message, and no chat, takes less bytes. A list of lesser things would take sixty times as much memory."""
_T = TypeVar("_T")
_ABSENT = msgspec.Raw()
_FORMS = "Chats come in from our own JSON, lists of messages (JSON, JSONL), `ollama run` transcripts and Modelfiles."
_NEWLINE = b"\n"
_SPACE = b" \t\r\n"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_BYTE = re.compile(r"\(byte (\d+)\)")
_IN_LINE = re.compile(r", line \d+\Z")
_PATH = re.compile(r" - at `\$(.*)`$", re.DOTALL)


class _Head(msgspec.Struct, frozen=True):
    """What an object of JSON says about itself."""

    format: Any = None
    version: Any = None
    messages: msgspec.Raw = _ABSENT
    chats: msgspec.Raw = _ABSENT
    role: Any = None


def read(content: bytes, source: str) -> Iterator[Incoming | CannotImport]:
    """Yield the chats of a file, one after the other, and in its place what one cannot be read for.

    `source` is the file's name in messages. Raises CannotImport where the file as a whole cannot be read.
    """
    failed = 0
    for one in _read(content, source):
        yield one
        failed += isinstance(one, CannotImport)
        if failed == MOST_FAILED:
            raise CannotImport(
                "Too much of the file cannot be read",
                f"{source}: {MOST_FAILED:,} chats; what comes after them was left out",
                _FORMS,
            )


def _read(content: bytes, source: str) -> Iterator[Incoming | CannotImport]:
    if len(content) > MOST_BYTES:
        raise CannotImport(
            "The file is too large",
            f"{source}: at most {_megabytes(MOST_BYTES)} are read at once",
            "Split it; `chats export --all --format jsonl` has a chat in each line.",
        )
    content = _utf8(content, source)
    start = content.lstrip(_SPACE)[:1]
    if not start:
        raise CannotImport("The file is empty", source, _FORMS)
    if start in {b"{", b"["}:
        first = content.strip(_SPACE).partition(b"\n")[0]
        try:
            yield from _document(content, source)
            return
        except _NotJson as error:
            several = _is_json(first) and len(first) < len(content.strip(_SPACE))
            if several:
                yield from _lines(content, source)
                return
            if b"\n>>> " not in content:
                raise error.problem from error
    if len(content) > MOST_TEXT_BYTES:
        raise CannotImport("The file is too large for a transcript", f"{source}: {_megabytes(len(content))}", _FORMS)
    yield from _text(content.decode(), source)


class _NotJson(Exception):
    """The file is no single document of JSON."""

    def __init__(self, problem: CannotImport) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _utf8(content: bytes, source: str) -> bytes:
    """Return a file's content as UTF-8 without a mark at its beginning. Raises CannotImport."""
    try:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            return storable(content.decode("utf-16")).encode()
        content = content.removeprefix(b"\xef\xbb\xbf")
        content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise CannotImport(
            "The file is no text in UTF-8",
            f"{source}, line {line}: byte {content[error.start]:#04x}",
            "`iconv -f LATIN1 -t UTF-8 FILE` translates, if it is in Latin 1.",
        ) from error
    return content


def _document(content: bytes, source: str) -> Iterator[Incoming | CannotImport]:
    """Yield the chats of one JSON document. Raises _NotJson before the first one if it is none."""
    try:
        whole = _decoded(content, msgspec.Raw)
    except msgspec.DecodeError as error:
        raise _NotJson(_malformed(error, content, source)) from error
    except RecursionError as error:
        raise _NotJson(CannotImport("The file cannot be read", f"{source}: nested too deep", _FORMS)) from error
    if bytes(whole).lstrip(_SPACE)[:1] == b"{":
        head = _typed(bytes(whole), _Head, source)
        if head.format == chat_file.MANY:
            _check_version(head, source)
            yield from _each(_items(head.chats, f"{source}: chats"), f"{source}: chats")
        else:
            yield from _safely(_chat, bytes(whole), source)
        return
    items = _items(whole, source)
    heads = [_typed(bytes(item), _Head, source) for item in items[:1] if bytes(item)[:1] == b"{"]
    if heads and heads[0].role is not None and not bytes(heads[0].messages):
        yield from _safely(_chat, bytes(whole), source)
    elif not items:
        raise CannotImport("There are no chats in it", source, _FORMS)
    else:
        yield from _each(items, f"{source}: ")


def _lines(content: bytes, source: str) -> Iterator[Incoming | CannotImport]:
    """Yield the chats of a file with one in each line, or the one chat of a file with a message in each line."""
    first = next(_rows(content))[1]
    try:
        head = _typed(first, _Head, source) if first.lstrip(_SPACE)[:1] == b"{" else _Head()
    except CannotImport:
        head = _Head()
    if head.role is not None and not bytes(head.messages):
        yield from _safely(_messages_by_line, content, source)
        return
    for number, line in _rows(content):
        yield from _safely(_chat, line, f"{source}, line {number}")


def _rows(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, with their numbers; one at a time, for there may be very many."""
    return ((number, line) for number, line in enumerate(io.BytesIO(content), 1) if line.strip(_SPACE))


def _messages_by_line(content: bytes, source: str) -> Incoming:
    rows = itertools.islice(_rows(content), message_lists.MOST_MESSAGES + 1)  # One more is refused there.
    messages = [_typed(line, message_lists.Message, f"{source}, line {number}") for number, line in rows]
    return message_lists.incoming(messages, source)


def _each(items: list[msgspec.Raw], place: str) -> Iterator[Incoming | CannotImport]:
    for number, item in enumerate(items):
        yield from _safely(_chat, bytes(item), f"{place}[{number}]")


def _safely(get: Callable[[_T, str], Incoming], given: _T, place: str) -> Iterator[Incoming | CannotImport]:
    """Yield a chat, or why it is none: the next one may be better."""
    try:
        yield get(given, place)
    except CannotImport as problem:
        yield problem


def _chat(item: bytes, place: str) -> Incoming:
    """Return the one chat that a value of JSON is. Raises CannotImport."""
    start = item.lstrip(_SPACE)[:1]
    if start == b"[":
        return message_lists.incoming(_typed(item, list[message_lists.Message], place), place)
    if start != b"{":
        raise CannotImport("This is no chat", f"{place}: an object or a list is expected", _FORMS)
    head = _typed(item, _Head, place)
    if head.format == chat_file.FORMAT:
        _check_version(head, place)
        return Incoming(_typed(item, ChatFile, place), place, own=True)
    if not bytes(head.messages):
        raise CannotImport("This is no chat", f"{place}: it has no `messages`", _FORMS)
    return message_lists.incoming(_typed(item, message_lists.Conversation, place), place)


def _check_version(head: _Head, place: str) -> None:
    if isinstance(head.version, int) and head.version > chat_file.VERSION:
        raise CannotImport(
            "This was exported by a newer deepseek-tui",
            f"{place}: version {printable(str(head.version))}; this program knows {chat_file.VERSION}",
            "Update deepseek-tui.",
        )


def _text(text: str, source: str) -> Iterator[Incoming | CannotImport]:
    try:
        if ollama_sessions.is_modelfile(text):
            yield ollama_sessions.modelfile(text)
        elif ollama_sessions.is_transcript(text):
            yield from ollama_sessions.transcript(text)
        else:
            raise CannotImport("This is no file of chats", source, _FORMS)
    except CannotImport as problem:
        problem.detail = source if problem.detail == source else f"{source}: {problem.detail}"
        raise


def _items(value: msgspec.Raw, place: str) -> list[msgspec.Raw]:
    """Return the values of a list. Raises CannotImport."""
    content = bytes(value)
    if not content:
        return []
    commas = content.count(b",")
    if commas > MOST_ITEMS and len(content) < commas * _SHORTEST_ITEM:
        raise CannotImport("This is no list of chats or messages", f"{place}: what is in it is too short", _FORMS)
    return _typed(content, list[msgspec.Raw], place)


def _megabytes(amount: int) -> str:
    return f"{amount / 1e6:,.0f} MB"


def _is_json(content: bytes) -> bool:
    try:
        _decoded(content, msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _typed(content: bytes, kind: type[_T], place: str) -> _T:
    """Return a value of JSON. Raises CannotImport, which names the key."""
    try:
        return _decoded(content, kind)
    except msgspec.ValidationError as error:
        said = str(error)
        path = _PATH.search(said)
        key = f"{printable(path[1].lstrip('.'))}: " if path else ""
        raise CannotImport(
            "A chat cannot be read", f"{place}: {key}{printable(_PATH.sub('', said))}", _FORMS
        ) from error
    except msgspec.DecodeError as error:
        raise _malformed(error, content, place) from error
    except RecursionError as error:
        raise CannotImport("A chat cannot be read", f"{place}: nested too deep", _FORMS) from error


def _decoded(content: bytes, kind: type[_T]) -> _T:
    if _SURROGATE.search(content):
        # Half of a pair is no character; msgspec would refuse the file for it.
        content = _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], content)
    return msgspec.json.decode(content, type=kind)


def _malformed(error: msgspec.DecodeError, content: bytes, place: str) -> CannotImport:
    said = str(error)
    byte = _BYTE.search(said)
    before = content[: int(byte[1])] if byte else b""
    line = f", line {before.count(_NEWLINE) + 1}" if byte and not _IN_LINE.search(place) else ""
    reason = _BYTE.sub("", said).strip()
    return CannotImport("This is no valid JSON", f"{place}{line}: {printable(reason)}", _FORMS)
