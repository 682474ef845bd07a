"""Training of GLUS: trainer, arguments, losses, what trains, configuration files, export, the tiny tokenizer."""
