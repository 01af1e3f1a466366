"""Event stores: the log in memory, the log in SQLite, and what proves it."""
