# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind as evidence: the ledger, the audit and the session; see spec.md."""
