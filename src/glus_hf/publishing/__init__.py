"""A checkpoint as a repository of the Hub: its files, its card, one commit."""
