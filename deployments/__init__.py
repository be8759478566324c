"""The stages of the pipeline, in the order data flows: decoding, detection, masking."""
