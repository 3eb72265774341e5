"""A run that is killed at any moment goes on to the same weights, bit for bit."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from perimetry.training.checkpoints import load_checkpoint
from perimetry.training.evaluation import evaluate_network
from perimetry.training.holding import held
from perimetry.training.run import load_run
from perimetry.training.sets import task_of
from training_run import STEPS, run, sets

PROGRAM = Path(__file__).parents[1] / "training_run.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def command(out: Path, *, workers: int = 0, model: str = "classifier", processes: int = 1) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, *(launcher if processes > 1 else []), str(PROGRAM), str(out), str(workers), model]


def finish(words: list[str]) -> None:
    subprocess.run(words, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)


def kill_at(step: int, words: list[str]) -> None:
    """Kill all its processes as soon as it says that it has done that many steps."""
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        for line in child.stdout:
            if line.split()[:1] == [str(step)]:
                os.killpg(child.pid, 9)
                break
        else:
            pytest.fail("the run ended before it was killed")


def weights(out: Path) -> dict[str, torch.Tensor]:
    found = load_checkpoint(out / "checkpoints", "last")
    assert found.step == STEPS
    return dict(found.weights)


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_gone_on(tmp_path, workers):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole)
    kill_at(random.Random(workers).randint(2, STEPS - 2), command(killed, workers=workers))
    assert load_checkpoint(killed / "checkpoints", "last").step < STEPS
    run(killed, workers=workers)
    torch.testing.assert_close(weights(killed), weights(whole), rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_killed_and_gone_on(tmp_path):
    words = [command(tmp_path / name, processes=2) for name in ("whole", "killed")]
    finish(words[0])
    kill_at(5, words[1])
    finish(words[1])
    torch.testing.assert_close(weights(tmp_path / "killed"), weights(tmp_path / "whole"), rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_are_stopped_together(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finish(command(whole, processes=2))
    words = command(stopped, processes=2)
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        for line in run.stdout:
            if line.split()[:1] == ["3"]:
                run.terminate()
    assert 3 <= load_checkpoint(stopped / "checkpoints", "last").step < STEPS
    finish(words)
    torch.testing.assert_close(weights(stopped), weights(whole), rtol=0, atol=0)


@pytest.mark.slow
def test_all_processes_say_why_the_first_is_refused(tmp_path):
    with held(tmp_path):
        asked = command(tmp_path, processes=2)
        told = subprocess.run(asked, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert told.returncode and "Connection closed" not in told.stderr
    assert told.stderr.count("InputError: another process trains in") >= 1


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, model="plain_classifier")
    finish(command(two, model="plain_classifier", processes=2))
    # Sums in another order: float32, a dozen steps.
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-4, atol=1e-6)
    scores = [load_checkpoint(out / "checkpoints", "last").facts["scores"] for out in (one, two)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_two_processes_score_the_network_that_is_kept(tmp_path):
    finish(command(tmp_path, model="normed_classifier", processes=2))
    kept, val = load_run(tmp_path, checkpoint="last"), sets().val
    task = task_of(kept.recipe, kept.classes)
    scores = evaluate_network(kept.network, val, task=task, transform=kept.transform, batch=4)
    assert load_checkpoint(tmp_path / "checkpoints", "last").facts["scores"] == scores
