"""Taking a chat that was read from a file into the store: all of it in one transaction, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from tui import units
from tui.chat.asking import Asking
from tui.chat.exporting.chat_file import ChatFile, ChatRecord, MessageRecord, chat_file
from tui.chat.exporting.export import Exported, gather
from tui.chat.importing.incoming import CannotImport, Incoming
from tui.chat.searching import indexing
from tui.chat.storing import receipts
from tui.chat.storing.receipts import Receipt
from tui.chat.storing.store import Store
from tui.chat.storing.stored import ASKING, StoreError, json_or_none, kept_asking, new_id

How = Literal["imported", "same", "different", "thrown_away"]
_INDEXED_AT_ONCE = 200
_JSON = {"usage", "timings", "energy", "cost", "error"}
_MESSAGE = MessageRecord.__struct_fields__
_ABOUT = {
    "title": "another title",
    "head": "another branch shown",
    "pinned_at": "otherwise pinned",
    "archived_at": "otherwise archived",
}


class Outcome(msgspec.Struct, frozen=True):
    """What became of a chat of a file: `id` is that which it has here, `detail` what differs."""

    how: How
    id: str
    title: str
    messages: int
    place: str
    detail: str = ""
    left_out: tuple[str, ...] = ()


def take_in(store: Store, one: Incoming, *, as_new: bool = False) -> Outcome:
    """Take a chat in if it is not here yet; nothing that is here is overwritten. Raises CannotImport and StoreError.

    With `as_new` it and its messages get new ids, so that it comes beside the one that is here. Its receipts keep
    theirs: what was paid once is counted once.
    """
    file = _checked(one)
    if as_new:
        file = _renamed(file)
    try:
        with store.transaction() as db:
            here = db.execute("SELECT title, deleted_at FROM conversation WHERE id = ?", (file.chat.id,)).fetchone()
            if here is None:
                _write(db, file)
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.IntegrityError):
            raise _taken(file, one) from error
        raise
    if here is None:
        return _outcome("imported", one, file)
    if here["deleted_at"] is not None:
        return _outcome("thrown_away", one, file, f"`deepseek-tui chats restore {file.chat.id[:8]}` brings it back")
    how, detail = _compared(gather(store, file.chat.id), file) if one.own else ("same", "")
    return _outcome(how, one, file, detail)


def _outcome(how: How, one: Incoming, file: ChatFile, detail: str = "") -> Outcome:
    return Outcome(how, file.chat.id, file.chat.title, len(file.messages), one.place, detail, one.left_out)


def _checked(one: Incoming) -> ChatFile:
    """Return a chat whose messages are a tree, a parent before its answers. Raises CannotImport."""
    file = one.file
    by_id = {message.id: message for message in file.messages}
    if len(by_id) != len(file.messages):
        raise _broken(one, "two messages have the same id")
    if len({receipt.id for receipt in file.receipts}) != len(file.receipts):
        raise _broken(one, "two receipts have the same id")
    for number, message in enumerate(file.messages):
        if message.parent is not None and message.parent not in by_id:
            raise _broken(one, f"messages[{number}].parent is no message of this chat")
    if file.chat.head is not None and file.chat.head not in by_id:
        raise _broken(one, "chat.head is no message of this chat")
    for number, receipt in enumerate(file.receipts):
        if receipt.message is not None and receipt.message not in by_id:
            raise _broken(one, f"receipts[{number}].message is no message of this chat")
    ordered = tuple(map(_settled, _parents_first(file.messages)))
    if len(ordered) != len(file.messages):
        raise _broken(one, "its messages answer each other in a circle")
    return msgspec.structs.replace(file, messages=ordered)


def _broken(one: Incoming, what: str) -> CannotImport:
    return CannotImport("A chat cannot be read", f"{one.place}: {what}", "The file was changed, or is incomplete.")


def _taken(file: ChatFile, one: Incoming) -> CannotImport:
    return CannotImport(
        "A message of this chat is here already, in another chat",
        f"{one.place}: {file.chat.id}",
        "`--as-new` gives the chat and its messages new ids.",
    )


def _parents_first(messages: tuple[MessageRecord, ...]) -> Iterator[MessageRecord]:
    """Yield messages in their order where no parent stands behind its answer, else in one where none does."""
    waiting: dict[str | None, list[MessageRecord]] = {}
    out: set[str | None] = {None}
    for message in messages:
        ready = [message] if message.parent in out else []
        if not ready:
            waiting.setdefault(message.parent, []).append(message)
        while ready:
            first = ready.pop()
            out.add(first.id)
            yield first
            ready += reversed(waiting.pop(first.id, []))


def _settled(message: MessageRecord) -> MessageRecord:
    """Return a message as it can be kept here: nobody writes on an answer that came out of a file."""
    return message if message.state != "streaming" else msgspec.structs.replace(message, state="interrupted")


def _renamed(file: ChatFile) -> ChatFile:
    ids: dict[str | None, str | None] = {message.id: new_id() for message in file.messages}
    ids[None] = None
    replace = msgspec.structs.replace
    return replace(
        file,
        chat=replace(file.chat, id=new_id(), head=ids[file.chat.head]),
        messages=tuple(replace(one, id=ids[one.id], parent=ids[one.parent]) for one in file.messages),
        receipts=tuple(replace(one, message=ids[one.message]) for one in file.receipts),
    )


def _write(db: sqlite3.Connection, file: ChatFile) -> None:
    chat = {**msgspec.structs.asdict(file.chat), ASKING: kept_asking(_asking(file.chat))}
    db.execute(
        f"INSERT INTO conversation ({', '.join(chat)}) VALUES ({', '.join('?' * len(chat))})",  # noqa: S608 - our names
        tuple(chat.values()),
    )
    columns = ", ".join((*_MESSAGE, "conversation"))
    db.executemany(
        f"INSERT INTO message ({columns}) VALUES ({', '.join('?' * (len(_MESSAGE) + 1))})",  # noqa: S608 - our names
        ((*(_value(one, name) for name in _MESSAGE), file.chat.id) for one in file.messages),
    )
    for one in file.receipts:
        receipt = Receipt(conversation=file.chat.id, **msgspec.structs.asdict(one))
        if not receipts.insert(db, receipt):
            # It outlived its chat, which comes back now. Of a chat that is here it stays where it is.
            db.execute(
                "UPDATE receipt SET conversation = ?, message = ? WHERE id = ? AND conversation IS NULL",
                (file.chat.id, one.message, one.id),
            )
    if len(file.messages) <= _INDEXED_AT_ONCE:
        indexing.index(db, [one.id for one in file.messages])
    else:
        indexing.later(db)


def _asking(chat: ChatRecord) -> Asking | None:
    """Return what a chat of a file asks of its model; what asks nothing is None, however the file says it."""
    return chat.asking if isinstance(chat.asking, Asking) and chat.asking.names else None


def _value(message: MessageRecord, name: str) -> Any:
    value = getattr(message, name)
    return json_or_none(value) if name in _JSON else value


def _compared(here: Exported, file: ChatFile) -> tuple[How, str]:
    """Return whether all that is said in a file is here, and what differs between the two."""
    own = chat_file(here.chat, here.messages, here.receipts)
    ours, theirs = {one.id: _settled(one) for one in own.messages}, {one.id: one for one in file.messages}
    missing = len(theirs.keys() - ours.keys())
    changed = sum(theirs[one] != ours[one] for one in theirs.keys() & ours.keys())
    asks_otherwise = _asking(own.chat) != _asking(file.chat)
    parts = [
        _counted(missing, "only in the file"),
        _counted(changed, "not as it is here"),
        _counted(len(ours.keys() - theirs.keys()), "only here"),
        *(f"{words} here" for name, words in _ABOUT.items() if getattr(own.chat, name) != getattr(file.chat, name)),
        "another system prompt or sampling here" if asks_otherwise else "",
    ]
    return "different" if missing or changed else "same", ", ".join(part for part in parts if part)


def _counted(messages: int, what: str) -> str:
    return f"{units.counted(messages, 'message')} {what}" if messages else ""
