# SPDX-License-Identifier: Apache-2.0
"""The machinery of kernels: teams of threads, the cache of machine code, random words.

Not tested here: what kernels compute (tests/reference/exact).
"""

import contextlib
import os
import subprocess
import sys
import threading
from concurrent import futures

import numba
import numpy as np
import pytest

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact import draws, threads
from tiny_agent_trainer.exact.kernels import atomics, compiler, handing_out, team


class TestTeam:
    """Every task is done exactly once, and a call returns when all are."""

    @pytest.mark.parametrize("number", [1, 2, 3, 7])
    @pytest.mark.parametrize("count", [0, 1, 2, 6, 7, 100, 10_000])
    def test_runs_every_iteration_once(self, number, count):
        runs = np.zeros(count, np.int64)
        with open_team(number) as made:
            for by in (1, 2, 4):
                made.run(add_to, count, runs, by)
        assert (runs == 7).all()

    @pytest.mark.parametrize("number", [1, 2, 3, 7])
    def test_hands_every_task_out_once(self, number):
        taken = np.zeros(1000, np.int64)
        with open_team(number) as made:
            made.share(note_taken, 1000, taken)
        assert (taken == 1).all()

    def test_threads_that_wait_take_part(self):
        """The caller waits in its task for another thread's: alone it would wait for ever."""
        met = np.zeros(2, np.int64)
        with open_team(2) as made:
            made.share(meet, 2, met)
        assert met.tolist() == [2, 2]

    @pytest.mark.parametrize("number", [2, 7])
    def test_a_failure_on_any_thread_reaches_the_caller(self, number):
        with open_team(number) as made:
            with pytest.raises(MemoryError, match="no memory"):
                made.run(fail_at, 100, 99)
            runs = np.zeros(100, np.int64)
            made.run(add_to, 100, runs, 1)
        assert (runs == 1).all()

    @pytest.mark.parametrize("number", [1, 2, 5])
    def test_visits_each_thread_once(self, number):
        seen, lock = {}, threading.Lock()

        def visit(place):
            with lock:
                seen[place] = threading.get_ident()

        with open_team(number) as made:
            made.visit(visit)
            assert sorted(seen) == list(range(number))
            assert len(set(seen.values())) == number
            assert seen[number - 1] == threading.get_ident()
            with pytest.raises(ZeroDivisionError):
                made.visit(lambda place: 1 // place)
            runs = np.zeros(9, np.int64)
            made.run(add_to, 9, runs, 1)
            assert (runs == 1).all()

    def test_ends_its_threads(self):
        before = set(threading.enumerate())
        with open_team(3):
            made = set(threading.enumerate()) - before
            assert len(made) == 2
        for thread in made:
            thread.join(60)
            assert not thread.is_alive()

    @pytest.mark.parametrize("number", [1, 2, 3, 7])
    @pytest.mark.parametrize("tasks", [1, 2, 63, 64, 65, 1000])
    def test_a_phase_sees_everything_that_the_one_before_wrote(self, number, tasks):
        with open_team(number) as made:
            for _ in range(20):
                numbers, totals = np.zeros(tasks, np.int64), np.zeros(tasks, np.int64)
                made.together(count_and_total, 2, tasks, numbers, totals)
                assert numbers.tolist() == list(range(tasks))
                assert (totals == tasks * (tasks - 1) // 2).all()

    def test_callers_at_the_same_time_do_not_disturb_each_other(self):
        """One has the other threads, the rest work alone; kernels differ in kind."""
        totals = [np.zeros(500, np.int64) for _ in range(4)]

        def call(runs):
            for _ in range(200):
                made.run(add_to, 500, runs, 1)
                numbers, found = np.zeros(50, np.int64), np.zeros(50, np.int64)
                made.together(count_and_total, 2, 50, numbers, found)
                assert (found == 1225).all()

        with open_team(3) as made, futures.ThreadPoolExecutor(4) as callers:
            for done in [callers.submit(call, runs) for runs in totals]:
                done.result(60)
        assert all((runs == 200).all() for runs in totals)

    def test_does_itself_what_nobody_else_comes_for(self):
        """Threads that are on an errand do not keep a caller waiting."""
        busy, begun = threading.Event(), threading.Event()

        def occupy(place):
            if not place:
                begun.set()
                assert busy.wait(60)

        with open_team(2) as made:
            outside = threading.Thread(target=made.visit, args=(occupy,))
            outside.start()
            assert begun.wait(60)
            numbers, totals = np.zeros(5, np.int64), np.zeros(5, np.int64)
            made.together(count_and_total, 2, 5, numbers, totals)
            made.run(add_to, 5, numbers, 1)
            busy.set()
            outside.join(60)
        assert totals.tolist() == [10] * 5
        assert numbers.tolist() == [1, 2, 3, 4, 5]


@contextlib.contextmanager
def open_team(number):
    made = team.Team(number)
    try:
        yield made
    finally:
        made.close()


@numba.njit(nogil=True)
def add_to(start, stop, runs, by):
    for place in range(start, stop):
        runs[place] += by


@numba.njit(nogil=True)
def note_taken(counter, tasks, taken):
    task = handing_out.take(counter)
    while task < tasks:
        taken[task] += 1
        task = handing_out.take(counter)


@numba.njit(nogil=True)
def meet(counter, tasks, met):
    task = handing_out.take(counter)
    while task < tasks:
        atomics.add(met, task, 1)
        while atomics.load(met, 1 - task) == 0:
            atomics.give_way()
        atomics.add(met, task, 1)
        task = handing_out.take(counter)


@numba.njit(nogil=True)
def fail_at(start, stop, place):
    if start <= place < stop:
        raise MemoryError


@handing_out.phase
@numba.njit
def count(start, stop, numbers):
    for task in range(start, stop):
        numbers[task] += task


@handing_out.phase
@numba.njit
def total(start, stop, numbers, totals):
    for task in range(start, stop):
        totals[task] = numbers.sum()


@numba.njit(nogil=True)
def count_and_total(progress, tasks, numbers, totals):
    count(progress[0], tasks, numbers)
    total(progress[1], tasks, numbers, totals)


FORKED = """
import os, signal, sys
import torch
from tiny_agent_trainer.exact import checks, threads
torch.set_num_threads(1)
threads.set_threads(3)
checks.require_environment()
child = os.fork()
if not child:
    signal.alarm(300)  # it would wait for threads of its parent for ever
    threads.set_threads(3)
    checks.require_environment()
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_has_a_team_of_its_own():
    done = subprocess.run([sys.executable, "-c", FORKED], check=False)
    assert done.returncode == 7


class TestWords:
    """The compiled generator gives the words of `randomness`."""

    @pytest.mark.parametrize("count", [1, 15, 16, 17, 100_003])
    @pytest.mark.parametrize("number", [1, 3])
    def test_equals_the_stream(self, count, number):
        threads.set_threads(number)
        stream = randomness.stream(4, "words", count)
        assert np.array_equal(draws.stream_words(stream.key, count), stream.words(count))
        threads.set_threads(1)


class TestCache:
    """Machine code is kept by the digest of its sources, and processes may write at once."""

    SCRIPT = (
        "import numpy as np, sys\n"
        "from tiny_agent_trainer.exact import sums\n"
        "from tiny_agent_trainer.exact.kernels import compiler, scan\n"
        "print(sums.total(np.arange(9, dtype=np.float32)), compiler.cache_directory(),"
        " sum(scan.largest_of_parts.stats.cache_hits.values()))\n"
    )

    def start(self, directory):
        environment = os.environ | {compiler.CACHE_VARIABLE: str(directory)}
        return subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT], env=environment, stdout=subprocess.PIPE, text=True
        )

    def test_concurrent_processes_share_it(self, tmp_path):
        made = [self.start(tmp_path) for _ in range(3)]
        answers = [process.communicate()[0].split() for process in made]
        assert [process.returncode for process in made] == [0, 0, 0]
        assert {answer[0] for answer in answers} == {"36.0"}
        assert {answer[1] for answer in answers} == {str(next(tmp_path.glob("*/kernels-*")))}
        later = self.start(tmp_path).communicate()[0].split()
        assert (later[0], int(later[2])) == ("36.0", 1)

    def test_damaged_files_are_compiled_again(self, tmp_path):
        self.start(tmp_path).communicate()
        kept = [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")]
        assert len(kept) > 2
        for path in kept:
            path.write_bytes(path.read_bytes()[:7])
        process = self.start(tmp_path)
        assert process.communicate()[0].split()[0] == "36.0"
        assert process.returncode == 0

    def test_a_directory_that_cannot_be_written_is_no_obstacle(self, tmp_path):
        blocked = tmp_path / "file"
        blocked.write_text("")
        process = self.start(blocked)
        assert process.communicate()[0].split()[0] == "36.0"
        assert process.returncode == 0

    def test_the_directory_is_named_by_the_sources(self):
        assert compiler.source_digest()[:16] in compiler.cache_directory().name
