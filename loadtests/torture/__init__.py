"""The promises of RELIABILITY.md, each shown under load and kills against a service of its own."""
