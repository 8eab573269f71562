"""What the same answers would have cost at DeepSeek's API: a dated table of its prices, which the user may replace.

A comparison alone: what a server of the user's charges stands in its preset.
"""

from __future__ import annotations

import datetime
import math
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from backends import paths
from backends.errors import Problem
from backends.events import Cost, Usage
from backends.price import Price, cost
from backends.shown import printable, shown_path
from presets.checking import checked
from presets.problems import PresetError
from presets.toml_lines import Key, key_lines, line_of, refusal

FILE = "api_prices.toml"
BUILTIN = Path(__file__).with_name(FILE)
MAX_BYTES = 64 * 1024
DAY_S = 86_400
# Days of the week from Monday on: the first of January 1970 was a Thursday.
_FIRST_WEEKDAY, _SATURDAY = 3, 5

_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Hour = Annotated[float, msgspec.Meta(ge=0, le=24)]


class Peak(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hours that cost `factor` times as much: from each first hour on and before each second, UTC."""

    hours_utc: tuple[tuple[_Hour, _Hour], ...]
    factor: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 2.0
    weekdays_only: bool = True

    def holds_at(self, unix_s: float) -> bool:
        """Whether this moment is one of them. Public holidays are not known."""
        if self.weekdays_only and (math.floor(unix_s / DAY_S) + _FIRST_WEEKDAY) % 7 >= _SATURDAY:
            return False
        hour = unix_s % DAY_S / 3600
        return any(first <= hour < end for first, end in self.hours_utc)


class ApiPrice(msgspec.Struct, frozen=True):
    """The price of a million tokens from `from_s` on and before `until_s` (Unix seconds; None: until further notice).

    `at_peak` says that the peak's factor is in the amounts.
    """

    name: str
    title: str
    from_s: float
    until_s: float | None
    input_per_million: float
    cached_input_per_million: float | None
    output_per_million: float
    currency: str
    peak: Peak | None = None
    at_peak: bool = False


class ApiPrices(msgspec.Struct, frozen=True):
    """All prices, the oldest first. `checked` is the day (as YYYY-MM-DD) they were last compared with their source."""

    entries: tuple[ApiPrice, ...]
    checked: str
    file: Path
    builtin: bool


class ApiPricesError(Problem):
    """A table of prices that cannot be used. `key` is dotted, `line` counts from 1; "" and None where there is none."""

    def __init__(self, file: Path, what: str, *, key: str = "", line: int | None = None, hint: str = "") -> None:
        self.file = file
        self.what = what
        self.key = key
        self.line = line
        place = f"{shown_path(file)}, line {line}" if line else shown_path(file)
        super().__init__("The API prices cannot be used", ": ".join(p for p in (place, key, what) if p), hint)


class Counted(Protocol):
    """Anything with counted tokens: the usage of an answer, or its receipt."""

    @property
    def prompt_tokens(self) -> int | None: ...
    @property
    def cached_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry as it is written. Moments are TOML dates or text."""

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    from_: Any = msgspec.field(name="from")
    input_per_million: _Amount
    output_per_million: _Amount
    until: Any = None
    cached_input_per_million: _Amount | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")] = "USD"
    peak: Peak | None = None


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prices: dict[str, dict[str, Any]]
    checked: Any = None


def user_file() -> Path:
    """Where the user's own prices stand, if there are any."""
    return paths.config() / FILE


def load_api_prices(file: Path | None = None) -> ApiPrices:
    """Read the user's prices, or ours where there are none. Raises ApiPricesError."""
    file = file or user_file()
    text = _text(file)
    if text is None:
        file, text = BUILTIN, _text(BUILTIN) or ""
    table = _parsed(file, text)
    try:
        return _prices(file, table)
    except PresetError as error:
        what = ": ".join(part for part in (error.what, error.note) if part)
        line = line_of(key_lines(text), error.path)
        raise ApiPricesError(file, what, key=error.key, line=line, hint=error.hint) from error


def price_at(prices: ApiPrices, unix_s: float) -> ApiPrice | None:
    """Return the price at a moment, its peak counted in. After the last entry's end that one goes on."""
    if not math.isfinite(unix_s):
        return None
    found = None
    for entry in prices.entries:
        if entry.from_s <= unix_s and (entry is prices.entries[-1] or entry.until_s is None or unix_s < entry.until_s):
            found = entry
    if found is None or found.peak is None or not found.peak.holds_at(unix_s):
        return found
    cached, factor = found.cached_input_per_million, found.peak.factor
    return msgspec.structs.replace(
        found,
        input_per_million=found.input_per_million * factor,
        cached_input_per_million=None if cached is None else cached * factor,
        output_per_million=found.output_per_million * factor,
        at_peak=True,
    )


def compare(tokens: Counted, price: ApiPrice) -> Cost | None:
    """Return what these tokens cost at the API, None where they were not counted."""
    usage = Usage(tokens.prompt_tokens, tokens.cached_tokens, None, tokens.output_tokens)
    plain = Price(
        price.input_per_million, price.output_per_million, price.cached_input_per_million, currency=price.currency
    )
    found = cost(usage, plain)
    return None if found is None else msgspec.structs.replace(found, source="api")


def _prices(file: Path, table: dict[str, Any]) -> ApiPrices:
    """Raises PresetError, with the path of the key that is at fault."""
    whole = checked(FILE, table, _Table)
    entries = [_entry(name, entry) for name, entry in whole.prices.items()]
    if not entries:
        hint = "Add a table such as [prices.mine], or remove the file to use the built-in prices."
        raise PresetError(FILE, "there is no price in it", path=("prices",), hint=hint)
    day = _moment(("checked",), whole.checked)
    entries.sort(key=lambda entry: entry.from_s)
    return ApiPrices(tuple(entries), day.date().isoformat() if day else "", file, file == BUILTIN)


def _entry(name: str, table: dict[str, Any]) -> ApiPrice:
    at: Key = ("prices", name)
    entry = checked(FILE, table, _Entry, at)
    for key in ("input_per_million", "cached_input_per_million", "output_per_million"):
        _check_finite((*at, key), getattr(entry, key))
    if entry.peak is not None:
        _check_peak((*at, "peak"), entry.peak)
    start, end = _moment((*at, "from"), entry.from_), _moment((*at, "until"), entry.until)
    if start is None:
        raise PresetError(FILE, "missing key", path=(*at, "from"), note="it has to be there")
    if end is not None and end <= start:
        raise PresetError(FILE, "wrong value", path=(*at, "until"), note="it ends before it begins")
    return ApiPrice(
        name,
        entry.title,
        start.timestamp(),
        end.timestamp() if end else None,
        entry.input_per_million,
        entry.cached_input_per_million,
        entry.output_per_million,
        entry.currency,
        entry.peak,
    )


def _check_peak(at: Key, peak: Peak) -> None:
    _check_finite((*at, "factor"), peak.factor)
    for first, end in peak.hours_utc:
        if not first < end:  # Not the other way round, for nan.
            note = f"found {first:g} to {end:g}"
            hint = "The earlier hour first; around midnight write two: [[22, 24], [0, 2]]."
            raise PresetError(FILE, "wrong value", path=(*at, "hours_utc"), note=note, hint=hint)


def _check_finite(at: Key, value: float | None) -> None:
    """Refuse nan, which msgspec lets through every bound."""
    if value is not None and not math.isfinite(value):
        raise PresetError(FILE, "wrong value", path=at, note="expected a number")


def _moment(at: Key, value: Any) -> datetime.datetime | None:
    """Return a date, or a date and time, as a moment; UTC where it does not say."""
    if value is None:
        return None
    found = None
    if isinstance(value, datetime.datetime):
        found = value
    elif isinstance(value, datetime.date):
        found = datetime.datetime(value.year, value.month, value.day)
    elif isinstance(value, str):
        try:
            found = datetime.datetime.fromisoformat(value)
        except ValueError:
            found = None
    if found is None:
        hint = "Write it as 2026-09-10 or 2026-09-10T04:00:00Z."
        raise PresetError(FILE, "wrong value", path=at, note="expected a date", hint=hint)
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)


def _text(file: Path) -> str | None:
    """Return what stands in a file, None if there is none. Raises ApiPricesError."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ApiPricesError(file, "not a file")
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ApiPricesError(file, error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise ApiPricesError(file, f"larger than {MAX_BYTES // 1024} KB", hint="Is it the right file?")
    try:
        # Some editors begin a file with a byte order mark, which TOML does not know.
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ApiPricesError(file, "not UTF-8 text", line=line, hint="Save the file with UTF-8 encoding.") from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        what, line = refusal(error, text)
        raise ApiPricesError(file, f"not valid TOML: {printable(what, 200)}", line=line) from error
