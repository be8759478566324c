"""Signed statements of what was hidden in a picture."""
