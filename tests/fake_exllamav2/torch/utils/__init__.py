"""Only what is looked for."""
