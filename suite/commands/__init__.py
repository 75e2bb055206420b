"""The commands, one file a session; this one imports nothing, so that `lock` runs without NumPy."""
