"""The keys as they are now: those of the table, and what settings have put in their place."""

from __future__ import annotations

from collections.abc import Mapping

from tui.keys.table import AREAS, KEYS, PLACES

UNBOUND = "unbound"
"""A name that no key has: what Textual is told of an id without a key."""

Keys = tuple[str, ...]


class _Now:
    """What settings say of this process's keys: by id, what they are instead of the table's."""

    own: Mapping[str, Keys] = {}


def put(own: Mapping[str, Keys]) -> None:
    """Have other keys from now on; `own` is checked already. {} brings back those of the table."""
    _Now.own = dict(own)
    _cache.clear()


def of(name: str) -> Keys:
    """Return the keys of an id, the first one first. Raises KeyError for an id that there is not."""
    found = _cache.get(name)
    if found is None:
        found = _cache[name] = effective(name, _Now.own)
    return found


def pressed(name: str, key: str) -> bool:
    """Say whether a key that was pressed is one of an id's."""
    return key in of(name)


def effective(name: str, own: Mapping[str, Keys]) -> Keys:
    """Return the keys that an id has with these put in: its own, and those of the id that it follows.

    A followed key that does something else in its place stays with that.
    """
    keys = own.get(name, default(name))
    follows = KEYS[name].follows
    if not follows:
        return keys
    taken = {key for other in AREAS[PLACES[name]].keys for key in own.get(other.id, default(other.id))}
    return (*keys, *(key for key in own.get(follows, default(follows)) if key not in taken))


def default(name: str) -> Keys:
    """Return the table's keys of an id, but for those that it follows."""
    written = KEYS[name].keys
    return tuple(written.split(",")) if written else ()


def keymap() -> dict[str, str]:
    """Return what differs from the table, as Textual wants it."""
    changed = {name: of(name) for name in KEYS if of(name) != effective(name, {})}
    return {name: ",".join(keys) or UNBOUND for name, keys in changed.items()}


_cache: dict[str, Keys] = {}
