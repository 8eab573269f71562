"""The program in plain lines, for a screen reader or a terminal that can do no more: nothing is ever written over."""
