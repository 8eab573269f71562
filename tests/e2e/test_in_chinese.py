"""The screen and the plain lines in Chinese, in a real terminal: wide characters take two cells, and borders stand."""

from __future__ import annotations

from collections.abc import Callable

import pyte

from tests.e2e.conftest import Terminal


def test_the_screen_is_chinese_where_the_system_is(
    terminal: Callable[..., Terminal], echo: Callable[..., None]
) -> None:
    echo(text="天空是蓝色的。")
    screen = terminal("-p", "demo", width=100, height=30, LANG="zh_CN.UTF-8")
    screen.see("想问什么都可以")
    screen.ask("为什么？")
    screen.see("(?s)您.*为什么？.*天空是蓝色的.*已存盘")
    assert {edge(screen, row) for row in range(1, 27)} <= set("│╮╯"), screen.text
    screen.press("f1")
    screen.see("帮助")
    screen.press("esc", "f8")
    screen.see("这台机器能运行什么")
    screen.press("esc")
    screen.leave()


def test_the_language_of_the_settings_is_spoken_before_the_systems(
    terminal: Callable[..., Terminal], echo: Callable[..., None]
) -> None:
    echo(text="Blue.")
    screen = terminal("-p", "demo", LANG="zh_CN.UTF-8", DEEPSEEK_TUI_LANGUAGE="en")
    screen.see("Ask anything")
    screen.leave()


def test_the_plain_lines_are_chinese_too(terminal: Callable[..., Terminal], echo: Callable[..., None]) -> None:
    echo(text="天空是蓝色的。")
    plain = terminal("--profile", "plain", "-p", "demo", DEEPSEEK_TUI_LANGUAGE="zh")
    plain.see("由 Demo 回答")
    plain.child.send("为什么？\r")
    plain.see("(?s)天空是蓝色的。.*完成：")
    plain.child.send("/quit\r")
    assert plain.ended() == 0


def edge(screen: Terminal, row: int) -> str:
    """Return what stands in the last cell of a row."""
    emulated: pyte.Screen = screen._screen
    return emulated.buffer[row][emulated.columns - 1].data
