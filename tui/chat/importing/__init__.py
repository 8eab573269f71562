"""Conversations coming in: our own files, lists of messages, and what Ollama leaves."""
