"""`ask`: one answer on stdout, saved, in text or JSON; and every way in which it can be asked wrongly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Write

HOSTILE = "a[/x]b \x1b[31mred \x1b]52;c;aGk=\x07 \u202eevil \x00 \x9b2J end\r\nnext"
HARMLESS = "a[/x]b ␛[31mred ␛]52;c;aGk=␇ ⟨U+202E⟩evil ␀ ⟨U+009B⟩2J end\nnext"


def test_an_answer_is_printed_and_saved(run: Run, preset: Write) -> None:
    preset(text="It scatters.")
    ran = run("ask", "-p", "echo", "Why", "is", "the", "sky", "blue?")
    assert (ran.status, ran.out) == (0, "It scatters.\n")
    shown = run("chats", "show", "last", "--json").json
    assert shown["chat"]["title"] == "Why is the sky blue?"
    assert [(m["role"], m["text"], m["state"]) for m in shown["messages"]] == [
        ("user", "Why is the sky blue?", "done"),
        ("assistant", "It scatters.", "done"),
    ]


def test_nothing_of_it_is_kept_with_no_save(run: Run, preset: Write, home: Path) -> None:
    preset()
    assert run("ask", "-p", "echo", "--no-save", "secret").out == "secret\n"
    left = [path for path in home.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert left == []
    assert not (home / "data").exists()


def test_standard_input_follows_the_words_after_a_blank_line(run: Run, preset: Write) -> None:
    preset()
    assert run("ask", "-p", "echo", "Review:", stdin="größer\n".encode()).out == "Review:\n\ngrößer\n"


def test_standard_input_alone_is_the_question(run: Run, preset: Write) -> None:
    preset()
    assert run("ask", "-p", "echo", stdin=b"only this").out == "only this\n"
    assert run("ask", "-p", "echo", "-", stdin=b"and this").out == "and this\n"


def test_a_question_may_begin_with_a_dash(run: Run, preset: Write) -> None:
    preset()
    assert run("-p", "echo", "ask", "--", "--why", "not").out == "--why not\n"


def test_asking_nothing_is_wrong_usage(run: Run) -> None:
    for stdin in (None, b"", b" \n"):
        ran = run("ask", stdin=stdin)
        assert (ran.status, ran.out) == (2, "")
        assert "there is no question" in ran.err


def test_input_that_is_no_text_is_named_with_its_line(run: Run) -> None:
    ran = run("ask", "-", stdin=b"good\nb\xe4d\n")
    assert ran.status == 1
    assert "Standard input is not UTF-8 text" in ran.err
    assert "line 2" in ran.err
    assert "iconv" in ran.err


def test_words_that_are_no_text_are_refused(preset: Write, tmp_path: Path) -> None:
    preset()
    command = [sys.executable, "-P", "-m", "tui", "ask", "-p", "echo", b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert b"The question is not UTF-8 text" in done.stderr


def test_input_without_end_is_refused(run: Run) -> None:
    ran = run("ask", "-", stdin=b"x" * (8 * 1024 * 1024 + 1))
    assert ran.status == 1
    assert "Standard input is too long" in ran.err


def test_a_question_of_megabytes_arrives_whole(run: Run, preset: Write) -> None:
    preset(context=4096)
    question = "x" * 3_000_000
    assert run("ask", "-p", "echo", "--no-save", stdin=question.encode()).out == question + "\n"


def test_an_unknown_preset_is_told_with_its_nearest(run: Run, preset: Write) -> None:
    preset("gentle")
    ran = run("ask", "-p", "gentel", "hi")
    assert ran.status == 1
    assert ran.err.splitlines()[0] == "deepseek-tui: Preset gentel: there is none of this name"
    assert "Did you mean gentle" in ran.err


def test_a_broken_preset_says_where_and_the_others_still_work(run: Run, preset: Write) -> None:
    preset("good")
    path = preset("bad", txet="x")
    line = path.read_text().splitlines().index('txet = "x"') + 1
    ran = run("ask", "-p", "bad", "hi")
    assert ran.status == 1
    assert f"bad.toml, line {line}: backends.echo.txet" in ran.err
    assert "Did you mean backends.echo.text?" in ran.err
    assert run("ask", "-p", "good", "hi").out == "hi\n"


def test_a_backend_that_the_preset_does_not_have_is_refused(run: Run, preset: Write) -> None:
    preset()
    ran = run("ask", "-p", "echo", "-b", "llama_cpp", "hi")
    assert ran.status == 1
    assert "It can run with: echo." in ran.err


def test_a_model_that_is_not_here_says_how_to_get_it(run: Run) -> None:
    ran = run("ask", "-p", "8b-q4_k_m", "hi")
    assert ran.status == 1
    assert "not downloaded" in ran.err
    assert "deepseek-tui pull hf:" in ran.err


def test_json_ends_with_all_figures_and_unknown_is_null(run: Run, preset: Write) -> None:
    preset(text="one two", reasoning="well now")
    ran = run("ask", "-p", "echo", "--json", "hi")
    *before, last = ran.events
    assert ran.err == ""
    assert [e["text"] for e in before if e["event"] == "reasoning"] == ["well", " now"]
    assert [e["text"] for e in before if e["event"] == "text"] == ["one", " two"]
    assert {"event": "prompt", "done": 1, "total": 1, "cached": 0, "note": ""} in before
    assert {"event": "starting", "title": "Echo"} in before
    assert list(last) == ["event", "reason", "usage", "timings", "energy", "cost", "io", "chat", "message"]
    assert (last["event"], last["reason"]) == ("done", "stop")
    assert {"joules", "source", "idle_joules", "devices", "notes", "incomplete"} == set(last["energy"])
    assert last["energy"]["source"] in {"measured", "partly estimated", "estimated"}
    assert (last["cost"]["currency"], last["cost"]["source"]) == ("USD", "assumed tariff")
    assert last["cost"]["amount"] == pytest.approx(last["energy"]["joules"] / 0.85 / 3.6e6 * 0.30)
    assert last["usage"] == {"prompt_tokens": 1, "cached_tokens": 0, "reasoning_tokens": 2, "output_tokens": 4}
    assert list(last["timings"]) == ["load_s", "prefill_s", "decode_s", "tokens_per_second"]
    counts = ["read_bytes", "page_faults", "written_bytes", "own_written_bytes", "swapped_bytes"]
    assert list(last["io"]) == counts
    if last["io"]["written_bytes"] is not None:
        assert last["io"]["written_bytes"] <= last["io"]["own_written_bytes"]
    shown = run("chats", "show", last["chat"], "--json").json
    assert shown["messages"][-1]["id"] == last["message"]


def test_an_error_is_an_event_and_json_still_ends_with_done(run: Run, preset: Write) -> None:
    preset(fail="decode", after=1, text="one two")
    ran = run("ask", "-p", "echo", "--json", "hi")
    assert ran.status == 1
    error, last = ran.events[-2:]
    assert error == {
        "event": "error",
        "kind": "backend_error",
        "title": "The engine failed",
        "detail": "echo was told to fail in decode.",
        "hint": "Try again.",
    }
    assert (last["event"], last["reason"]) == ("done", "failed")
    assert set(last["usage"].values()) == {None}


def test_an_error_before_the_question_is_sent_is_json_too(run: Run) -> None:
    ran = run("ask", "-p", "nosuch", "--json", "hi")
    assert ran.status == 1
    error, last = ran.events
    assert (error["event"], error["kind"]) == ("error", "problem")
    assert (last["event"], last["reason"], last["chat"]) == ("done", "failed", None)


def test_an_engine_that_fails_is_told_in_three_lines_and_the_part_is_kept(run: Run, preset: Write) -> None:
    preset(fail="decode", after=2, text="one two three")
    ran = run("ask", "-p", "echo", "hi")
    assert (ran.status, ran.out) == (1, "one two\n")
    expected = ["deepseek-tui: The engine failed", "echo was told to fail in decode.", "Try again."]
    assert ran.err.splitlines()[-3:] == expected
    shown = run("chats", "show", "last").out
    assert "failed" in shown
    assert "one two" in shown


def test_thoughts_are_hidden_unless_wanted(run: Run, preset: Write) -> None:
    preset(reasoning="hmm well", text="Yes.")
    assert run("ask", "-p", "echo", "hi").out == "Yes.\n"
    assert run("ask", "-p", "echo", "--show-thinking", "hi").out == "<think>\nhmm well\n</think>\n\nYes.\n"
    assert run("ask", "-p", "echo", "--show-thinking", "--raw", "hi").out == "<think>hmm well</think>Yes."


def test_hostile_text_is_harmless_on_stdout_and_in_the_saved_chat(run: Run, preset: Write) -> None:
    preset(text=HOSTILE)
    ran = run("ask", "-p", "echo", "hi")
    assert ran.out == HARMLESS + "\n"
    assert HARMLESS in run("chats", "show", "last").out


def test_raw_and_json_change_nothing(run: Run, preset: Write) -> None:
    preset(text=HOSTILE)
    assert run("ask", "-p", "echo", "--raw", "hi").out == HOSTILE
    ran = run("ask", "-p", "echo", "--json", "hi")
    assert "".join(e["text"] for e in ran.events if e["event"] == "text") == HOSTILE
    assert ran.out.isascii()
    assert "\x1b" not in ran.out
    assert run("chats", "show", "last", "--json").json["messages"][-1]["text"] == HOSTILE


def test_an_answer_cut_off_by_its_limit_is_done_and_says_so(run: Run, preset: Write) -> None:
    preset(text="one two three", sampling={"max_tokens": 2})
    ran = run("ask", "-p", "echo", "hi")
    assert (ran.status, ran.out) == (0, "one two\n")
    assert "token limit" in ran.err


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    run: Run, preset: Write, home: Path
) -> None:
    for name in ("filed", "set", "named"):
        preset(name, text=name)
    (home / "config" / "config.toml").write_text('preset = "filed"\n')
    assert run("ask", "hi").out == "filed\n"
    assert run("ask", "hi", env={"DEEPSEEK_TUI_PRESET": "set"}).out == "set\n"
    assert run("ask", "-p", "named", "hi", env={"DEEPSEEK_TUI_PRESET": "set"}).out == "named\n"


def test_without_a_word_about_it_the_last_preset_answers(run: Run, preset: Write) -> None:
    preset("first", text="first")
    preset("second", text="second")
    assert run("ask", "-p", "second", "hi").out == "second\n"
    assert run("ask", "hi").out == "second\n"


def test_broken_settings_are_told_with_line_and_nearest_key(run: Run, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text('theme = "nord"\npreste = "x"\n')
    ran = run("ask", "hi")
    assert ran.status == 1
    assert "config.toml, line 2: preste: unknown key" in ran.err
    assert "Did you mean preset?" in ran.err


def test_the_second_question_does_not_load_again(run: Run, preset: Write) -> None:
    preset(keep_alive_s=20)
    first, second = run("ask", "-p", "echo", "--json", "a"), run("ask", "-p", "echo", "--json", "b")
    assert first.events[-1]["timings"]["load_s"] is not None
    assert [e["event"] for e in second.events] == ["prompt", "text", "done"]
    assert second.events[-1]["timings"]["load_s"] is None
    assert run("stop").status == 0


def test_a_home_with_a_very_long_path_works(long_home: Path, run: Run) -> None:
    folder = long_home / "config" / "presets"
    folder.mkdir(parents=True)
    text = 'title = "E"\nbackend = "echo"\nkeep_alive_s = 0.05\n[model]\nfamily = "e"\nquantization = "n"\n'
    (folder / "echo.toml").write_text(text + '[backends.echo]\nsource = "server:e"\n')
    assert run("ask", "-p", "echo", "hi").out == "hi\n"
    assert run("doctor").status == 0


def test_a_full_disk_behind_stdout_is_told_and_the_answer_kept(preset: Write, run: Run, tmp_path: Path) -> None:
    preset(text="one two")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tui", "ask", "-p", "echo", "hi"],
            stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, check=False, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"The answer could not be written to stdout" in done.stderr
    assert b"Traceback" not in done.stderr
    assert "hi" in run("chats", "show", "last").out


def test_a_closed_stdout_does_not_end_up_in_the_database(preset: Write, run: Run, tmp_path: Path) -> None:
    preset(text="one two")
    command = f"{sys.executable} -P -m tui ask -p echo hi >&- 2>&-"
    subprocess.run(["sh", "-c", command], check=False, cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=30)
    shown = run("chats", "show", "last", "--json").json
    assert shown["messages"][-1]["text"] == "one two"


def test_the_starter_model_answers_and_stays_warm(run: Run) -> None:
    try:
        first = run("ask", "-p", "starter", "--json", "Say hello.", env={"DEEPSEEK_TUI_KEEP_ALIVE_S": "30"})
        assert first.status == 0, first.err
        assert first.events[-1]["timings"]["load_s"] > 0
        assert "".join(e["text"] for e in first.events if e["event"] == "text").strip()
        second = run("ask", "-p", "starter", "--json", "Say hello.", env={"DEEPSEEK_TUI_KEEP_ALIVE_S": "30"})
        assert not {"starting", "load"} & {e["event"] for e in second.events}
        assert second.events[-1]["timings"]["load_s"] is None
        assert second.events[-1]["usage"]["prompt_tokens"] > 0
    finally:
        assert run("stop", "--force").status == 0


def test_what_is_to_be_known_of_a_model_is_said_once_when_it_is_loaded(run: Run, home: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "odd.toml").write_text('extends = "starter"\ncontext = 300\n[sampling]\nmax_tokens = 2\n')
    note = "note: The context was rounded up from 300 to 512 tokens, a multiple of 256."
    first = run("ask", "-p", "odd", "hi")
    assert (first.status, note in first.err.splitlines()) == (0, True)
    assert "note:" not in run("ask", "-p", "odd", "hi").err
    (host,) = run("ps", "--json").json["hosts"]
    assert note.removeprefix("note: ") in host["notes"]
    assert run("stop").status == 0
