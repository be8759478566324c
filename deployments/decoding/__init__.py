"""Bytes in, upright pixels and a canvas out."""
