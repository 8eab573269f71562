"""Setting up this checkout on a bare machine: Python's standard library only."""
