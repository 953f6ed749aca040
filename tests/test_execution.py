"""Lanes keep their order, whatever the number of threads, and keep errors."""

import os
import subprocess
import sys
import threading
import time

import pytest

from kolmo.execution import BACKLOG, Lanes, _share, cores, thread_count


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


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_threads_follow_the_affinity():
    program = """
import os
from kolmo.execution import Lanes, cores, in_parts, thread_count

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
parts = in_parts(slice.__repr__, 1 << 20)
print(cores(), thread_count(None), Lanes()._pool._max_workers, len(parts))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1 1 1 1\n", "")


def test_threads_may_be_more_than_the_cores():
    assert thread_count(cores() + 3) == cores() + 3


@pytest.mark.parametrize(
    ("quota", "processors"),
    [("200000 100000", 2), ("150000 100000\n", 2), ("5000 100000", 1), ("max 100000", None)],
)
def test_a_quota_is_so_many_processors(tmp_path, quota, processors):
    (tmp_path / "cpu.max").write_text(quota)
    assert _share(tmp_path / "cpu.max") == (processors or _share(tmp_path / "absent"))
