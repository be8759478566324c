"""This service against what a competent person writes in an afternoon, and against its own limits."""
