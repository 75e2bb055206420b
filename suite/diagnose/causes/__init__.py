"""The rules that name what is wrong with a network."""
