"""The process around a backend: it may block, leak or crash there, and outlives the terminal line."""
