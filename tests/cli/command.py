"""Runs `glus-hf` as a user does: a process in a folder."""

import functools
import os
import signal
import subprocess

from tests.warm_python import warm_python


def start(folder, *arguments):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # a job in the background ignores Ctrl-C, and its children with it: take that back
    listen = None if os.name == "nt" else functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        [*warm_python(), "-m", "glus_hf.cli", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        preexec_fn=listen,
        **pipes,
    )


def run(folder, *arguments):
    """Exit code, stdout and stderr of `glus-hf ARGUMENTS` run in `folder`."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
