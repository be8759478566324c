"""The HTTP face of the service and everything that holds state."""
