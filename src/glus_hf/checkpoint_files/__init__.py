"""The files of a checkpoint, looked at before a library reads them: a hostile one costs a line, not the memory."""
