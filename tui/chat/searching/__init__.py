"""Every word said and thought, found again."""
