"""The user's settings: config.toml in the config folder, then the environment, then the command line."""

from __future__ import annotations

import contextlib
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from backends import paths
from backends.errors import Problem
from backends.host.wire import KEEP_ALIVE_S
from presets.checking import checked
from presets.problems import PresetError, printable, shown_path
from presets.toml_lines import key_lines, line_of

MAX_BYTES = 64 * 1024
_VARIABLE = "DEEPSEEK_TUI_"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user chose. `preset` None takes the last one used, `theme` "" the one that suits the terminal.

    `keep_alive_s` is how long a model stays loaded after its last client, where its preset does not say.
    """

    preset: str | None = None
    keep_alive_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = KEEP_ALIVE_S
    theme: str = ""


class SettingsError(Problem):
    """Settings that cannot be used. `source` is the file or variable, `key` the setting, `line` counts from 1."""

    def __init__(self, source: str, what: str, *, key: str = "", line: int | None = None, hint: str = "") -> None:
        self.source = source
        self.what = what
        self.key = key
        self.line = line
        place = f"{source}, line {line}" if line else source
        super().__init__("The settings cannot be used", ": ".join(p for p in (place, key, what) if p), hint)


def settings_file() -> Path:
    """Where the settings are kept."""
    return paths.config() / "config.toml"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the file's settings with those of the environment over them (by default this process's).

    DEEPSEEK_TUI_PRESET, DEEPSEEK_TUI_KEEP_ALIVE_S and DEEPSEEK_TUI_THEME override; an empty one does not count.
    To change the file, load with an empty environment: what a variable said is not to be written. Raises SettingsError.
    """
    settings = _from_file(settings_file())
    environment = os.environ if environment is None else environment
    for field in Settings.__struct_fields__:
        variable = _VARIABLE + field.upper()
        value = environment.get(variable, "")
        if value:
            settings = msgspec.structs.replace(settings, **{field: _from_text(variable, field, value)})
    return settings


def save_settings(settings: Settings) -> None:
    """Write the file, whole or not at all; defaults are left out. Raises SettingsError."""
    import tomli_w

    default = Settings()
    table = {
        field: value
        for field in Settings.__struct_fields__
        if (value := getattr(settings, field)) != getattr(default, field)
    }
    # A linked file stays a link.
    path = settings_file().resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        paths.private(settings_file().parent)
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            tomli_w.dump(table, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise SettingsError(
            shown_path(path), error.strerror or str(error), hint="Check the owner of the folder and the free space."
        ) from error


def _from_file(path: Path) -> Settings:
    place = shown_path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SettingsError(place, f"larger than {MAX_BYTES // 1024} KB", hint="Is it the right file?")
        # Some editors begin a file with a byte order mark, which TOML does not know.
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        table = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except OSError as error:
        raise SettingsError(place, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(place, "not UTF-8 text", line=line, hint="Save the file with UTF-8 encoding.") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(place, f"not valid TOML: {printable(str(error), 200)}") from error
    return _checked(place, table, text)


def _checked(place: str, table: dict[str, Any], text: str = "") -> Settings:
    try:
        settings = checked("settings", table, Settings)
    except PresetError as error:
        line = line_of(key_lines(text), error.path) if text else None
        what = ": ".join(part for part in (error.what, error.note) if part)
        raise SettingsError(place, what, key=error.key, line=line, hint=error.hint) from error
    if not math.isfinite(settings.keep_alive_s):
        line = line_of(key_lines(text), ("keep_alive_s",)) if text else None
        raise SettingsError(place, "wrong value: expected seconds", key="keep_alive_s", line=line)
    return settings


def _from_text(variable: str, field: str, value: str) -> Any:
    if field != "keep_alive_s":
        return value
    try:
        seconds = float(value)
    except ValueError:
        hint = f"For example: export {variable}=300"
        raise SettingsError(variable, f"expected seconds, found {printable(value)!r}", hint=hint) from None
    return _checked(variable, {field: seconds}).keep_alive_s
