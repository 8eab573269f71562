"""Quantising a file with the engine's own quantiser: as a job, in a process of its own that may be killed."""
