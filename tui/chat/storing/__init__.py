"""The conversations on disk: the database, its rows, its order, and its health."""
