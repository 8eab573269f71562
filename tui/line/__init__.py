"""The line between the program and the person: what the terminal is, what goes over it, and what comes back."""
