"""Lanes keep their order, whatever the number of threads, and keep errors."""

import threading
import time

import pytest

from kolmo.execution import BACKLOG, Lanes


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_lane_keeps_its_order(threads):
    seen = {lane: [] for lane in range(4)}
    with Lanes(threads) as lanes:
        opened = [lanes.lane() for _ in seen]
        for number in range(100):
            for name, lane in enumerate(opened):
                lane.submit(lambda name=name, number=number: seen[name].append(number))
        list(lanes.drain())
        assert all(numbers == list(range(100)) for numbers in seen.values())


def test_lanes_run_side_by_side():
    meet = threading.Barrier(2, timeout=20)
    with Lanes(2) as lanes:
        opened = [lanes.lane(), lanes.lane()]
        for lane in opened:
            lane.submit(lambda: meet.wait() and None)
        list(lanes.drain())
    assert [lane.error for lane in opened] == [None, None]


def test_an_error_ends_its_lane_only():
    done = []
    with Lanes(2) as lanes:
        broken, sound = lanes.lane(), lanes.lane()
        broken.submit(lambda: [][0])
        broken.submit(lambda: done.append("broken"))
        sound.submit(lambda: done.append("sound"))
        list(lanes.drain())
    assert isinstance(broken.error, IndexError)
    assert sound.error is None
    assert done == ["sound"]


def test_the_backlog_is_bounded():
    release = threading.Event()
    submitted = []
    with Lanes(1) as lanes:
        lane = lanes.lane()

        def submit():
            for number in range(BACKLOG + 5):
                lane.submit(lambda: release.wait(20) and None)
                submitted.append(number)

        feeder = threading.Thread(target=submit)
        feeder.start()
        while len(submitted) < BACKLOG:
            time.sleep(0.01)
        feeder.join(0.2)  # it does not end: it waits
        assert len(submitted) == BACKLOG
        release.set()
        feeder.join(20)
        list(lanes.drain())
    assert len(submitted) == BACKLOG + 5


def test_an_exception_drops_what_has_not_started():
    done = []
    started = threading.Event()

    def first(lanes):
        started.set()
        while not lanes.dropped:
            time.sleep(0.01)
        done.append("first")

    def leave():
        with Lanes(1) as lanes:
            lane = lanes.lane()
            lane.submit(lambda: first(lanes))
            for _ in range(10):
                lane.submit(lambda: done.append("later"))
            started.wait(20)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert done == ["first"]
