"""The compiled kernels: only their presence is looked for."""
