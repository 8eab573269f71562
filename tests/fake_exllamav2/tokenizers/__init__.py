"""Only its presence is looked for."""
