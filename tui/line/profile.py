"""What kind of terminal this is, decided once from the environment, before Textual is imported.

Textual reads some of it at import: `apply` puts it into the environment for that, and overrides nothing that a user
has set there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Literal

import msgspec

Name = Literal["local", "ssh", "plain"]
NAMES: tuple[Name, ...] = ("local", "ssh", "plain")
Colours = Literal["true", "256", "16", "none"]
Multiplexer = Literal["", "tmux", "screen"]

_TRUE_COLOUR_TERMS = ("direct", "kitty", "alacritty", "ghostty", "foot", "wezterm")
_STEPS_PER_S = "120"
"""A key that comes just after something was drawn waits for up to two steps: on the line it will wait longer yet."""
_CURSOR_KEYS_SPLIT_MS = 300
"""A cursor key is three bytes: over a slow line they come apart, and Esc alone would stop the answer."""


class Profile(msgspec.Struct, frozen=True):
    """How the screen is drawn; "plain" is none at all, but lines of text for a screen reader.

    `feed_hz` is how often growing text is drawn, `scroll_step` by how many lines a view moves.

    `escape_ms` is how long Esc is waited for to become another key. `dark` is None where the terminal does not tell.
    """

    name: Name
    through: Multiplexer = ""
    colours: Colours = "true"
    dark: bool | None = None
    feed_hz: float = 10.0
    scroll_step: int = 2
    escape_ms: int = 100

    @property
    def over_line(self) -> bool:
        """Whether bytes are dear here."""
        return self.name == "ssh"


_OF_NAMES: dict[Name, Profile] = {
    "local": Profile("local"),
    "ssh": Profile("ssh", feed_hz=10.0, scroll_step=8, escape_ms=_CURSOR_KEYS_SPLIT_MS),
    "plain": Profile("plain"),
}


# Without colours Textual still has its say on bold and the like, which a console without any colours leaves out.
_COLOUR_SYSTEMS: dict[Colours, str] = {"true": "truecolor", "256": "256", "16": "standard", "none": "standard"}


class _Chosen:
    """The profile of this process, which has one terminal; None before it is chosen."""

    profile: Profile | None = None


def current() -> Profile:
    """Return the profile that this process was started with, or what the environment says now."""
    return _Chosen.profile or decide(os.environ)


def choose(profile: Profile | None) -> None:
    """Have a profile used from now on; None: what the environment says."""
    _Chosen.profile = profile


def decide(
    environment: Mapping[str, str],
    wish: Name | Literal[""] = "",
    palette: Colours | Literal[""] = "",
    *,
    far: bool | None = None,
) -> Profile:
    """Return the profile that an environment speaks of; `wish` and `palette` are what a person asked for by name.

    `far` is what else is known of whether the terminal is at the end of an SSH line.
    """
    name: Name = wish or ("ssh" if (remote(environment) if far is None else far) else "local")
    return msgspec.structs.replace(
        _OF_NAMES[name],
        through=multiplexer(environment),
        colours=palette or colours(environment),
        dark=dark(environment),
    )


def apply(profile: Profile, environment: MutableMapping[str, str]) -> None:
    """Set what Textual reads at import. What is set already stays."""
    # Animations cost a remote line ten times the bytes, and nobody waits for them on a local one.
    environment.setdefault("TEXTUAL_ANIMATIONS", "none")
    environment.setdefault("ESCDELAY", str(profile.escape_ms))
    environment.setdefault("TEXTUAL_COLOR_SYSTEM", _COLOUR_SYSTEMS[profile.colours])
    if profile.over_line:
        # The mouse in pixels, and sizes as sequences: more bytes of what is known anyway.
        environment.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
        environment.setdefault("TEXTUAL_FPS", _STEPS_PER_S)
    if profile.colours == "none":
        environment["NO_COLOR"] = "1"
    else:  # An empty one does not count, but does so for Textual; and who asks for colours by name has them.
        environment.pop("NO_COLOR", None)


def remote(environment: Mapping[str, str]) -> bool:
    """Say whether the terminal is at the other end of an SSH line."""
    return bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))


def multiplexer(environment: Mapping[str, str]) -> Multiplexer:
    """Return what stands between the program and the terminal."""
    if environment.get("TMUX"):
        return "tmux"
    return "screen" if environment.get("STY") or environment.get("TERM", "").startswith("screen.") else ""


def is_console(environment: Mapping[str, str]) -> bool:
    """Say whether the terminal is one without a window, and so without a title or a clipboard."""
    return environment.get("TERM", "") in {"linux", "vt100", "vt220"}


def colours(environment: Mapping[str, str]) -> Colours:
    """Return how many colours the terminal promises."""
    if environment.get("NO_COLOR"):
        return "none"
    term = environment.get("TERM", "")
    if environment.get("COLORTERM", "").lower() in {"truecolor", "24bit"}:
        return "true"
    if any(word in term for word in _TRUE_COLOUR_TERMS):
        return "true"
    return "256" if "256" in term else "16"


def dark(environment: Mapping[str, str]) -> bool | None:
    """Return whether the background is dark, as COLORFGBG tells it ("15;0", "0;default;15"), None if it does not."""
    last = environment.get("COLORFGBG", "").rpartition(";")[2]
    if not last.isdecimal() or int(last) > 15:
        return None
    return int(last) in {0, 1, 2, 3, 4, 5, 6, 8}
