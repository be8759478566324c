"""Commands that measure the service. They talk to 127.0.0.1 unless told otherwise."""
