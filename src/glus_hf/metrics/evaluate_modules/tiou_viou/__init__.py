"""The `evaluate` module `tiou_viou`."""
