# SPDX-License-Identifier: Apache-2.0
"""Exit codes are an interface: scripts of other people compare them with numbers.

Not tested here: that each command exits with the code of its error (tests/story).
"""

import pytest

from tiny_agent_trainer import errors

PUBLISHED = {
    "UsageError": 2,
    "ConfigError": 10,
    "DatasetMissingError": 11,
    "DatasetError": 12,
    "LeakError": 13,
    "NotFiniteError": 14,
    "CheckpointError": 15,
    "LedgerError": 16,
    "ArchiveError": 17,
    "StorageError": 18,
    "IntegrityError": 19,
    "ResumeError": 20,
    "ModelError": 21,
    "PlatformError": 22,
    "UnsupportedOperationError": 23,
    "WorkerError": 24,
}


def test_every_error_has_the_exit_code_that_was_published():
    assert {error.__name__: error.exit_code for error in errors.listed_errors()} == PUBLISHED


def test_no_two_errors_share_an_exit_code():
    codes = [error.exit_code for error in errors.listed_errors()]
    codes += [errors.INTERNAL_EXIT_CODE, errors.INTERRUPTED_EXIT_CODE]
    assert len(set(codes)) == len(codes)


def test_no_exit_code_is_success_or_a_verdict_of_the_verifier():
    """0 identical, 1 different, 3 could not be checked; 2 is usage for every command."""
    assert not {0, 1, 3} & {error.exit_code for error in errors.listed_errors()}


def test_exit_codes_that_were_never_assigned_to_a_class_stay_what_they_are():
    assert (errors.INTERNAL_EXIT_CODE, errors.INTERRUPTED_EXIT_CODE) == (70, 130)
    assert errors.TrainerError.exit_code == errors.INTERNAL_EXIT_CODE


def test_every_title_is_its_own():
    titles = [error.title for error in errors.listed_errors()]
    assert len(set(titles)) == len(titles)
    assert errors.TrainerError.title not in titles


def test_a_sentence_says_where_expected_found_and_remedy_in_this_order():
    error = errors.DatasetError(where="a.png", expected="gray", found="colour", remedy="mend it")
    assert str(error) == "a.png: expected gray; found colour. To go on: mend it."
    assert (error.where, error.expected, error.found, error.remedy) == (
        "a.png",
        "gray",
        "colour",
        "mend it",
    )


@pytest.mark.parametrize(("faults", "noun"), [(["one"], "1 fault:"), (["one", "two"], "2 faults:")])
def test_a_config_error_lists_every_fault(faults, noun):
    error = errors.ConfigError("x.toml", faults)
    assert noun in str(error)
    assert error.faults == tuple(faults)
    assert all(f"\n  {fault}" in str(error) for fault in faults)
