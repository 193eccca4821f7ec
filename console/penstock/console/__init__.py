"""For operators: the `penstock` command."""
