"""Imports mitmproxy once for this folder."""

import warnings

with warnings.catch_warnings():
    # What mitmproxy and its dependencies do while they are imported is theirs to mend; a warning
    # that our own code or our use of mitmproxy causes later is still an error.
    warnings.simplefilter("ignore", DeprecationWarning)
    import mitmproxy.test.taddons  # noqa: F401  (imported for its import alone)
