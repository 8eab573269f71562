"""What the backends that talk to servers share: lines that can be shut, bounded lines, and failures with a type."""
