"""Numbers in, verdicts out: no framework is needed."""
