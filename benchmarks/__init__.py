"""Measures umami-ops side by side with what a person would use instead, in one run, and prints ratios."""
