"""Measuring: a case and a seed become a record."""
