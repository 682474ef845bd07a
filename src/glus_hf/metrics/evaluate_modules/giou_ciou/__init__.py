"""The `evaluate` module `giou_ciou`."""
