# SPDX-License-Identifier: Apache-2.0
"""Files of any format -> one `Image`. See spec.md."""
