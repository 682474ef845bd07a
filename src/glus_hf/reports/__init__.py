"""One HTML page about a run, or about two models on the same expressions."""
