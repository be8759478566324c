"""`face-api redact`: every picture of a folder, a zip or a bucket, on as many machines as Ray has."""
