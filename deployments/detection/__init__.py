"""Canvases in, faces out, in dynamic batches."""
