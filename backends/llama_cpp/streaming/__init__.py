"""A model that main memory does not hold: which of its weights stay there, and how the others come from the disk."""
