#!/bin/sh
# Prints the Python of .venv; without one the newest on the PATH that the locks are for and that can
# make environments; without one, one that can say what it lacks, with status 1. 3.14 comes last:
# it builds the book, and gensim, which some chapters compare with, has no wheel for it yet.
# make does not apply its `unexport` to $(shell).
unset PYTHONHOME PYTHONPATH
good='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
for test in "$good" ''; do
  for python in .venv/bin/python python3.13 python3.12 python3.11 python3.14 python3; do
    if "$python" -c "$test" 2>/dev/null; then
      echo "$python"
      [ -n "$test" ]
      exit
    fi
  done
done
exit 1
