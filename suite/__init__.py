"""Regression benchmarks of FGSM adversarial training across releases of its libraries."""
