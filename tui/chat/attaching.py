"""`@file` in a question: the text of a file goes along, named and fenced, when the question is sent.

An @ counts only at the beginning of a word, so that an address is none. What does not exist is no file.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

import msgspec

from backends.errors import Problem
from backends.shown import printable

LARGEST_BYTES = 256 * 1024
BYTES_A_TOKEN = 4
"""About, of English and of code."""
OFFERED = 50
_LONGEST = 4096
"""Characters of a path; the kernel takes no longer one."""
_AT = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|([^\s"]+))')
_BEGUN = re.compile(r'(?:^|\s)(@(?:"[^"\n]*|[^\s"]*))$')
_PATH_LIKE = re.compile(r"[/~]|\.[A-Za-z0-9]{1,5}$")
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_AFTER = ",.;:!?)]}>'"


class Place(NamedTuple):
    """Where a file is named in a text: what stands there, and the path that is meant."""

    written: str
    path: Path
    quoted: bool


class Attached(msgspec.Struct, frozen=True):
    """A file that goes along: as it is named, and its text, None before it is read. `size` is in bytes."""

    name: str
    size: int
    text: str | None = None

    @property
    def tokens(self) -> int:
        """About how many tokens it is."""
        return -(-self.size // BYTES_A_TOKEN)


class CannotAttach(Problem):
    """A file that cannot go along with a question."""


def places(text: str) -> list[Place]:
    """Return what may name files in a text, each once, in its order. Looks at the disk."""
    found: dict[str, Place] = {}
    for match in _AT.finditer(text):
        written = match[1] or match[2]
        if len(written) > _LONGEST:
            continue
        path = _path(written)
        if match[2]:
            # What a sentence goes on with is no part of the name, unless there is such a file.
            while written and written[-1] in _AFTER and not os.path.lexists(path):
                written = written[:-1]
                path = _path(written)
        if written:
            found.setdefault(written, Place(written, path, quoted=match[1] is not None))
    return list(found.values())


def look(text: str) -> list[Attached]:
    """Return the files that would go along with a text, without reading them. Raises CannotAttach.

    It is raised also for what looks like a path and does not exist. Blocks as long as the disk does.
    """
    found = []
    for place in places(text):
        try:
            status = place.path.stat()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_FILE:
                raise _cannot(place, error.strerror or "it cannot be looked at") from error
            if place.quoted or _PATH_LIKE.search(place.written):
                raise _cannot(place, "there is no such file") from error
            continue
        if stat.S_ISDIR(status.st_mode):
            raise _cannot(place, "it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise _cannot(place, "it is no file with text in it")
        if status.st_size > LARGEST_BYTES:
            raise _too_large(place)
        found.append(Attached(place.written, status.st_size))
    return found


def expanded(text: str) -> str:
    """Return a text as it is sent: behind it the files that it names, each fenced. Raises CannotAttach.

    Blocks as long as the disk does.
    """
    wanted = {attached.name for attached in look(text)}
    parts = [_fenced(_read(place)) for place in places(text) if place.written in wanted]
    return "\n\n".join([text.rstrip(), *parts]) if parts else text


def begun(before: str) -> str | None:
    """Return the name of a file that is being typed at the end of a line's text before the cursor, with its @."""
    match = _BEGUN.search(before)
    return match[1] if match else None


def offers(token: str) -> list[str]:
    """Return what a name that is begun can become: folders end with /, names with blanks are quoted. Never raises."""
    written = token[1:].removeprefix('"')
    folder, slash, begin = written.rpartition("/")
    found = []
    try:
        with os.scandir(_path(f"{folder}/" if slash else ".")) as entries:
            for entry in entries:
                if entry.name.startswith(begin) and (begin or not entry.name.startswith(".")):
                    found.append((entry.name, _is_folder(entry)))
                if len(found) > 10 * OFFERED:
                    break
    except (OSError, ValueError):
        return []
    names = sorted(found, key=lambda one: (one[0].startswith("."), one[0].lower()))[:OFFERED]
    return [_offer(f"{folder}{slash}{name}", is_folder) for name, is_folder in names if printable(name) == name]


def _offer(name: str, is_folder: bool) -> str:
    quoted = bool(re.search(r"\s", name))
    if is_folder:
        return f'@"{name}/' if quoted else f"@{name}/"
    return f'@"{name}"' if quoted else f"@{name}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _path(written: str) -> Path:
    try:
        return Path(written).expanduser()
    except RuntimeError:  # ~name of nobody here.
        return Path(written)


def _read(place: Place) -> Attached:
    try:
        # A pipe that has come into the file's place must not make the opening wait.
        descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _cannot(place, "it is no file with text in it")
            raw = opened.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise _cannot(place, error.strerror or "it cannot be read") from error
    if len(raw) > LARGEST_BYTES:
        raise _too_large(place)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _cannot(place, "it is no UTF-8 text") from error
    if "\0" in text:
        raise _cannot(place, "it is binary")
    return Attached(place.written, len(raw), text)


def _fenced(attached: Attached) -> str:
    """Return a file as a block of Markdown that ends where the file ends, whatever is in it."""
    text = (attached.text or "").replace("\r\n", "\n")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    end = "" if text.endswith("\n") or not text else "\n"
    return f"{attached.name}:\n{fence}\n{text}{end}{fence}"


def _cannot(place: Place, why: str) -> CannotAttach:
    return CannotAttach(f"{printable(place.written)}: {why}", str(place.path), "")


def _too_large(place: Place) -> CannotAttach:
    return _cannot(place, f"it is larger than {LARGEST_BYTES // 1024} KB")
