"""The headless chat core, shared by the screen and the command line: it knows no Textual."""
