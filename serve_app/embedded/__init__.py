"""A PostgreSQL and an S3 server of our own, for a machine that has none. Needs the extra `embedded`."""
