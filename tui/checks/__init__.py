"""What `doctor` looks at, one module a subject. No check raises, and none needs root."""
