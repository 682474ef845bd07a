"""Videos, masks and everything else between files on disk and tensors. Import the submodules directly."""
