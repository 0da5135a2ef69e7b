# SPDX-License-Identifier: Apache-2.0
"""TOML -> `TrainerConfig`: validated, frozen, hashed. See spec.md."""
