"""Training of GLUS: trainer, arguments, losses, what trains, configuration files, export; the tiny model's tokenizer."""
