"""One `datasets` builder per data set, `<name>/<name>.py`; installed as `glus_hf.datasets_scripts`."""
