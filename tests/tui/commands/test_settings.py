"""Settings: file, environment, errors with file, key and line, and saving them whole."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from tui.settings import Settings, SettingsError, load_settings, model_folders, save_settings, settings_file


def write(text: str) -> Path:
    path = settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_there_are_defaults() -> None:
    assert load_settings({}) == Settings(None, 300.0, "")


def test_the_file_is_read_and_the_environment_goes_over_it() -> None:
    write('\ufeffpreset = "a"\r\nkeep_alive_s = 60\r\n')
    assert load_settings({}) == Settings("a", 60.0, "")
    set_there = {"DEEPSEEK_TUI_PRESET": "b", "DEEPSEEK_TUI_KEEP_ALIVE_S": "1.5", "DEEPSEEK_TUI_THEME": ""}
    assert load_settings(set_there) == Settings("b", 1.5, "")


@pytest.mark.parametrize(
    ("text", "key", "line", "hint"),
    [
        ('# mine\npresets = "a"\n', "presets", 2, "Did you mean preset?"),
        ("theme = 3\n", "theme", 1, ""),
        ("\n\nkeep_alive_s = -1\n", "keep_alive_s", 3, ""),
        ("keep_alive_s = nan\n", "keep_alive_s", 1, ""),
        ("keep_alive_s = inf\n", "keep_alive_s", 1, ""),
        ('[preset]\nname = "x"\n', "preset", 1, ""),
    ],
)
def test_a_fault_is_told_with_file_key_line_and_nearest_match(text: str, key: str, line: int, hint: str) -> None:
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert (caught.value.key, caught.value.line) == (key, line)
    assert f"{path}, line {line}: {key}: " in caught.value.detail
    assert hint in caught.value.hint


@pytest.mark.parametrize("content", [b"preset = ", b"preset = '\xff'", b"a = [" * 5000, b"#" * 70_000])
def test_a_file_that_is_no_settings_is_told(content: bytes) -> None:
    write("").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert "config.toml" in caught.value.detail


def test_a_file_that_cannot_be_read_is_told() -> None:
    settings_file().mkdir(parents=True)
    with pytest.raises(SettingsError, match="directory"):
        load_settings({})


def test_a_wrong_variable_is_named() -> None:
    for value in ("soon", "-3", "inf"):
        with pytest.raises(SettingsError) as caught:
            load_settings({"DEEPSEEK_TUI_KEEP_ALIVE_S": value})
        assert caught.value.source == "DEEPSEEK_TUI_KEEP_ALIVE_S"
        assert "DEEPSEEK_TUI_KEEP_ALIVE_S" in caught.value.detail


def test_saved_settings_come_back_and_the_file_is_private() -> None:
    settings = Settings('with "quotes" and\nmore', 5.0, "nord")
    save_settings(settings)
    assert load_settings({}) == settings
    assert stat.S_IMODE(settings_file().stat().st_mode) == 0o600
    save_settings(msgspec.structs.replace(Settings(), theme="nord"))
    assert settings_file().read_text() == 'theme = "nord"\n'
    assert [path.name for path in settings_file().parent.iterdir()] == ["config.toml"]


def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    kept.write_text("")
    settings_file().parent.mkdir(parents=True)
    settings_file().symlink_to(kept)
    save_settings(Settings(theme="nord"))
    assert settings_file().is_symlink()
    assert kept.read_text() == 'theme = "nord"\n'


def test_settings_that_cannot_be_saved_are_told_and_leave_the_old_ones() -> None:
    write('theme = "old"\n')
    settings_file().parent.joinpath(".config.toml.new").mkdir()
    with pytest.raises(SettingsError):
        save_settings(Settings(theme="new"))
    assert load_settings({}).theme == "old"


def test_folders_with_models_begin_at_the_root_or_at_home() -> None:
    write('model_folders = ["/data/models", "~/models"]\n')
    assert model_folders() == (Path("/data/models"), Path.home() / "models")
    save_settings(load_settings({}))
    assert settings_file().read_text() == 'model_folders = [\n    "/data/models",\n    "~/models",\n]\n'
    for folder in ("models", "./models", "~nobody-of-this-name/models", "/a\\u0000b"):
        write(f'theme = ""\nmodel_folders = ["/data", "{folder}"]\n')
        with pytest.raises(SettingsError) as caught:
            load_settings({})
        assert (caught.value.key, caught.value.line) == ("model_folders", 2)
        assert model_folders() == ()
