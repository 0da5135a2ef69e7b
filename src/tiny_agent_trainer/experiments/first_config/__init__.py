# SPDX-License-Identifier: Apache-2.0
"""From a folder of images to a configuration that trains on it. See spec.md."""
