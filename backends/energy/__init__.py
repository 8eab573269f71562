"""Joules of spans of time of one host process, as far as its machine tells them; `meter.Meter` is the way in."""
