"""Numbers go to CSV always, and to TensorBoard where it is installed."""

import sys
import threading
import types

import pytest

from perimetry.errors import InputError
from perimetry.training import Recipe, RunDirectory
from perimetry.training.log import Log


def begun(tmp_path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.begin(Recipe(task="detection", data="d", steps=5), {})
    return run


def test_numbers_go_to_tensorboard_too(tmp_path, monkeypatch):
    told = []

    class Writer:
        def __init__(self, folder, purge_step) -> None:
            told.append((folder, purge_step))

        def add_scalar(self, name, value, step) -> None:
            told.append((name, value, step))

        def flush(self) -> None:
            told.append("flush")

        def close(self) -> None:
            told.append("close")

    fake = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    run = begun(tmp_path)
    log = Log(run, after=3)
    log.add(4, 0.5, "val", {"miou": 0.25, "iou": [0.5, None], "other": None})
    log.write()
    log.close()
    assert told == [(str(run.path / "tensorboard"), 4), ("val/miou", 0.25, 4), "flush", "close"]
    assert run.metrics().of("val", "miou") == [(4, 0.25)]


def test_without_tensorboard_there_is_the_table(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = begun(tmp_path)
    log = Log(run, after=0)
    log.add(1, 0.5, "train", {"loss": 2.0})
    log.write()
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoints", "metrics.csv", "recipe.json"]


def test_tensorboard_reads_what_a_run_that_was_stopped_wrote(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run, threads = begun(tmp_path), threading.active_count()
    for after, steps, factor in ((0, (1, 2, 3), 1.0), (2, (3, 4), 2.0)):
        log = Log(run, after=after)
        for step in steps:
            log.add(step, step / 2, "train", {"loss": factor * step})
        log.write()
        log.close()
    assert threading.active_count() == threads
    events = accumulator.EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1), (2, 2), (3, 6), (4, 8)]
    assert run.metrics().of("train", "loss") == [(1, 1.0), (2, 2.0), (3, 6.0), (4, 8.0)]


@pytest.mark.parametrize("call", ["SummaryWriter", "add_scalar", "flush", "close"])
def test_a_full_disk_under_tensorboard_is_told(tmp_path, monkeypatch, call):
    def writer(*_, **__):
        calls = dict.fromkeys(("add_scalar", "flush", "close"), lambda *_: None)
        return types.SimpleNamespace(**calls | {call: full})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    fake = types.SimpleNamespace(SummaryWriter=full if call == "SummaryWriter" else writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    run = begun(tmp_path)

    def use() -> None:
        log = Log(run, after=0)
        log.add(1, 0.5, "train", {"loss": 2.0})
        log.write()
        log.close()

    with pytest.raises(InputError, match="cannot write events for TensorBoard: No space left on device"):
        use()
