"""Pictures in S3: where they lie, under which names, and how they are read and written."""
