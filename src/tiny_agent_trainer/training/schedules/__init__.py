# SPDX-License-Identifier: Apache-2.0
"""Schedules by name, one file each; `schedule.py` says what a schedule is."""
