"""SCRFD: where its weights come from, how its graph is prepared, run and read."""
