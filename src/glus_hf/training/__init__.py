"""Training of GLUS: losses, trainer, arguments and the tokenizer of the tiny model."""
