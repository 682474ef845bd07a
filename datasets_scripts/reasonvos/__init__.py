"""ReasonVOS: reasoning expressions on videos of four data sets, for testing."""
