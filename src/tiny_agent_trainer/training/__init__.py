# SPDX-License-Identifier: Apache-2.0
"""The loop, optimisers, schedules and checkpoints. See spec.md."""
