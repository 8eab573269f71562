"""`doctor`: what it finds on a healthy machine, and on sick ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.hardware.gpu import Gpu, GpuReading
from presets.catalog import Catalog, load_catalog
from tui.commands import health

if TYPE_CHECKING:
    import pytest

    from tests.tui.commands.conftest import Run, Write


NONE = Catalog((), ())


def checks(ran: Any) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in ran.json["checks"]}


def test_a_healthy_machine_fails_nothing(run: Run) -> None:
    ran = run("doctor", "--json")
    assert ran.status == 0
    assert ran.json["ok"] is True
    found = checks(ran)
    assert [name for name, check in found.items() if check["state"] == "fail"] == []
    assert list(found)[:2] == ["python", "folder: conversations"]
    assert "starter" in found["models"]["found"]
    assert found["backend: llama.cpp"]["state"] in {"ok", "warn"}
    assert set(found["python"]) == {"name", "state", "found", "fix"}
    assert "fail " not in run("doctor").out


def test_what_is_broken_fails_with_the_way_to_mend_it(run: Run, preset: Write, home: Path) -> None:
    preset("bad", context="x")
    (home / "config" / "config.toml").write_text("keep_alive_s = -1\n")
    (home / "data").mkdir()
    (home / "data" / "chats.sqlite3").write_bytes(b"no database" * 100)
    ran = run("doctor", "--json")
    assert ran.status == 1
    found = checks(ran)
    failing = {name for name, check in found.items() if check["state"] == "fail"}
    assert failing == {"conversations", "settings", "preset bad"}
    assert "config.toml, line 1: keep_alive_s" in found["settings"]["found"]
    assert all(found[name]["fix"] for name in failing)
    out = run("doctor").out
    assert "fail  preset bad" in out
    assert "      → " in out


def test_a_folder_that_cannot_be_written_fails(run: Run, home: Path) -> None:
    (home / "data").write_text("a file is in the way")
    ran = run("doctor", "--json")
    assert ran.status == 1
    assert checks(ran)["folder: conversations"]["state"] == "fail"


def test_a_cpu_build_beside_a_card_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from backends import registry
    from backends.base import Availability

    monkeypatch.setattr(registry, "names", lambda: ("llama_cpp",))
    monkeypatch.setattr(registry, "probe", lambda name: Availability(True, "0.3.36", gpu=False))
    cards = GpuReading((Gpu(0, "RTX 3070", 8 << 30, 1 << 30, 7 << 30, driver="nvidia 560"),))
    (check,) = health.backends(cards, NONE)
    assert check.state == "warn"
    assert "CPU only" in check.found
    assert check.fix == "make run"
    (fine,) = health.backends(GpuReading(), NONE)
    assert fine.state == "ok"


def test_no_engine_at_all_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from backends import registry
    from backends.base import Availability

    monkeypatch.setattr(registry, "names", lambda: ("echo", "llama_cpp"))
    monkeypatch.setattr(
        registry, "probe", lambda name: Availability(ready=False, detail="It is broken.", hint="Mend it.")
    )
    warning, failure = health.backends(GpuReading(), NONE)
    assert (warning.state, warning.found, warning.fix) == ("warn", "It is broken.", "Mend it.")
    assert (failure.state, failure.found) == ("fail", "no engine can be used")


def test_an_engine_that_no_preset_needs_may_be_missing(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    from backends import registry
    from backends.base import Availability

    monkeypatch.setattr(registry, "names", lambda: ("ollama",))
    monkeypatch.setattr(registry, "probe", lambda name: Availability(ready=False, detail="Not here.", hint="Get it."))
    unneeded, _ = health.backends(GpuReading(), load_catalog())
    assert (unneeded.state, unneeded.fix) == ("ok", "Get it.")
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('extends = "8b-q4_k_m"\nbackend = "ollama"\n')
    needed, _ = health.backends(GpuReading(), load_catalog())
    assert needed.state == "warn"


def test_a_hanging_driver_is_a_warning_and_no_card_is_none() -> None:
    (hanging,) = health.graphics(GpuReading(problem="The graphics driver has not answered for 4 s."))
    assert hanging.state == "warn"
    (absent,) = health.graphics(GpuReading(problem="No graphics card found: there is no driver."))
    assert absent.state == "ok"


def test_a_check_that_breaks_is_itself_a_finding() -> None:
    def broken() -> Any:
        raise ZeroDivisionError("x")
        yield

    (check,) = health.guarded("thing", broken)
    assert (check.state, check.found) == ("fail", "cannot be checked: ZeroDivisionError: x")
