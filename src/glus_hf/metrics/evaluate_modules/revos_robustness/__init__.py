"""The `evaluate` module `revos_robustness`."""
