"""Importing what warns while it is imported."""

import importlib
import warnings


def import_mitmproxy() -> None:
    """Imports mitmproxy once, for tests in which warnings are errors.

    What it and its dependencies do while they are imported is theirs to mend; a warning that our own code
    or our use of mitmproxy causes later is still an error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("mitmproxy.test.taddons")
