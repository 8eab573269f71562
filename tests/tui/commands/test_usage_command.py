"""`usage`: what was used and what it cost, as a table, bars, JSON and CSV."""

from __future__ import annotations

import argparse
import csv
import io
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from backends import paths
from backends.events import Cost, DeviceEnergy, Energy, Timings, Usage
from tui.chat.storing.receipts import receipt
from tui.chat.storing.store import Store
from tui.commands import period, table

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Write

KEEP = Callable[..., None]
HEAD = ["DAY", "ANSWERS", "PROMPT", "OUTPUT", "TIME", "ENERGY", "COST", "AT", "THE", "API"]


@pytest.fixture(autouse=True)
def in_berlin() -> Iterator[None]:
    """Days are those of a place whose clock is changed twice a year."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def at(text: str) -> float:
    """Return a moment of Berlin."""
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M"))


@pytest.fixture
def keep(home: Path) -> KEEP:
    """`keep("2026-10-25 12:00", joules=…)` writes a receipt of an answer, as taking one in does."""
    count = 0

    def write(
        when: str,
        joules: float | None = 1800.0,
        *,
        measured: bool = True,
        cost: Cost | None = None,
        kind: Any = "answer",
        tokens: Usage | None = Usage(1000, 400, 200, 500),  # noqa: B008 - frozen
        **fields: Any,
    ) -> None:
        nonlocal count
        count += 1
        source = "measured" if measured else "estimated"
        devices = (DeviceEnergy("GPU", "source", measured, decode_j=joules or 0.0),)
        energy = None if joules is None else Energy(joules, source, None, devices)
        found = receipt(f"r{count}", kind, at(when), tokens, Timings(None, 2.0, 10.0), energy, cost)
        store = Store()
        try:
            assert store.keep(msgspec.structs.replace(found, **{"preset": "8b-q4_k_m", "backend": "echo"} | fields))
        finally:
            store.close()

    return write


@pytest.fixture
def month(keep: KEEP) -> None:
    """An October with the day of 25 hours, and a moment on either side of it."""
    keep("2026-09-30 23:59", 10.0)
    keep("2026-10-01 00:00", 1800.123456)
    keep("2026-10-25 00:30", 0.000001)
    keep("2026-10-25 23:30", 3600.7, measured=False)
    keep("2026-10-31 23:59", None, tokens=None)
    keep("2026-11-01 00:00", 20.0)


def test_without_an_answer_it_says_how_to_get_one(run: Run) -> None:
    ran = run("usage")
    assert (ran.status, ran.err) == (0, "")
    assert "deepseek-tui ask" in ran.out
    found = run("usage", "--json").json
    assert (found["rows"], found["total"]["answers"], found["total"]["energy_j"]) == ([], 0, None)
    assert len(run("usage", "--csv").out.splitlines()) == 1


def test_a_month_without_answers_says_where_there_are_some(run: Run, keep: KEEP) -> None:
    keep("2026-10-01 12:00")
    assert (
        "There are no answers in 2024-02. All there are: deepseek-tui usage --all"
        in run("usage", "--month", "2024-02").out
    )


def test_an_answer_of_this_month_is_there_at_once(run: Run, preset: Write) -> None:
    preset(text="one two three")
    run("ask", "-p", "echo", "hi")
    found = run("usage", "--json").json
    assert (found["by"], found["total"]["answers"]) == ("day", 1)
    assert found["total"]["output_tokens"] == 3
    assert [row["key"] for row in run("usage", "--by", "preset", "--json").json["rows"]] == ["echo"]


@pytest.mark.usefixtures("month")
def test_the_table_has_a_row_a_day_a_total_and_says_what_its_figures_are(run: Run) -> None:
    title, head, *rows = run("usage", "--month", "2026-10").out.splitlines()
    assert title == "Usage in 2026-10"
    assert head.split() == HEAD
    cells = [row.split() for row in rows]
    assert cells[0][:7] == ["2026-10-01", "1", "1,000", "500", "12", "s", "0.50"]
    assert cells[1][:7] == ["2026-10-25", "2", "2,000", "1,000", "24", "s", "~1.00"]
    assert cells[2] == ["2026-10-31", "1", "–", "–", "12", "s", "–", "–", "–"]
    assert cells[3][:2] == ["total", "4"]
    notes = "\n".join(rows[4:])
    assert "electricity at an assumed 0.30 USD per kWh" in notes
    assert str(paths.config() / "config.toml") in notes
    assert "67% of it is estimated" in notes
    assert "1 answer has no energy figure and no cost: not in the sums." in notes
    assert "DeepSeek-V4.1-Flash, price of 2026-09-10, checked 2026-11-25, for 3 of 4 answers." in notes


@pytest.mark.usefixtures("month")
def test_a_month_adds_up_to_the_last_joule_from_its_receipts(run: Run) -> None:
    database = sqlite3.connect(paths.database())
    month = (at("2026-10-01 00:00"), at("2026-11-01 00:00"))
    energy, nano = database.execute(
        "SELECT sum(energy_uj), sum(money_nano) FROM receipt WHERE at >= ? AND at < ?", month
    ).fetchone()
    database.close()
    assert energy == 1_800_123_456 + 1 + 3_600_700_000
    for by in ("day", "month", "preset", "backend", "chat"):
        found = run("usage", "--month", "2026-10", "--by", by, "--json").json
        assert (found["since_s"], found["until_s"]) == month
        assert round(found["total"]["energy_j"] * 1e6) == energy
        assert sum(round(row["energy_j"] * 1e6) for row in found["rows"] if row["energy_j"] is not None) == energy
        assert [round(money["amount"] * 1e9) for money in found["total"]["cost"]] == [nano]


def test_the_json_has_stable_keys_with_their_units(run: Run, keep: KEEP) -> None:
    keep("2026-11-23 13:00", 1800.0, measured=False)
    found = run("usage", "--all", "--json").json
    assert set(found) == {"by", "since_s", "until_s", "rows", "total", "tariff", "api"}
    assert found["tariff"] == {"price_per_kwh": 0.3, "currency": "USD", "assumed": True}
    assert [price["title"] for price in found["api"]["prices"]] == ["DeepSeek-V4.1-Flash"]
    cost = [{"amount": 0.000176471, "currency": "USD"}]
    assert found["total"] == {
        "key": "total",
        "title": "total",
        "answers": 1,
        "receipts": 1,
        "prompt_tokens": 1000,
        "cached_tokens": 400,
        "reasoning_tokens": 200,
        "output_tokens": 500,
        "uncounted_receipts": 0,
        "time_s": 12.0,
        "energy_j": 1800.0,
        "energy_idle_j": None,
        "energy_estimated_j": 1800.0,
        "unmetered_answers": 0,
        "unpriced_answers": 0,
        "incomplete_receipts": 0,
        "assumed_tariff": True,
        "assumptions": ["power supply", "tariff"],
        "compared_answers": 1,
        "published_usd_per_answer": None,
        "cost": cost,
        "cost_estimated": cost,
        "cost_per_answer": cost,
        "api_cost": [{"amount": 0.0003912, "currency": "USD"}],
    }


def test_presets_stand_beside_what_was_published_of_them(run: Run, keep: KEEP) -> None:
    keep("2026-11-02 13:00", 36_000.0)
    keep("2026-11-02 14:00", 1800.0, preset="mine")
    out = run("usage", "--all", "--by", "preset").out.splitlines()
    assert out[1].split()[-3:] == ["PER", "ANSWER", "PUBLISHED"]
    assert out[2].split()[0] == "8b-q4_k_m"
    assert out[2].split()[-2:] == ["~$0.0035", "$0.0008"]
    assert out[3].split()[-1] == "–"


def test_a_table_fits_its_terminal_and_no_figure_is_cut(keep: KEEP) -> None:
    import pexpect

    from tests.tui.commands.conftest import COMMAND

    keep("2026-11-02 13:00", 36_000.0, preset="the-preset-with-quite-a-long-name-for-a-terminal")
    keep("2026-11-02 14:00", None, cost=Cost(0.25, "EUR", "preset"), preset="日本語の名前" * 4)
    for columns in (40, 80, 120):
        child = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "usage", "--all", "--by", "preset"],
            dimensions=(30, columns),
            env=dict(os.environ),  # without what readline has put beside it
            encoding="utf-8",
            timeout=20,
        )
        child.expect(pexpect.EOF)
        lines = child.before.splitlines()
        child.close()
        assert child.exitstatus == 0
        assert max(map(table.cells, lines[:5])) <= columns
        assert all("…" not in line[40:] for line in lines[1:5]), "a title may be cut, a figure may not"
        assert "COST" in lines[1]
        assert "€0.25 + ~$0.0035" in "".join(lines)
    assert "AT THE API" in lines[1]


def test_csv_is_a_header_and_rows_with_exact_figures(run: Run, keep: KEEP) -> None:
    keep("2026-11-02 13:00", 1800.000001)
    keep("2026-11-02 14:00", None, cost=Cost(1234.5, "EUR", "preset"), tokens=None)
    keep("2026-11-03 14:00", None, tokens=None)
    first, second = csv.DictReader(io.StringIO(run("usage", "--all", "--csv").out))
    assert (first["key"], first["answers"], first["energy_j"]) == ("2026-11-02", "2", "1800.000001")
    assert (first["cost_EUR"], first["cost_USD"]) == ("1234.5", "0.000176471")
    assert (second["energy_j"], second["output_tokens"], second["cost_EUR"]) == ("", "", "")


@pytest.mark.parametrize("sign", "=+-@")
def test_a_title_is_no_formula_for_a_spreadsheet(run: Run, keep: KEEP, sign: str) -> None:
    name = f'{sign}cmd|"calc",\x1b[31m'
    keep("2026-11-02 13:00", preset=name)
    out = run("usage", "--all", "--by", "preset", "--csv").out
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["title"] == row["key"] == "'" + name.replace("\x1b", "␛")


def test_bars_fit_and_leave_out_what_is_unknown(run: Run, keep: KEEP) -> None:
    keep("2026-11-02 13:00", 7200.0, preset="large")
    keep("2026-11-02 13:00", 3600.0, preset="small")
    keep("2026-11-02 13:00", None, preset="unknown")
    lines = run("usage", "--all", "--by", "preset", "--chart").out.splitlines()
    assert lines[:2] == ["Usage so far", "energy by preset, Wh"]
    assert [(line.split()[0], line.split()[-1]) for line in lines[2:4]] == [("large", "2.0"), ("small", "1.0")]
    assert "█" in lines[2]
    assert max(map(len, lines)) <= 80
    assert lines[4] == "left out, because the figure is unknown: 1"
    plain = run("usage", "--all", "--by", "preset", "--chart", env={"PYTHONIOENCODING": "ascii"}).out
    assert plain.isascii()
    assert "##" in plain


def test_bars_are_of_money_where_more_is_known_of_it(run: Run, keep: KEEP) -> None:
    keep("2026-11-02 13:00", None, cost=Cost(0.002, "EUR", "preset"))
    lines = run("usage", "--all", "--chart").out.splitlines()
    assert lines[1] == "cost by day, thousandths of EUR"
    assert lines[2].split()[-1] == "2.0"


def test_without_a_figure_there_is_nothing_to_draw(run: Run, keep: KEEP) -> None:
    keep("2026-11-02 13:00", None)
    assert "nothing to draw" in run("usage", "--all", "--chart").out


@pytest.mark.usefixtures("month")
@pytest.mark.parametrize(
    ("arguments", "answers"),
    [
        (["--all"], 6),
        (["--by", "month"], 6),
        (["--month", "2026-10"], 4),
        (["--since", "2026-10-25"], 4),
        (["--until", "2026-10-25"], 4),
        (["--since", "2026-10-25", "--until", "2026-10-25"], 2),
        (["--since", "2026-10-25", "--by", "month"], 4),
    ],
)
def test_a_period_holds_its_first_and_its_last_day(run: Run, arguments: list[str], answers: int) -> None:
    assert run("usage", "--json", *arguments).json["total"]["answers"] == answers


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-03-29", 23),
        ("America/Sao_Paulo", "2018-11-04", 23),  # there was no midnight
        ("America/Havana", "2018-11-04", 25),  # midnight came twice
        ("Asia/Kolkata", "2026-10-25", 24),
    ],
)
def test_a_day_is_as_long_as_its_clock_says(monkeypatch: pytest.MonkeyPatch, zone: str, day: str, hours: int) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    parser = argparse.ArgumentParser()
    period.configure(parser)
    found = period.chosen(parser.parse_args(["--since", day, "--until", day]))
    assert found.since_s is not None
    assert found.until_s is not None
    assert found.until_s - found.since_s == hours * 3600
    for moment, inside in ((found.since_s - 1, False), (found.since_s, True), (found.until_s - 1, True)):
        assert (time.strftime("%Y-%m-%d", time.localtime(moment)) == day) is inside


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "yesterday"], "'yesterday' is no date: write it as year-month-day, such as 20"),
        (["--until", "2026-02-30"], "is no date"),
        (["--since", "20261101"], "is no date"),
        (["--since", "0001-01-01"], "is no date"),
        (["--until", "9999-12-31"], "is no date"),
        (["--month", "2026-13"], "'2026-13' is no month: write it as year-month, such as 20"),
        (["--month", "11"], "is no month"),
        (["--since", "2026-11-02", "--until", "2026-11-01"], "--until 2026-11-01 is before --since 2026-11-02"),
        (["--month", "2026-11", "--since", "2026-11-02"], "say one of"),
        (["--month", "2026-11", "--all"], "say one of"),
        (["--json", "--csv"], "not allowed with"),
        (["--by", "week"], "invalid choice"),
    ],
)
def test_wrong_dates_are_wrong_usage_and_a_right_one_is_named(run: Run, arguments: list[str], words: str) -> None:
    ran = run("usage", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err
    assert not paths.database().exists()


def test_the_tariff_that_is_set_is_no_assumption(run: Run, home: Path, keep: KEEP) -> None:
    keep("2026-11-02 13:00", cost=Cost(0.25, "USD", "tariff"))
    keep("2026-11-03 13:00")
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text("[bill]\nprice_per_kwh = 0.41\n")
    assert run("usage", "--all", "--json").json["tariff"]["assumed"] is False
    out = run("usage", "--since", "2026-11-03", "--until", "2026-11-03").out
    assert "some of it was taken at an assumed price of electricity, before yours was set" in out
    out = run("usage", "--since", "2026-11-02", "--until", "2026-11-02").out
    assert "assumed" not in out
    assert "~" not in out


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("config.toml", "[bill]\nprice_per_kw = 0.3\n", "Did you mean bill.price_per_kwh?"),
        ("api_prices.toml", "[prices.mine]\ntitle = 3\n", "line 1: prices.mine.from"),
    ],
)
def test_a_file_with_a_mistake_is_told_before_anything_is_priced(
    run: Run, home: Path, file: str, text: str, words: str
) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / file).write_text(text)
    ran = run("usage")
    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err
    assert not paths.database().exists()


def test_the_users_own_prices_are_compared_with_and_named(run: Run, home: Path, keep: KEEP) -> None:
    keep("2026-11-02 13:00", tokens=Usage(0, 0, 0, 1_000_000))
    (home / "config").mkdir()
    file = home / "config" / "api_prices.toml"
    file.write_text(
        '[prices.mine]\ntitle = "Mine"\nfrom = 2026-01-01\ninput_per_million = 1\noutput_per_million = 7.5\n'
        'currency = "CHF"\n'
    )
    out = run("usage", "--all").out
    assert "CHF 7.50" in out
    assert f"AT THE API: the same tokens at Mine, price of 2026-01-01, from {file}." in out


def test_hostile_titles_reach_no_terminal(run: Run, keep: KEEP) -> None:
    keep("2026-11-02 13:00", preset="a\x1b[31m\nb")
    for form in ([], ["--chart"], ["--csv"]):
        out = run("usage", "--all", "--by", "preset", *form).out
        assert "\x1b" not in out
        assert "a␛[31m b" in out


def test_completion_knows_the_groups(run: Run) -> None:
    assert "day month preset backend chat" in run("--print-completion", "bash").out.replace('"', "").replace("'", "")
