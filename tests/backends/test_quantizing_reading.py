"""The log of the engine's quantiser: each tensor is heard of once, whatever else is said, and however it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.llama_cpp.quantizing.messages import At, decode
from backends.llama_cpp.quantizing.reading import Begun, Reading

INFO, WARN, ERROR, CONTINUED = 2, 3, 4, 5
WHOLE = (
    (INFO, b"llama_model_loader: - type  f16:   30 tensors\n"),
    (WARN, b"llama_tensor_get_type: blk.0.ffn_up.weight                  - applying manual override: q3_K -> q4_K\n"),
    (INFO, b"[   1/   3] output.weight                        - [   256,    512,      1,      1], type =    f16, "),
    (INFO, b"converting to q6_K .. "),
    (INFO, b"size =     0.25 MiB ->     0.10 MiB\n"),
    (INFO, b"[   2/   3] output_norm.weight                   - [   256,      1,      1,      1], type =    f32, "),
    (INFO, b"size =    0.001 MiB\n"),
    (INFO, b"[   3/   3] blk.0.ffn_up.weight                  - [   256,    512,      1,      1], type =    f16, "),
    (INFO, b"\n====== llama_model_quantize_impl: did not find weights for blk.0.ffn_up.weight\n"),
    (INFO, b"converting to q4_K .. "),
    (INFO, b"size =     0.25 MiB ->     0.07 MiB\n"),
    (INFO, b"llama_model_quantize_impl: quant size  =     0.17 MiB (4.5 BPW)\n"),
)
EVERY = [
    Begun(1, 3, "output.weight", "f16"),
    Begun(2, 3, "output_norm.weight", "f32"),
    Begun(3, 3, "blk.0.ffn_up.weight", "f16"),
]


def heard(calls: list[tuple[int, bytes]]) -> tuple[list[Begun], Reading]:
    reading = Reading()
    return [begun for level, text in calls for begun in reading.feed(level, text)], reading


def test_each_tensor_is_heard_of_when_it_begins() -> None:
    begun, reading = heard(list(WHOLE))
    assert begun == EVERY
    assert (reading.failure, reading.last_words) == ("", "")


@given(st.data())
def test_it_is_heard_of_however_the_pieces_are_cut(data: st.DataObject) -> None:
    calls = []
    for level, text in WHOLE:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        calls += [(level if number == 0 else CONTINUED, piece) for number, piece in enumerate(pieces)]
    assert heard(calls)[0] == EVERY


@given(st.lists(st.tuples(st.integers(0, 6), st.binary(max_size=200)), max_size=30))
def test_nothing_that_is_said_breaks_it(noise: list[tuple[int, bytes]]) -> None:
    begun, _ = heard(noise)
    assert all(one.number >= 0 and one.count >= 0 and one.name for one in begun)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.text(st.characters(codec="utf-8", exclude_characters="[\n"), max_size=50)),
        max_size=9,
    )
)
def test_lines_of_others_in_between_change_nothing(noise: list[tuple[int, str]]) -> None:
    between = [(level, text.encode() + b"\n") for level, text in noise]
    calls = [one for call in WHOLE[::1] for one in ((call,) if not call[1].endswith(b"\n") else (call, *between))]
    assert heard(calls)[0] == EVERY


def test_a_dry_run_says_what_becomes_of_each_tensor() -> None:
    calls = [
        (INFO, b"[   1/   2] output.weight - [   256,    512,      1,      1], type =    f16, "),
        (INFO, b"size =     0.25 MiB ->     0.10 MiB (q6_K)\n"),
        (INFO, b"[   2/   2] output_norm.weight - [   256,      1,      1,      1], type =    f32, "),
        (INFO, b"size =    0.001 MiB\n"),
    ]
    _, reading = heard(calls)
    assert reading.types == {"output.weight": "q6_K", "output_norm.weight": "f32"}


def test_the_reason_of_a_failure_is_what_the_engine_says_last() -> None:
    failed = (ERROR, b"llama_model_quantize: failed to quantize: basic_ios::clear: iostream error\n")
    _, reading = heard([*WHOLE, (ERROR, b"something else\n"), failed])
    assert reading.last_words == "basic_ios::clear: iostream error"
    _, reading = heard([*WHOLE, (ERROR, b"something else\n")])
    assert reading.last_words == "something else"


def test_a_line_without_an_end_does_not_grow_without_one() -> None:
    reading = Reading()
    for _ in range(2000):
        reading.feed(INFO, b"x" * 1000)
    assert len(reading._line) < 10_000


@given(st.binary())
def test_what_is_no_message_is_none(line: bytes) -> None:
    assert decode(line) is None or line.lstrip().startswith(b"{")


def test_a_message_is_read() -> None:
    assert decode(b'{"type":"at","place":3}\n') == At(3)
