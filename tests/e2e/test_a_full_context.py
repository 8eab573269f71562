"""What no longer fits, a context that is full, and a thought that takes too long: in a real terminal."""

from __future__ import annotations


def test_a_conversation_that_no_longer_fits_goes_on_without_its_beginning(terminal, echo) -> None:
    echo(context=300, text="said " * 60)
    screen = terminal("-p", "demo", width=80, height=24)
    screen.ask("first " + "word " * 100)
    screen.see("(?s)said said.*saved")
    screen.ask("second " + "word " * 100)
    screen.see("The conversation no longer fits")
    screen.see("(?s)The oldest 2 messages would not be sent.*you: first word.*2  A larger context: 768 tokens")
    screen.press("1")
    screen.see_gone("The conversation no longer fits")
    screen.see("(?s)Demo · echo ‹2/2› +\\d\\d:\\d\\d.*said said.* 163/300.*saved")
    screen.type("\x1b[5~")
    screen.see("── not sent to the model from here up ──")
    screen.leave()
    # It is remembered: a fresh window shows it, and sends no more than it says.
    again = terminal()
    again.ask("third")
    again.see("context 2\\d\\d/300")
    again.leave()


def test_a_full_context_goes_on_in_a_larger_one_with_one_key(terminal, echo) -> None:
    words = " ".join(f"word{number}" for number in range(800))
    echo(context=256, text=words)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("The context of 256 tokens is full. \\^e goes on with 512")
    assert "word260" not in screen.text
    screen.press("^e")
    screen.see("The context of 512 tokens is full. \\^e goes on with 1,024")
    screen.press("^e")
    screen.see("(?s)word799.*context 80\\d/1k.*saved")
    screen.leave()


def test_a_thought_is_closed_with_a_key_and_the_answer_follows(terminal, echo) -> None:
    echo(reasoning="so " * 900, text="it is what it is", tokens_per_second=30)
    screen = terminal("-p", "demo", width=80, height=24)
    screen.ask("why?")
    screen.see("thinking · \\d+ tokens.*\\^y answers now")
    screen.press("^y")
    screen.see("(?s)thought for.*it is what it is.*saved", 5)
    screen.press("^y")
    screen.see("There is no thought to close")
    screen.leave()


def test_a_model_that_repeats_itself_is_told_with_the_keys_that_help(terminal, echo) -> None:
    loop = "Wait, let me check that again. The sum is not what I thought it was. " * 40
    echo(reasoning=loop, text="fine", tokens_per_second=120)
    screen = terminal("-p", "demo", width=80, height=24)
    screen.ask("why?")
    screen.see("It repeats itself: \\^y answers now, Esc stops")
    screen.press("^y")
    screen.see("(?s)fine.*saved")
    screen.see_gone("It repeats itself")
    screen.leave()
