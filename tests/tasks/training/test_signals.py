"""Signals raise a flag and nothing else."""

import os
import signal
import threading

import pytest

from tasks.training.signals import STOPPING, Interrupted, Preempted, catch_stop_signals, raise_stop_signals


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_sets_the_flag_and_the_old_handler_returns(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with catch_stop_signals() as request:
        assert request.signal is None
        os.kill(os.getpid(), number)
        if number != signal.SIGINT:
            os.kill(os.getpid(), number)
        assert request.signal == number.name
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", STOPPING)
def test_where_nothing_is_to_be_saved_a_signal_is_raised(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=number.name), raise_stop_signals():
        with catch_stop_signals() as request:
            os.kill(os.getpid(), number)
        assert request.signal == number.name
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_is_raised_but_not_out_of_a_save() -> None:
    with pytest.raises(Interrupted, match="SIGINT"), catch_stop_signals() as request:
        with pytest.raises(Interrupted, match="SIGINT"), request.held():
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
            saved = True
        assert saved
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", STOPPING)
def test_what_loses_nothing_is_interrupted(number: signal.Signals) -> None:
    with catch_stop_signals() as request:
        with pytest.raises(Interrupted, match=number.name), request.interrupting():
            os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match=number.name), request.interrupting():
            raise AssertionError("begun after a signal")
        assert request.signal == number.name


def test_submitit_s_signal_is_among_them() -> None:
    """On a cluster it reaches the training too, which is a child of the process that submitit started."""
    local = pytest.importorskip("submitit.local.local")
    assert local.LocalJobEnvironment._usr_sig() in STOPPING


def test_the_old_handler_returns_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), catch_stop_signals():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_runs_without_handlers() -> None:
    seen = []

    def work() -> None:
        with catch_stop_signals() as request:
            seen.append(request.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


def test_the_exit_code_is_the_documented_one() -> None:
    assert Preempted.exit_code == 75 == os.EX_TEMPFAIL
