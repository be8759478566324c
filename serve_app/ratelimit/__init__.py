"""Rate limits shared by all ingress replicas: one ledger counts and lends tokens, replicas spend them."""
