"""What a run took is kept with it, over all its sittings."""

import json
import time

import torch

from perimetry.training.cost import Meter, read_cost


def test_seconds_add_up_and_the_most_memory_stays(tmp_path, monkeypatch):
    file, device = tmp_path / "cost.json", torch.device("cpu")
    meter = Meter(file, device)
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 100)
    meter.write(5)
    first = read_cost(file)
    assert 100 <= first.seconds < 110
    assert first.peak_bytes > 2**24  # Python and torch alone
    assert (first.step, first.device, first.threads) == (5, "cpu", torch.get_num_threads())
    told = json.loads(file.read_text())
    told["cost"]["peak_bytes"] = 2**50
    file.write_text(json.dumps(told))
    again = Meter(file, device)
    again.write(9)
    assert (read_cost(file).step, read_cost(file).peak_bytes) == (9, 2**50)
    assert first.seconds <= read_cost(file).seconds < first.seconds + 10


def test_a_file_that_tells_no_cost_is_passed_over(tmp_path):
    file = tmp_path / "cost.json"
    assert read_cost(file) is None
    for text in ("", "{}", '{"cost": 3}', '{"cost": {"seconds": "x"}}'):
        file.write_text(text)
        assert read_cost(file) is None
    Meter(file, torch.device("cpu")).write(1)
    assert read_cost(file).step == 1
