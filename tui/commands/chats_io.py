"""`chats export` and `chats import`: conversations carried out and in."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backends.shown import shown_path
from tui.chat.clean import clean_line
from tui.chat.exporting import export, export_file, plain_text
from tui.chat.exporting.export import Exported, Form
from tui.chat.exporting.markdown import markdown
from tui.chat.storing import paging
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation
from tui.commands import chats_find, chats_import, output

_ENDINGS: dict[Form, str] = {"markdown": "md", "text": "txt", "json": "json", "jsonl": "jsonl"}
_FORMS: dict[str, Form] = {"md": "markdown", "txt": "text", **{form: form for form in _ENDINGS}}


def configure(actions: Any) -> None:
    """Add `export` and `import`."""
    exporting = chats_find.add_action(
        actions, "export", "write one, a branch of it, or all to a file or stdout", _export
    )
    exporting.add_argument("id", metavar="ID", nargs="?", help=chats_find.ID_HELP)
    exporting.add_argument("--all", action="store_true", dest="every", help="every one, also those put aside")
    exporting.add_argument("--branch", metavar="MESSAGE", help="only the branch that ends with this message")
    exporting.add_argument(
        "--format",
        choices=("md", "text", "json", "jsonl"),
        help="by the file's name, else md; json and jsonl hold everything, with all branches, and can be imported",
    )
    exporting.add_argument("--show-thinking", action="store_true", help="thoughts too; json and jsonl always have them")
    exporting.add_argument("-o", "--output", metavar="FILE", help="a new file; with --all and md or text, a folder")
    exporting.add_argument("--force", action="store_true", help="replace a file that is there")
    exporting.set_defaults(usage_error=exporting.error)
    chats_import.configure(actions)


def _export(arguments: argparse.Namespace) -> int:
    if (arguments.id is None) != arguments.every:
        arguments.usage_error("name one chat, or say --all")
    if arguments.every and arguments.branch:
        arguments.usage_error("--branch belongs to one chat")
    target = None if arguments.output in {None, "-"} else Path(arguments.output).expanduser()
    form = _form(arguments, target)
    with chats_find.opened() as store:
        if not arguments.every:
            one = _one(store, arguments, form)
            return _out(arguments, form, target, [one.chat], lambda: _written(form, one, arguments.show_thinking))
        chats = paging.every(store)
        if target is not None and _is_folder(arguments.output, target, form):
            return _into_folder(store, arguments, form, target, chats)
        if form in {"markdown", "text"}:
            arguments.usage_error("all of them need a folder (-o FOLDER), or --format json or jsonl")
        return _out(arguments, form, target, chats, lambda: _stream(store, form, chats))


def _form(arguments: argparse.Namespace, target: Path | None) -> Form:
    """Return the wanted form: as it is named, or as the file's name says."""
    if arguments.format:
        return _FORMS[arguments.format]
    if target is None:
        return "json" if arguments.json else "markdown"
    return _FORMS.get(target.suffix.lower().removeprefix("."), "markdown")


def _is_folder(named: str, target: Path, form: Form) -> bool:
    return named.endswith(os.sep) or target.is_dir() or form in {"markdown", "text"}


def _one(store: Store, arguments: argparse.Namespace, form: Form) -> Exported:
    """Return the chat that is wanted: whole where the form holds every branch, else one branch."""
    whole = export.gather(store, paging.named(store, arguments.id).id)
    if arguments.branch is not None or form in {"markdown", "text"}:
        return export.branch(whole, arguments.branch)
    return whole


def _written(form: Form, one: Exported, thoughts: bool) -> Iterator[str]:
    match form:
        case "markdown":
            yield markdown(one, thoughts=thoughts)
        case "text":
            yield plain_text.text(one.chat, one.messages, thoughts=thoughts)
        case "json":
            yield export.as_json(one)
        case "jsonl":
            yield export.as_json_line(one)


def _stream(store: Store, form: Form, chats: list[Conversation]) -> Iterator[str]:
    """Yield all chats as one stream, one in memory at a time; one that was deleted meanwhile is left out."""
    gathered = _gathered(store, chats)
    return export.as_json_stream(gathered) if form == "json" else map(export.as_json_line, gathered)


def _gathered(store: Store, chats: list[Conversation]) -> Iterator[Exported]:
    for chat in chats:
        if store.rows("SELECT 1 FROM conversation WHERE id = ? AND deleted_at IS NULL", chat.id):
            yield export.gather(store, chat.id)


def _out(
    arguments: argparse.Namespace,
    form: Form,
    target: Path | None,
    chats: list[Conversation],
    pieces: Callable[[], Iterator[str]],
) -> int:
    """Write pieces to a file and say so, or to stdout and say nothing."""
    if target is None:
        _print(pieces())
        return output.DONE
    if target.is_dir():
        target = export_file.folder(target) / export_file.file_name(chats[0], _ENDINGS[form], set())
    export_file.write(target, pieces(), over=arguments.force)
    return _told(arguments, [(chat, target) for chat in chats], shown_path(target))


def _into_folder(
    store: Store, arguments: argparse.Namespace, form: Form, target: Path, chats: list[Conversation]
) -> int:
    """Write one file a chat. Those that were written before one cannot be stay."""
    folder, taken, written = export_file.folder(target), set[str](), []
    for whole in _gathered(store, chats):
        one = export.branch(whole) if form in {"markdown", "text"} else whole
        path = folder / export_file.file_name(one.chat, _ENDINGS[form], taken)
        export_file.write(path, _written(form, one, arguments.show_thinking), over=arguments.force)
        written.append((one.chat, path))
    return _told(arguments, written, shown_path(folder))


def _told(arguments: argparse.Namespace, written: list[tuple[Conversation, Path]], where: str) -> int:
    if arguments.json:
        output.say_json({"exported": [{"id": chat.id, "file": str(path)} for chat, path in written]})
    elif len(written) == 1:
        output.say(f"Exported: {clean_line(written[0][0].title)} → {shown_path(written[0][1])}")
    else:
        output.say(f"Exported {len(written)} chats → {where}")
    return output.DONE


def _print(pieces: Iterator[str]) -> None:
    """Print what is harmless already, in UTF-8 where stdout is no terminal: the file that it becomes is the same.

    Raises CannotWrite.
    """
    if output.is_terminal(1):
        for piece in pieces:
            output.say(piece.removesuffix("\n"))
        return
    sys.stdout.flush()
    for piece in pieces:
        with _full_disk_told():
            sys.stdout.buffer.write(piece.encode())
    with _full_disk_told():
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        output.forget_stdout()
        raise export_file.CannotWrite(
            "The text cannot be written", f"standard output: {error.strerror}", "Make room on the disk that it goes to."
        ) from error
