"""A directory is held by one process, not by what that one leaves behind."""

import subprocess
import sys

import pytest

from perimetry.errors import InputError
from perimetry.training.holding import held

pytest.importorskip("fcntl")

HOLD = """
import sys
from pathlib import Path
from perimetry.training.holding import held
with held(Path(sys.argv[1])):
    pass
"""
# The child sleeps on after its parent has ended.
HOLD_AND_LEAVE_A_CHILD = """
import os, sys, time
from pathlib import Path
from perimetry.training.holding import held
with held(Path(sys.argv[1])):
    if os.fork() == 0:
        os.close(1)
        time.sleep(20)
    print("held")
    sys.stdout.flush()
    os._exit(0)
"""


def run(code, folder):
    return subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)


def test_a_directory_is_held_by_one_process_at_a_time(tmp_path):
    with held(tmp_path):
        assert "another process trains in" in run(HOLD, tmp_path).stderr
        with pytest.raises(InputError, match="wait until it ends, or name another directory"), held(tmp_path):
            pass
    assert run(HOLD, tmp_path).returncode == 0


def test_a_child_that_outlives_its_parent_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD_AND_LEAVE_A_CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.wait(30) == 0
        with held(tmp_path):
            pass
