"""Which configuration of this machine carries most: a service of its own, a constant rate, a search."""
