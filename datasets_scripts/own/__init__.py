"""Your own videos and expressions, in the layout of docs/own-data.md."""
