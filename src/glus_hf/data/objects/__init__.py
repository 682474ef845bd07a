"""Datasets of images with objects: one row schema, one builder base, and readers of the formats they come in."""
