"""Running language models: one interface over several engines, each in a process of its own.

This layer knows no preset and no screen. It imports no engine when it is imported.
"""
