"""What a machine can run: bytes by place, layers on the card, tokens a second, and why. No engine is asked.

`fit.fit` is the way in; `memory` and `speed` hold the arithmetic.
"""
