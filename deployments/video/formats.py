"""Which files count as films, by the ends of their names; without PyAV, which may not be there."""

from typing import Final

FORMATS: Final = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Containers that can be written."""

SUFFIXES: Final = frozenset(FORMATS) | {
    *(".3gp", ".avi", ".flv", ".m2ts", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv")
}
"""Files that are read as films."""
