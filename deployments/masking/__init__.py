"""Pixels and faces in, an encoded picture with every face hidden out."""
