"""Evaluation on datasets of objects: what a model finds in each image, and the scores of it."""
