"""Taking out of a text what names a person, a machine or a secret, before it is shown to strangers.

Known words go first, wherever they stand and however they are written; then whatever looks like a secret, an address or
a path. It rather takes too much than too little.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

SECRET, NAME, PLACE, ADDRESS, NUMBER = "[secret]", "[name]", "[path]", "[address]", "[id]"

_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|COOKIE|PRIVATE|SIGNATURE", re.IGNORECASE)
_NOT_SECRET: Final = {"PWD", "OLDPWD", "SSH_AUTH_SOCK", "XAUTHORITY", "SSH_ASKPASS"}
_SHORTEST_SECRET = 4
_SHORTEST_NAME = 2
_INSIDE_WORDS = 4
"""From so many letters on a name is taken out in the middle of a word too: alice-pc, alices-model."""

_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL), SECRET),
    (re.compile(r"(?i)\b(?:bearer|basic)[ \t]+\S+"), SECRET),
    (
        re.compile(r"(?i)[\w-]*(?:token|api[-_]?key|password|passwd|secret|authorization)\b[\"']?[ \t]*[:=][ \t]*\S+"),
        SECRET,
    ),
    (
        re.compile(r"(?i)(?<![a-z0-9])(?:[srp]k|hf|gh[opsur]|github_pat|glpat|xox[abpsr]|nvapi|gsk)[-_][\w-]{8,}"),
        SECRET,
    ),
    (re.compile(r"\b(?:AKIA|ASIA|AIza|eyJ)[\w.+/=-]{10,}"), SECRET),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://(?:\[[^\]\s]*\])?[^\s\"'<>)\]]*", re.IGNORECASE), ADDRESS),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), ADDRESS),
    (re.compile(r"(?i)(?<![0-9a-z])(?:GPU-|MIG-)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-z])"), NUMBER),
    (re.compile(r"\b(?:GPU|MIG)-[\w-]{6,}"), NUMBER),
    (re.compile(r"(?i)(?<![0-9a-z:])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![0-9a-z:])"), ADDRESS),
    (re.compile(r"(?i)(?<![0-9a-z])[0-9a-f]{24,}(?![0-9a-z])"), SECRET),
)
_LONG_WORD: Final = re.compile(r"(?<![\w+/-])[\w+/-]{20,}={0,2}")
_CERTAIN = 28
_IPV4: Final = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\d|\.\d)")
_IPV6: Final = re.compile(r"(?<![\w:])[0-9a-fA-F:]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:%\w+)?(?![\w:])")
_PATH: Final = re.compile(r"(?<![\w~.\]])(?<!:/)(?!(?<=:)//)~?/(?:[^\s:,;'\"()<>|&]|\\ )+")
_SYSTEM: Final = ("/etc/", "/usr/", "/sys/", "/proc/", "/dev/", "/lib/", "/lib64/", "/var/lib/systemd/")
_LOCAL: Final = re.compile(
    r"(?i)^[a-z][a-z0-9+.-]*://(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?(?:/[\w./-]*)?$"
)


class Known(msgspec.Struct, frozen=True):
    """What is known to be private: secrets and names of people, machines, files."""

    secrets: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()


def secrets_of(environment: Mapping[str, str]) -> set[str]:
    """Return the values of those variables whose names say that they hold a secret."""
    return {
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and name not in _NOT_SECRET and len(value) >= _SHORTEST_SECRET
    }


def redacted(text: str, known: Known) -> str:
    """Return `text` without anything that is known to be private, or looks so."""
    for pattern, sign in _known_patterns(known):
        text = pattern.sub(lambda _match, sign=sign: sign, text)  # type: ignore[misc]
    for pattern, sign in _PATTERNS:
        text = pattern.sub(_sign(sign), text)
    text = _PATH.sub(_path, text)
    text = _LONG_WORD.sub(_long, text)
    text = _IPV4.sub(_address, text)
    return _IPV6.sub(_address, text)


def _known_patterns(known: Known) -> Iterable[tuple[re.Pattern[str], str]]:
    """Return what finds the known words: secrets first, then places, which hold names."""
    for words, sign, shortest in (
        (known.secrets, SECRET, _SHORTEST_SECRET),
        (known.places, PLACE, _SHORTEST_NAME),
        (known.names, NAME, _SHORTEST_NAME),
    ):
        # The longest first: a word may be the beginning of another.
        alternatives = [_word(word, sign) for word in sorted(words, key=len, reverse=True) if len(word) >= shortest]
        if alternatives:
            yield re.compile("|".join(alternatives), re.IGNORECASE), sign


def _word(word: str, sign: str) -> str:
    quoted = re.escape(word)
    inside = sign != NAME or len(word) >= _INSIDE_WORDS
    return quoted if inside else rf"(?<![^\W_]){quoted}(?![^\W_])"


def _sign(sign: str) -> Callable[[re.Match[str]], str]:
    def put(match: re.Match[str]) -> str:
        return match[0] if _LOCAL.match(match[0]) else sign

    return put


def _path(match: re.Match[str]) -> str:
    """Return a path of the system as it stands; any other may name a person."""
    return match[0] if match[0].startswith(_SYSTEM) and ".." not in match[0] else PLACE


def _long(match: re.Match[str]) -> str:
    """Return a long word of letters, digits and signs only if it is none that a machine made."""
    word = match[0]
    if word.startswith("/") or not (re.search(r"\d", word) and re.search(r"[A-Za-z]", word)):
        return word
    mixed = re.search(r"[a-z]", word) and re.search(r"[A-Z]", word)
    named = re.fullmatch(r"[a-z_]+(?:[-_/][a-z0-9_]+)*", word)
    return SECRET if mixed or (len(word) >= _CERTAIN and not named) else word


def _address(match: re.Match[str]) -> str:
    try:
        found = ipaddress.ip_address(match[0].partition("%")[0].rstrip("."))
    except ValueError:
        return match[0]
    return match[0] if found.is_loopback or found.is_unspecified else ADDRESS
