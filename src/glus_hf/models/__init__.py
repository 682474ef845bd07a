"""Model families. Each folder is flat and can be pushed to the Hub with its weights."""
