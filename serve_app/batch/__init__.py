"""Many pictures in one request: each goes the way of a request of its own."""
