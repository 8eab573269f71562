"""Chat templates: rendered in a sandbox, bounded, with a fallback and a way to go on with an answer."""

from __future__ import annotations

import time

import pytest

from backends.base import Message, Partial
from backends.errors import BadModelFile
from backends.template import (
    CHATML,
    DEEPSEEK_R1,
    LLAMA3,
    append_partial,
    compile_template,
    fallback_source,
    render,
)

USER = Message("user", "Hi")
SYSTEM = Message("system", "Be brief.")

# The shape of the template that R1's distilled models carry.
R1 = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set ns = namespace(system_prompt='') %}
{%- for message in messages %}{% if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}
{%- endif %}{% endfor %}{{ bos_token }}{{ ns.system_prompt }}
{%- for message in messages %}{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% endif %}
{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}
{%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}
{{- '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"""
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}
{%- for message in messages %}<{{ message['role'] }}>{{ message['content'] | trim }}{% endfor %}"""


def rendered(source: str, *messages: Message) -> str:
    return render(compile_template(source, "<B>", "<E>"), messages)


def refusal(source: str, *messages: Message) -> BadModelFile:
    started = time.monotonic()
    with pytest.raises(BadModelFile) as caught:
        rendered(source, *(messages or (USER,)))
    assert time.monotonic() - started < 5
    assert caught.value.hint
    return caught.value


def test_a_conversation_becomes_a_prompt_that_ends_where_the_answer_begins() -> None:
    prompt = rendered(CHATML, SYSTEM, USER, Message("assistant", "Yes"), Message("user", "So?"))
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_template_of_r1_gets_its_tokens_and_opens_the_thought() -> None:
    answered = Message("assistant", "<think>\nsecret\n</think>\n\nYes")
    prompt = rendered(R1, USER, answered, Message("user", "So?"))
    assert prompt == "<B><｜User｜>Hi<｜Assistant｜>Yes<｜end▁of▁sentence｜><｜User｜>So?<｜Assistant｜><think>\n"


def test_the_built_in_template_of_r1_agrees_with_the_models_own() -> None:
    messages = (SYSTEM, USER, Message("assistant", "Yes"), Message("user", "So?"))
    assert rendered(DEEPSEEK_R1, *messages).replace("<E>", "<｜end▁of▁sentence｜>") == rendered(R1, *messages)


def test_the_built_in_template_of_llama_3_separates_header_and_text() -> None:
    assert rendered(LLAMA3, USER) == (
        "<B><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_a_system_message_that_the_template_refuses_goes_into_the_first_user_message() -> None:
    assert rendered(GEMMA, SYSTEM, USER) == "<B><user>Be brief.\n\nHi"


def test_a_system_message_that_the_template_leaves_out_goes_into_the_first_user_message() -> None:
    silent = "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}"
    assert rendered(silent, SYSTEM, USER) == "[Be brief.\n\nHi]"


def test_markers_for_training_mean_nothing() -> None:
    assert rendered("{%- generation -%} a {%- endgeneration %}{{ messages[0].content }}", USER) == "aHi"


def test_json_and_dates_are_there_for_templates_that_need_them() -> None:
    assert rendered("{{ {'ü': 1} | tojson }}") == '{"ü": 1}'
    assert rendered("{{ strftime_now('%Y') }}") == time.strftime("%Y")


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ raise_exception.__globals__['sys'] }}",
        "{{ self._TemplateReference__context.environment }}{{ self.__init__.__globals__ }}",
        "{{ messages.append(messages[0]) }}",
        "{{ ''|attr('__class__')|attr('mro') }}{{ (''|attr('__class__')).mro() }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(escape: str) -> None:
    assert "chat template" in refusal(escape).title


@pytest.mark.parametrize(
    "waste",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = 1 %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in range(99999) %}{{ messages[0].content }}" + "x" * 1000 + "{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ 9**9**9 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a\nb' | indent(10**8) }}",
        "{{ range(10**9) | list }}",
    ],
)
def test_a_template_that_wastes_time_or_memory_is_stopped(waste: str) -> None:
    assert "chat template" in refusal(waste).title


def test_the_time_limit_leaves_no_trace_function_behind() -> None:
    import sys

    before = sys.gettrace()
    refusal("{% for i in range(99999) %}{% for j in range(99999) %}{% set x = 1 %}{% endfor %}{% endfor %}")
    assert sys.gettrace() is before


@pytest.mark.parametrize("broken", ["{% for %}", "{{ nothing | nofilter }}", "{{ " + "(" * 5000, "x" * 300_000])
def test_a_template_that_is_none_is_refused(broken: str) -> None:
    assert "chat template" in refusal(broken).title


def test_a_conversation_that_the_template_refuses_says_what_it_said() -> None:
    assert "must alternate" in refusal("{{ raise_exception('roles must alternate') }}", USER).detail


@pytest.mark.parametrize(
    ("tokens", "source"),
    [
        ({"<|im_start|>"}, CHATML),
        ({"<｜User｜>"}, DEEPSEEK_R1),
        ({"<|start_header_id|>"}, LLAMA3),
        (set(), CHATML),
    ],
)
def test_a_model_without_a_template_gets_one_that_fits_its_tokens(tokens: set[str], source: str) -> None:
    found, note = fallback_source(lambda text: text in tokens)
    assert found == source
    assert "no chat template" in note


@pytest.mark.parametrize("prompt", ["<｜Assistant｜>", "<｜Assistant｜><think>\n"])
@pytest.mark.parametrize(
    ("partial", "ending"),
    [
        (Partial(reasoning="Hm, so", thinking=True), "<think>\nHm, so"),
        (Partial(thinking=True), "<think>\n"),
        (Partial(reasoning="Hm.\n"), "<think>\nHm.\n</think>\n\n"),
        (Partial(reasoning="Hm.", text="Yes, be"), "<think>\nHm.\n</think>\n\nYes, be"),
    ],
)
def test_a_partial_answer_is_continued_alike_whoever_opens_the_thought(prompt, partial, ending) -> None:
    assert append_partial(prompt, partial, "auto") == "<｜Assistant｜>" + ending


def test_a_partial_answer_without_a_thought_closes_the_one_that_the_prompt_opened() -> None:
    assert append_partial("<think>\n", Partial(text="Yes"), "auto") == "<think>\n\n</think>\n\nYes"
    assert append_partial("A:", Partial(text="Yes"), "auto") == "A:Yes"
    assert append_partial("A:", Partial(reasoning="Hm", text="Yes"), "none") == "A:Yes"
    assert append_partial("A:", None, "auto") == "A:"
