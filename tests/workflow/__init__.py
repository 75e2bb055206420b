"""Runs the workflow here as it is written: its scripts, in their order, with its expressions."""
