#!/usr/bin/env bash
# From nothing to glus-tiny, on one or two CPU cores. Every stage resumes where it was stopped.
