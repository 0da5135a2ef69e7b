# SPDX-License-Identifier: Apache-2.0
"""The machinery of kernels: teams of threads, the cache of machine code, random words.

Not tested here: what kernels compute (tests/reference/exact).
"""

import contextlib
import os
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact import draws, threads
from tiny_agent_trainer.exact.kernels import compiler, handing_out, team


class TestTeam:
    """Every iteration runs exactly once."""

    @pytest.mark.parametrize("number", [1, 2, 3, 7])
    @pytest.mark.parametrize("count", [0, 1, 2, 6, 7, 100])
    def test_runs_every_iteration_once(self, number, count):
        runs, used, lock = np.zeros(count, int), set(), threading.Lock()

        def kernel(start, stop, by):
            with lock:
                runs[start:stop] += by
                used.add(threading.get_ident())

        made = team.Team(number)
        made.run(kernel, count, 1)
        made.close()
        assert (runs == 1).all()
        assert len(used) <= min(number, max(count, 1))

    def test_a_failure_reaches_the_caller_after_all_have_ended(self):
        ended = []

        def kernel(start, stop):
            if start:
                message = f"part {start}"
                raise ValueError(message)
            ended.append(stop)

        made = team.Team(2)
        with pytest.raises(ValueError, match="part 5"):
            made.run(kernel, 10)
        assert ended == [5]
        made.run(lambda start, stop: ended.append(stop - start), 2)
        assert ended == [5, 1, 1]
        made.close()

    @pytest.mark.parametrize("number", [1, 2, 3, 7])
    def test_hands_every_task_out_once(self, number):
        taken, lock = [], threading.Lock()

        def kernel(counter, tasks):
            while (task := handing_out_one(counter)) < tasks:
                with lock:
                    taken.append(task)

        made = team.Team(number)
        made.share(kernel, 1000)
        made.close()
        assert sorted(taken) == list(range(1000))

    @pytest.mark.parametrize("number", [1, 2, 5])
    def test_visits_each_thread_once(self, number):
        seen, lock = {}, threading.Lock()

        def visit(place):
            with lock:
                seen[place] = threading.get_ident()

        made = team.Team(number)
        made.visit(visit)
        assert sorted(seen) == list(range(number))
        assert len(set(seen.values())) == number
        assert seen[number - 1] == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            made.visit(lambda place: 1 // place)
        made.close()

    def test_does_itself_what_no_helper_has_begun(self):
        """A helper that is busy elsewhere does not keep its caller waiting."""
        runs = []
        with team_with_a_busy_helper() as made:
            made.run(lambda start, stop: runs.append((start, stop)), 10)
            assert sorted(runs) == [(0, 5), (5, 10)]

    @pytest.mark.parametrize("number", [1, 2, 3, 7])
    @pytest.mark.parametrize("tasks", [1, 2, 63, 64, 65, 1000])
    def test_a_phase_sees_everything_that_the_one_before_wrote(self, number, tasks):
        made = team.Team(number)
        for _ in range(20):
            numbers, totals = np.zeros(tasks, np.int64), np.zeros(tasks, np.int64)
            made.together(count_and_total, 2, tasks, numbers, totals)
            assert numbers.tolist() == list(range(tasks))
            assert (totals == tasks * (tasks - 1) // 2).all()
        made.close()

    def test_phases_do_not_wait_for_a_helper_that_is_busy(self):
        numbers, totals = np.zeros(5, np.int64), np.zeros(5, np.int64)
        with team_with_a_busy_helper() as made:
            made.together(count_and_total, 2, 5, numbers, totals)
            assert totals.tolist() == [10] * 5


@contextlib.contextmanager
def team_with_a_busy_helper():
    """A team of two whose helper works for another caller until the end."""
    busy, begun = threading.Event(), threading.Event()
    made = team.Team(2)

    def occupy(start, stop):
        if start:
            begun.set()
            assert busy.wait(60)

    outside = threading.Thread(target=made.run, args=(occupy, 2))
    outside.start()
    assert begun.wait(60)
    try:
        yield made
    finally:
        busy.set()
        outside.join(60)
        made.close()


@handing_out.phase
@numba.njit
def count(start, stop, numbers):
    for task in range(start, stop):
        numbers[task] += task


@handing_out.phase
@numba.njit
def total(start, stop, numbers, totals):
    for task in range(start, stop):
        totals[task] += numbers.sum()


@numba.njit(nogil=True)
def count_and_total(progress, tasks, numbers, totals):
    count(progress[0], tasks, numbers)
    total(progress[1], tasks, numbers, totals)


@numba.njit
def handing_out_one(counter):
    return handing_out.take(counter)


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
