"""A model that main memory does not hold: what stays there, what is read ahead, and what may go wrong."""
