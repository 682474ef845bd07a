"""Masks in the formats of other programs; the way back into own data is `data/own/`."""
