"""A first wish to stop waits; a later one does not; afterwards signals mean what they meant before."""

import signal
import threading

import pytest

from perimetry.training import stopping
from perimetry.training.stopping import stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_and_a_later_one_does_not(number, monkeypatch):
    before = signal.getsignal(number)
    with stop_signals() as wish:
        assert not wish.asked
        signal.raise_signal(number)
        assert wish.asked
        signal.raise_signal(number)  # the same wish, passed on by a launcher
        monkeypatch.setattr(stopping, "_ECHO", -1.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_other_threads_leave_signals_alone():
    found = []

    def work() -> None:
        before = signal.getsignal(signal.SIGINT)
        with stop_signals():
            found.append(signal.getsignal(signal.SIGINT) == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True]
