"""HTTP routes: each parses, calls, returns."""
