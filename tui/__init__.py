"""What people see, and what they said: the screen, the command line and the headless chat core."""
