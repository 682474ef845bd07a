"""Refer-YouTube-VOS: expressions for YouTube-VOS, every fifth frame annotated."""
