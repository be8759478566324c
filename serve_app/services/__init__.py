"""What the routes ask for: keys, their use, administrators. Services open transactions; they write no SQL."""
