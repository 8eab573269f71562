"""`deepseek-tui origins`: which servers may be sent conversations, and keys that are never shown."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tui.commands.conftest import COMMAND, Run, Write

KEY = b"sk-very-secret-1\n"


def config(home: Path) -> str:
    return (home / "config" / "config.toml").read_text()


def test_a_server_is_added_under_its_one_spelling_listed_and_removed(run: Run, home: Path) -> None:
    assert run("origins").out.startswith("No server is confirmed yet")
    assert "https://api.example.com." in run("origins", "add", "https://API.example.com:443/v1/models").out
    assert config(home).strip() == '[origins."https://api.example.com"]'
    assert run("origins", "--json").json["origins"] == [
        {"origin": "https://api.example.com", "key": None, "ca_file": None, "presets": []}
    ]
    assert run("origins", "remove", "https://api.example.com/").status == 0
    assert run("origins", "--json").json["origins"] == []
    assert run("origins", "remove", "https://api.example.com").status == 1


def test_a_key_is_read_from_a_pipe_kept_privately_and_never_shown(run: Run, home: Path) -> None:
    added = run("origins", "add", "https://api.example.com", "--key", stdin=KEY)
    listed = run("origins")
    everything = added.out + added.err + listed.out + listed.err + run("origins", "list", "--json").out

    assert "sk-very-secret-1" in config(home)
    assert "secret" not in everything
    assert "in config.toml" in listed.out
    assert stat.S_IMODE((home / "config" / "config.toml").stat().st_mode) == 0o600


def test_adding_keeps_the_users_own_words_in_the_file(run: Run, home: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text("# mine\nkeep_alive_s = 7.0  # short\n")

    assert run("origins", "add", "http://box:8000").status == 0

    assert config(home) == '# mine\nkeep_alive_s = 7.0  # short\n\n[origins."http://box:8000"]\n'


def test_a_line_that_is_not_encrypted_is_said(run: Run) -> None:
    assert "not encrypted" in run("origins", "add", "http://box:8000").err
    assert "not encrypted" not in run("origins", "add", "http://127.0.0.1:8000").err
    assert "not encrypted" not in run("origins", "add", "https://box").err


def test_what_is_no_address_or_no_key_changes_nothing(run: Run, home: Path) -> None:
    for address in ("ftp://box", "box", "https://", "https://user:pass@box", "https://b ox"):
        done = run("origins", "add", address)
        assert (done.status, "Traceback" in done.err) == (1, False), address
        assert "pass" not in done.err
    for key in (b"\n", b"two words\n", "schlüssel\n".encode()):
        assert run("origins", "add", "https://box", "--key", stdin=key).status == 1
    assert not (home / "config" / "config.toml").exists()


def test_the_presets_that_use_a_server_are_named(run: Run, preset: Write, home: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "far.toml").write_text(
        'title = "Far"\nbackend = "openai"\n[model]\nfamily = "x"\nquantization = "x"\n'
        '[backends.openai]\nsource = "server:x"\nbase_url = "https://box/v1"\n'
    )
    run("origins", "add", "https://box")
    assert run("origins", "--json").json["origins"][0]["presets"] == ["far"]


def test_two_that_are_added_at_once_are_both_kept(home: Path) -> None:
    urls = [f"https://box{number}" for number in range(6)]
    started = [
        subprocess.Popen([*COMMAND, "origins", "add", url], env=os.environ, stdout=subprocess.DEVNULL) for url in urls
    ]
    assert [child.wait(60) for child in started] == [0] * 6
    assert all(f'"{url}"' in config(home) for url in urls)


def test_a_wrong_spelling_in_the_file_is_named_with_the_right_one(run: Run, home: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text('theme = ""\n[origins."https://Box:443/v1"]\n')
    done = run("origins")
    assert done.status == 1
    assert "line 2" in done.err
    assert 'Write it as [origins."https://box"].' in done.err


def test_a_preset_of_a_new_server_is_not_asked_until_it_is_confirmed(run: Run, home: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "far.toml").write_text(
        'title = "Far"\nbackend = "openai"\n[model]\nfamily = "x"\nquantization = "x"\n'
        '[backends.openai]\nsource = "server:x"\nbase_url = "http://far.invalid:8000/v1"\n'
    )
    asked = run("ask", "-p", "far", "hello")
    assert asked.status == 1
    assert "http://far.invalid:8000" in asked.err
    assert "deepseek-tui origins add http://far.invalid:8000" in asked.err
    assert run("chats", "list", "--json").json["chats"] == []


def test_the_command_needs_no_http_client_and_no_keyring() -> None:
    code = (
        "import sys; from tui.__main__ import main; sys.argv = ['deepseek-tui', 'origins']; main();"
        "print(sorted({'httpx', 'keyring', 'textual'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_file_of_certificates_is_named_so_that_it_is_found_from_every_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.chdir(tmp_path)
    run("origins", "add", "https://one.example.com", "--ca-file", "ca.pem")
    run("origins", "add", "https://two.example.com", "--ca-file", "~/ca.pem")
    kept = {row["origin"]: row["ca_file"] for row in run("origins", "--json").json["origins"]}
    assert kept == {
        "https://one.example.com": str(tmp_path / "ca.pem"),
        "https://two.example.com": "~/ca.pem",
    }


def test_a_keyring_that_cannot_be_used_keeps_nobody_from_forgetting_a_server(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    (home / "config").mkdir(exist_ok=True)
    for name in ("one", "two"):
        with (home / "config" / "config.toml").open("a") as file:
            file.write(f'[origins."https://{name}.example.com"]\nkeyring = true\n')
    removed = run("origins", "remove", "https://one.example.com")
    assert removed.status == 0
    assert "Forgotten: https://one.example.com." in removed.out
    assert "still in the keyring" in removed.err
    changed = run("origins", "add", "https://two.example.com", "--key", stdin=KEY)
    assert changed.status == 0
    assert "still in the keyring" in changed.err
    assert "one.example" not in config(home)
    assert "sk-very-secret-1" in config(home)
