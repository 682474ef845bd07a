"""One builder per dataset of images with objects, `<name>.py`; [`load_object_dataset`] finds them by name."""
