"""Other keys than those of the table: what somebody wishes by ids, checked. What cannot be stays as it was, told."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import msgspec

from backends.shown import printable
from tui.keys import names
from tui.keys.now import Keys, effective
from tui.keys.table import AREAS, KEYS, PLACES, TOGETHER
from tui.words import _

_LONGEST = 80


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with the keys that somebody wishes for an id, and what to do.

    With `used` they are taken all the same. `other` is the id that has such a key already, `program` the one that would
    keep it for itself.
    """

    id: str
    what: str
    hint: str = ""
    used: bool = False
    other: str = ""
    program: str = ""


class Remapped(msgspec.Struct, frozen=True):
    """The keys that are put in, by id, and what is to be said of those that were wished."""

    own: Mapping[str, Keys]
    faults: tuple[Fault, ...]


def remap(wished: Mapping[str, str]) -> Remapped:
    """Check what is wished: "" takes an id's key away, commas stand between several."""
    own: dict[str, Keys] = {}
    faults: list[Fault] = []
    for name, text in wished.items():
        found = _read(name, text)
        if isinstance(found, Fault):
            faults.append(found)
        else:
            own[name] = found
    faults += _part_clashes(own)
    for name, keys in own.items():
        faults += _doubts(name, keys)
    return Remapped(own, tuple(faults))


def clashes(own: Mapping[str, Keys]) -> Iterator[tuple[str, str, str]]:
    """Yield two ids and the key that they both have where both of them mean something."""
    for places in TOGETHER:
        seen: dict[str, str] = {}
        for key in (key for place in places for key in AREAS[place].keys):
            for pressed in effective(key.id, own):
                other = seen.setdefault(pressed, key.id)
                if other != key.id and other not in key.beside and key.id not in KEYS[other].beside:
                    yield other, key.id, pressed


def _read(name: str, text: str) -> Keys | Fault:
    if name not in KEYS:
        near = nearest(name)
        hint = _("Did you mean {id}?").format(id=near) if near else ""
        return Fault(name, _("{id}: there is no such id").format(id=printable(name, _LONGEST)), hint)
    parts = [part for part in text.split(",") if part.strip()] if text.strip() != "," else [","]
    keys: list[str] = []
    for part in parts:
        key = names.canonical(part)
        if key is None:
            near = _nearest_key(part)
            like = _('Write keys like "ctrl+r", "f10" or "alt+1".')
            hint = _("Did you mean {key}?").format(key=near) if near else like
            wrong = printable(part.strip(), _LONGEST)
            return Fault(name, _("{key}: there is no such key").format(key=wrong), hint)
        keys.append(key)
    return _refused(name, tuple(dict.fromkeys(keys)))


def _refused(name: str, keys: Keys) -> Keys | Fault:
    """Return the keys, if an id of this place may have them."""
    needed = KEYS[name].needed
    if not keys and needed:
        what = _("without a key there is no way to do this: {what}").format(what=_(KEYS[name].help))
        return Fault(name, what, _("Give it another key."))
    if AREAS[PLACES[name]].typing:
        for key in keys:
            if names.types(key):
                what = _("{key} is needed to write where this key works").format(key=names.long(key))
                return Fault(name, what, _("Take one with Ctrl or Alt, or a function key."))
    if needed and not any(names.sent(key) for key in keys):
        what = _("few terminals send {key}, and without it there is no way to do this")
        hint = _("Add a key that every terminal sends, such as a function key.")
        return Fault(name, what.format(key=", ".join(names.long(key) for key in keys)), hint)
    return keys


def _part_clashes(own: dict[str, Keys]) -> Iterator[Fault]:
    """Give back what clashes, until nothing does: the table itself has no clash."""
    while True:
        clash = next(clashes(own), None)
        if clash is None:
            return
        first, second, key = clash
        # A key of one id may be there only because it follows another's.
        pairs = ((first, second), (second, first))
        wished = [(name, other) for one, other in pairs for name in (one, KEYS[one].follows) if name in own]
        for name, other in dict(wished).items():
            del own[name]
            what = _("{key} is the key of {other} too: {what}")
            hint = _("Give {other} another key as well, or take another one here.").format(other=other)
            told = what.format(key=names.long(key), other=other, what=_(KEYS[other].help))
            yield Fault(name, told, hint, other=other)


def _doubts(name: str, keys: Keys) -> Iterator[Fault]:
    """Yield what may keep a key from arriving."""
    for key in keys:
        program = names.prefix_of(key)
        if program:
            what = _("{key} is the prefix of {program}, which keeps it for itself")
            hint = _("Inside {program} press it twice, or take another one.").format(program=program)
            told = what.format(key=names.long(key), program=program)
            yield Fault(name, told, hint, used=True, program=program)
        if not names.sent(key):
            what = _("{key} is sent by few terminals").format(key=names.long(key))
            yield Fault(name, what, _("Give it a second key: put a comma between them."), used=True)


def nearest(name: str) -> str:
    """Return the id that somebody may have meant, "" if none is like it."""
    folded = name.strip().casefold()
    tail = folded.rpartition(".")[2]
    found = difflib.get_close_matches(folded, KEYS, 1, 0.6)
    return (found or [known for known in KEYS if known.rpartition(".")[2] == tail] or [""])[0]


def _nearest_key(part: str) -> str:
    *modifiers, base = part.strip().lower().split("+")
    near = [difflib.get_close_matches(name, names.MODIFIERS, 1, 0.6) for name in modifiers]
    near.append([base] if len(base) < 2 else difflib.get_close_matches(base, names.ALL, 1, 0.6))
    found = "+".join(names_of[0] for names_of in near if names_of)
    return found if all(near) and names.canonical(found) else ""
