"""ReasonVOS: reasoning expressions on videos of four datasets, for testing."""
