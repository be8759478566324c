"""Video: faces hidden in every frame of a film, followed from one frame to the next."""
