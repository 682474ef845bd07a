"""The web page and the HTTP service of `glus-hf serve`; its libraries are in the extra `web`."""
