"""One `datasets` builder per dataset, `<name>/<name>.py`; installed as `glus_hf.datasets_scripts`."""
