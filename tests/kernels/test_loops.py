"""Tasks are each run once, on as many threads as torch may use; what fails in a thread is raised."""

import threading
import time

import pytest
import torch

from perimetry.kernels.loops import share


@pytest.fixture(autouse=True)
def _threads_as_found():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("tasks", [0, 1, 2, 7, 100])
def test_each_task_runs_once(tasks, threads):
    torch.set_num_threads(threads)
    done, names = [], set()

    def run(first, last):
        names.add(threading.get_ident())
        time.sleep(0.001)
        done.extend(range(first, last))

    share(tasks, run)
    assert sorted(done) == list(range(tasks))
    assert len(names) <= threads


def test_an_error_in_a_thread_is_raised():
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        share(8, lambda first, last: first // 0)
