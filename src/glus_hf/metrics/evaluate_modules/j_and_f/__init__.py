"""The `evaluate` module `j_and_f`."""
