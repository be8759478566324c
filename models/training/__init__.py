"""Training of SCRFD detectors on anybody's labelled pictures. Needs the extra `train`."""
