"""Verdicts in, pages out: what was judged, written for a terminal, Markdown or another program."""
