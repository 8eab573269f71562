"""What to send for a question: the chat, or for an answer that goes on, whatever lets this kind of server go on."""

from __future__ import annotations

from typing import Any

import msgspec

from backends.base import ChatRequest, Partial
from backends.errors import CannotContinue, ServerError
from backends.openai.connection import Connection
from backends.openai.dialect import chat_messages, sampling_fields, unfinished
from backends.openai.opening import Opened
from backends.reasoning import SplitState, initial_state

CHAT, COMPLETIONS = "/chat/completions", "/completions"


class Asked(msgspec.Struct, frozen=True):
    """One request, and where the text that answers it starts. `plain` says that none of it is a thought any more."""

    path: str
    body: dict[str, Any]
    state: SplitState
    plain: bool


def ask(
    connection: Connection, opened: Opened, request: ChatRequest, partial: Partial | None, room: int | None
) -> Asked:
    """Return the request for an answer, or for the rest of `partial`, of at most `room` tokens.

    Raises CannotContinue, and BackendError where a server has to render the prompt and fails.
    """
    flavour = opened.flavour
    sampling = msgspec.structs.replace(request.sampling, max_tokens=room)
    body: dict[str, Any] = {
        "model": opened.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **sampling_fields(sampling, flavour),
    }
    if flavour.live_counts:
        body |= _live_counts(flavour.continuation)
    partial = unfinished(partial)
    style = request.reasoning
    if partial is None:
        body |= {"messages": chat_messages(request)} | opened.extra_body
        # The templates of models that think open the thought in the prompt, and some servers take nothing out. One that
        # does marks it, and what follows it is the answer either way.
        return Asked(
            CHAT, body, initial_state(style, "<think>" if style == "think-tags" else "", None), style == "none"
        )
    state = initial_state(style, "<think>" if partial.thinking else "", partial)
    # A server that marks thoughts itself takes the rest of an answer for one: where the thought is over, nothing is.
    plain = style == "none" or not partial.thinking
    from backends.template import append_partial

    said = append_partial("", partial, style)
    match flavour.continuation:
        case "final_message":
            messages = [*chat_messages(request), {"role": "assistant", "content": said}]
            body |= {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
            return Asked(CHAT, body | opened.extra_body, state, plain)
        case "response_prefix":
            body |= {"messages": chat_messages(request), "response_prefix": said}
            return Asked(CHAT, body | opened.extra_body, state, plain)
        case "rendered":
            body["prompt"] = append_partial(rendered(connection, chat_messages(request)), partial, style)
            return Asked(COMPLETIONS, body | opened.extra_body, state, plain)
    raise cannot_continue(connection.server)


def rendered(connection: Connection, messages: list[dict[str, str]]) -> str:
    """Return a conversation as llama-server's chat template renders it. Raises BackendError."""
    reply = connection.post("/apply-template", {"messages": messages}, beside=True)
    prompt = reply.get("prompt") if isinstance(reply, dict) else None
    if not isinstance(prompt, str):
        raise ServerError(f"{connection.server} did not render the prompt", "", "Update it, or ask the question anew.")
    return prompt


def cannot_continue(server: str) -> CannotContinue:
    """Return the error for a server that can only begin answers."""
    return CannotContinue(
        f"{server} cannot go on with an answer",
        "Its protocol takes only whole conversations.",
        "^r asks the question once more; ^o may find a backend that can.",
    )


def _live_counts(continuation: str) -> dict[str, Any]:
    """Ask for true token counts with each piece: vLLM and llama-server each in its own way."""
    if continuation == "rendered":
        return {"timings_per_token": True}
    return {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
