"""A case and a seed become a record."""
