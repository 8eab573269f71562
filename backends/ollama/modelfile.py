"""A GGUF file of this machine as Ollama is to have it: its name there, its template, its parameters.

The same is sent to a server and written as a Modelfile.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec

from backends.gguf.files import part_names, read_shape
from backends.gguf.shape import Shape

OURS = "deepseek-tui"
"""The namespace of what we import: `ollama list` shows it, and nobody else's models are in it."""
_BOS, _EOS, _USER, _ASSISTANT = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
_OPENED = "<think>\n"
# DeepSeek's form in Ollama's own language, for servers that do not read the file's template: before 0.30. It leaves a
# last message of the assistant open, so that an answer can be continued.
_TEMPLATE = """{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1}}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>
  {{- if and $.IsThinkSet (and $last .Thinking) -}}
<think>
{{ .Thinking }}
</think>
{{- end }}{{ .Content }}{{- if not $last }}<｜end▁of▁sentence｜>{{- end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ THINK }}
{{- end -}}
{{- end }}"""
_LEFT_OPEN, _LEFT_TO_THE_MODEL = "else -}}\n<think>\n{{ end", "end"
_PARAMETERS: dict[str, Any] = {"temperature": 0.6, "top_p": 0.95, "stop": [_BOS, _EOS, _USER, _ASSISTANT]}
"""DeepSeek's own advice for R1; our requests carry their own values, these are for `ollama run`."""


class Import(msgspec.Struct, frozen=True):
    """A model to be imported. `base` is its name without a tag, `files` its parts.

    `template` "" leaves the template to the server, which takes that of the file.
    """

    base: str
    files: tuple[Path, ...]
    size: int
    template: str = ""
    parameters: dict[str, Any] = {}

    def named(self, digests: tuple[str, ...]) -> str:
        """Return the model's name with a tag that stands for all that it is made of: another file, another name."""
        made = msgspec.json.encode((digests, self.template, self.parameters), order="sorted")
        return f"{self.base}:{hashlib.sha256(made).hexdigest()[:12]}"


def describe(path: Path) -> Import:
    """Return how a GGUF file, or any part of a split one, is imported. Raises ModelNotFound, BadModelFile."""
    shape = read_shape(path)
    names = part_names(path.name)
    files = tuple(path.with_name(name) for name in names)
    form = _r1_form(shape.chat_template)
    template, parameters = (form, _PARAMETERS) if form else ("", {})
    return Import(f"{OURS}/{_base(path, shape)}", files, shape.file_bytes or 0, template, parameters)


def modelfile(model: Import) -> str:
    """Return the Modelfile that makes the same of the same file."""
    lines = [f"# ollama create {model.base} -f Modelfile", *(f"FROM {path}" for path in model.files)]
    if model.template:
        lines.append(f'TEMPLATE """{model.template}"""')
    for name, value in model.parameters.items():
        lines += [f"PARAMETER {name} {one}" for one in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n"


def _base(path: Path, shape: Shape) -> str:
    stem = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", path.name, flags=re.IGNORECASE)
    if re.fullmatch(r"sha256-[0-9a-f]{64}", stem):
        stem = f"{shape.name}-{shape.quantization}"
    return re.sub(r"[^a-z0-9_.-]+", "-", stem.casefold()).strip("-._")[:80] or "model"


def _r1_form(source: str) -> str:
    """Return DeepSeek's template in Ollama's language if that of the file writes the same prompts, otherwise ""."""
    if _ASSISTANT not in source:
        return ""
    from backends.base import Message
    from backends.errors import BadModelFile
    from backends.template import compile_template, render

    talk = (Message("system", "S."), Message("user", "Q."), Message("assistant", "A."), Message("user", "R."))
    try:
        prompt = render(compile_template(source, _BOS, _EOS), talk)
    except BadModelFile:
        return ""
    wanted = f"S.{_USER}Q.{_ASSISTANT}A.{_EOS}{_USER}R.{_ASSISTANT}"
    prompt = prompt.removeprefix(_BOS)
    if prompt == wanted:
        return _TEMPLATE.replace("THINK", _LEFT_TO_THE_MODEL)
    return _TEMPLATE.replace("THINK", _LEFT_OPEN) if prompt == wanted + _OPENED else ""
