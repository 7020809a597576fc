#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: `--dist loadgroup` does not keep a group together.
#
# The plugin's manual says that all tests with the same `xdist_group` run in one process. xdist 3.8.0
# brings this about in its workers: it writes the group's name behind the test's id, into the
# attribute `_nodeid`. pytest 9.2.0 keeps the id elsewhere, so that the controller never sees a group
# and shares out the tests one by one. Nothing is said. With pytest 9.1.0 the same file is shared out
# group by group. Whoever groups tests because they share a kernel, a port or a file gets failures
# that come and go with the load.
#
# Seen: 9.1.0, 1 process for each group; 9.2.0, 2 processes for each group. Fails if this changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > test_groups.py <<'PYTHON'
import time

import pytest

GROUPS = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in "ab" for _ in range(8)]


@pytest.mark.parametrize("name", GROUPS)
def test_group(name, worker_id):
    time.sleep(0.1)
    with open("seen.txt", "a") as file:
        file.write(f"{name} {worker_id}\n")
PYTHON

processes() { # of each group, with the pytest of that version
  python3 -m venv "$1"
  "$1/bin/pip" install --quiet "pytest==$1" pytest-xdist==3.8.0
  rm -f seen.txt
  "$1/bin/python" -m pytest -q -p no:cacheprovider -n 2 --dist loadgroup >/dev/null
  [ "$(wc -l < seen.txt)" -eq 16 ]
  sort -u seen.txt | cut -d' ' -f1 | uniq -c | awk '{ printf "%s:%s ", $2, $1 }'
}

before=$(processes 9.1.0)
after=$(processes 9.2.0)
echo "processes that ran tests of group a and b, pytest 9.1.0: $before"
echo "processes that ran tests of group a and b, pytest 9.2.0: $after"
[ "$before" = "a:1 b:1 " ] && [ "$after" = "a:2 b:2 " ]
