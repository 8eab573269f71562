"""Every check there is, run over one look at the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tui.checks import (
    cards,
    disk,
    engines,
    fits,
    installation,
    keys,
    language,
    memory,
    models,
    money,
    processor,
    screen,
    servers,
    session,
)
from tui.checks.check import Check, guarded, in_order
from tui.checks.ground import Ground, Tell, gather


def look(tell: Tell = lambda _doing: None, root: Path = Path("/")) -> tuple[Ground, list[Check]]:
    """Look at everything; return what was learnt of the machine, and the findings in order of harm."""
    tell("the installation")
    found = _installation()
    grounds: list[Ground] = []
    found += guarded("machine", lambda: _gathered(grounds, tell, root))
    ground = grounds[0] if grounds else Ground(root)
    tell("energy, the terminal and the session")
    return ground, in_order([*found, *of(ground)])


def of(ground: Ground) -> list[Check]:
    """Run the checks of a machine that was looked at."""
    return [
        *guarded("backends", lambda: engines.engines(ground)),
        *guarded("cards", lambda: cards.cards(ground)),
        *guarded("memory", lambda: memory.memory(ground)),
        *guarded("disk", lambda: disk.disk(ground)),
        *guarded("processor", lambda: processor.processor(ground)),
        *guarded("Ollama", lambda: servers.ollama(ground)),
        *guarded("logout", lambda: session.logout(ground.root)),
        *guarded("energy", money.energy),
        *guarded("tariff", money.tariff),
        *guarded("presets", lambda: models.presets(ground.catalog)),
        *guarded("plan", lambda: fits.fits(ground)),
        *guarded("loaded models", lambda: models.hosts(ground.hosts)),
        *guarded("terminal", screen.screen),
        *guarded("language", language.language),
        *guarded("keys", keys.keys),
    ]


def _gathered(grounds: list[Ground], tell: Tell, root: Path) -> Iterator[Check]:
    """Look at the machine; that succeeds on all but the sickest, and then there is nothing to say."""
    grounds.append(gather(tell, root))
    yield from ()


def _installation() -> list[Check]:
    return [
        *guarded("python", installation.python),
        *guarded("folders", installation.folders),
        *guarded("conversations", installation.database),
        *guarded("settings", installation.settings),
        *guarded("socket path", installation.sockets),
    ]
