"""ReVOS: referring, reasoning and nonexistent expressions."""
