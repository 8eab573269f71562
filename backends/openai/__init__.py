"""Any server that speaks the OpenAI protocol: vLLM, SGLang, TabbyAPI, llama-server, LM Studio, DeepSeek's own API."""

from __future__ import annotations

from backends.openai.engine import OpenAIBackend

__all__ = ["OpenAIBackend"]
