"""The user's settings: config.toml in the config folder, then the environment, then the command line."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from backends import atomic, paths
from backends.errors import BadOptions, Problem
from backends.host.wire import KEEP_ALIVE_S
from backends.origins import Origin, origin_of
from backends.shown import printable, shown_path
from presets.checking import checked
from presets.problems import PresetError
from presets.toml_lines import key_lines, line_of
from tui.chat.bill import Rates

MAX_BYTES = 64 * 1024
_VARIABLE = "DEEPSEEK_TUI_"
_BY_VARIABLE = ("preset", "keep_alive_s", "theme", "profile", "language")
_CHECKED = ("keep_alive_s", "profile")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user chose. `preset` None takes the last one used, `theme` "" the one that suits the terminal.

    `keep_alive_s` is how long a model stays loaded after its last client, where its preset does not say. `origins` are
    the servers that conversations may be sent to, with their keys. `bill` is what electricity and hardware cost.
    `model_folders` are further folders with models, from / or ~.

    Of the terminal: `profile` and `colours` "" are found out. `mouse` off leaves the mouse to the terminal, for its own
    selection. `clipboard` is the way that copied text goes, `done` how the end of an answer is signalled, `editor` what
    opens instead of $VISUAL and $EDITOR. `keys` puts other keys in the place of those of the table, by its ids.
    `history` keeps what was asked for ↑, `language` "" is the one of the environment.
    """

    preset: str | None = None
    keep_alive_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = KEEP_ALIVE_S
    theme: str = ""
    origins: dict[str, Origin] = {}
    bill: Rates = Rates()
    model_folders: tuple[str, ...] = ()
    profile: Literal["", "local", "ssh", "plain"] = ""
    colours: Literal["", "none", "16", "256", "true"] = ""
    mouse: bool = True
    clipboard: Literal["auto", "osc52", "tmux", "file"] = "auto"
    done: Literal["off", "bell", "osc9", "osc777"] = "off"
    window_title: bool = True
    editor: str = ""
    keys: dict[str, str] = {}
    history: bool = True
    language: str = ""


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

    DEEPSEEK_TUI_PRESET, …_KEEP_ALIVE_S, …_THEME, …_PROFILE and …_LANGUAGE override; an empty one does not count.
    To change the file, load with an empty environment: what a variable said is not to be written. Raises SettingsError.
    """
    settings = _from_file(settings_file())
    environment = os.environ if environment is None else environment
    for field in _BY_VARIABLE:
        variable = _VARIABLE + field.upper()
        value = environment.get(variable, "")
        if value:
            settings = msgspec.structs.replace(settings, **{field: _from_text(variable, field, value)})
    return settings


def rates() -> Rates:
    """Return what energy costs. Settings that cannot be read are told about elsewhere: here they count as unset."""
    try:
        return load_settings({}).bill
    except SettingsError:
        return Rates()


def model_folders() -> tuple[Path, ...]:
    """Return the user's further folders with models. As with `rates`, unreadable settings count as unset."""
    try:
        written = load_settings({}).model_folders
    except SettingsError:
        return ()
    return tuple(Path(folder).expanduser() for folder in written)


def save_settings(settings: Settings) -> None:
    """Write the file, whole or not at all; defaults are left out. Raises SettingsError."""
    import tomli_w

    default = Settings()
    table = {
        field: value
        for field in Settings.__struct_fields__
        if (value := getattr(settings, field)) != getattr(default, field)
    }
    if settings.bill != default.bill:
        table["bill"] = _written(settings.bill)
    if settings.origins:
        table["origins"] = {name: _written(origin) for name, origin in settings.origins.items()}
    _write(tomli_w.dumps(table))


def put_origin(origin: str, entry: Origin) -> None:
    """Confirm a server, or change what is kept of one. Raises SettingsError, BadOptions."""
    import tomli_w

    with _locked():
        settings = load_settings({})
        if origin not in settings.origins:
            # Behind what stands there, so that the user's own words and order stay as they are.
            text = _text(settings_file())
            more = tomli_w.dumps({"origins": {origin: _written(entry)}})
            longer = f"{text.rstrip()}\n\n{more}" if text.strip() else more
            try:
                _checked(shown_path(settings_file()), tomllib.loads(longer), longer)
            except (ValueError, SettingsError):
                pass  # It ends in the middle of something: it is written anew.
            else:
                _write(longer)
                return
        save_settings(msgspec.structs.replace(settings, origins={**settings.origins, origin_of(origin): entry}))


def confirm_origin(origin: str) -> None:
    """Write down that conversations may be sent to a server. Raises SettingsError, BadOptions."""
    if origin not in load_settings({}).origins:
        put_origin(origin, Origin())


def remove_origin(origin: str) -> bool:
    """Forget a server and the key that stands beside it; say whether it was known. Raises SettingsError."""
    with _locked():
        settings = load_settings({})
        left = {name: entry for name, entry in settings.origins.items() if name != origin}
        if len(left) == len(settings.origins):
            return False
        save_settings(msgspec.structs.replace(settings, origins=left))
        return True


def _written(table: Origin | Rates) -> dict[str, Any]:
    """Return what of a table differs from its defaults."""
    default = type(table)()
    return {field: v for field in table.__struct_fields__ if (v := getattr(table, field)) != getattr(default, field)}


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let two programs that change the file do so one after the other."""
    try:
        paths.private(settings_file().parent)
        lock = os.open(settings_file().with_name(".config.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise _unwritable(error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""


def _write(text: str) -> None:
    """Write the file, whole or not at all. Raises SettingsError."""
    # A linked file stays a link.
    path = settings_file().resolve()
    try:
        paths.private(settings_file().parent)
        atomic.replace(path, text.encode(), durable=True)
    except OSError as error:
        raise _unwritable(error) from error


def _unwritable(error: OSError) -> SettingsError:
    hint = "Check the owner of the folder and the free space."
    return SettingsError(shown_path(settings_file()), error.strerror or str(error), hint=hint)


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
    keys = table.get("keys")
    if isinstance(keys, dict):
        table = {**table, "keys": _flat(keys)}
    try:
        settings = checked("settings", table, Settings)
    except PresetError as error:
        line = line_of(key_lines(text), error.path) if text else None
        what = ": ".join(part for part in (error.what, error.note) if part)
        raise SettingsError(place, what, key=error.key, line=line, hint=error.hint) from error
    for name in settings.origins:
        _check_origin(place, name, text)
    for folder in settings.model_folders:
        _check_folder(place, folder, text)
    # msgspec lets a TOML nan through every bound.
    figures: dict[tuple[str, ...], object] = {("keep_alive_s",): settings.keep_alive_s}
    figures |= {("bill", name): getattr(settings.bill, name) for name in settings.bill.__struct_fields__}
    for path, value in figures.items():
        if isinstance(value, float) and not math.isfinite(value):
            line = line_of(key_lines(text), path) if text else None
            what = "wrong value: expected seconds" if path == ("keep_alive_s",) else "wrong value: expected a number"
            raise SettingsError(place, what, key=".".join(path), line=line)
    return settings


def _flat(keys: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return keys by ids as `answer.retry = …` writes them, which to TOML is a table in a table; values as text.

    One that is no key is told with the keys, so that all other settings are used.
    """
    flat: dict[str, str] = {}
    for name, value in keys.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{name}.")
        elif isinstance(value, list):
            flat[f"{before}{name}"] = ",".join(map(str, value))
        else:
            flat[f"{before}{name}"] = str(value)
    return flat


def _check_origin(place: str, name: str, text: str) -> None:
    """Raises SettingsError unless an origin is in its one spelling: another one would never be found."""
    line = line_of(key_lines(text), ("origins", name)) if text else None
    try:
        right = origin_of(name)
    except BadOptions as error:
        raise SettingsError(place, error.detail, key="origins", line=line, hint=error.hint) from error
    if right != name:
        hint = f'Write it as [origins."{right}"].'
        raise SettingsError(place, f"{printable(name, 80)}: not an origin", key="origins", line=line, hint=hint)


def _check_folder(place: str, folder: str, text: str) -> None:
    """Raises SettingsError unless a folder of models begins at the root or at home, and can be a path."""
    try:
        good = folder.startswith(("/", "~")) and "\0" not in folder and Path(folder).expanduser().is_absolute()
    except RuntimeError:  # nobody's home
        good = False
    if not good:
        line = line_of(key_lines(text), ("model_folders",)) if text else None
        hint = 'Write it like model_folders = ["/data/models", "~/models"].'
        raise SettingsError(place, f"no folder: {printable(folder, 80)}", key="model_folders", line=line, hint=hint)


def _from_text(variable: str, field: str, value: str) -> Any:
    if field not in _CHECKED:
        return value
    written: object = value
    if field == "keep_alive_s":
        try:
            written = float(value)
        except ValueError:
            hint = f"For example: export {variable}=300"
            raise SettingsError(variable, f"expected seconds, found {printable(value)!r}", hint=hint) from None
    return getattr(_checked(variable, {field: written}), field)
