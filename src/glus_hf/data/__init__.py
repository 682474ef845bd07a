"""Reading and writing videos and masks, and everything between files on disk and tensors. Import the submodules directly."""
