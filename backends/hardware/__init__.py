"""What this machine has: graphics cards and memory. Nothing here raises; what cannot be read is named or None."""
