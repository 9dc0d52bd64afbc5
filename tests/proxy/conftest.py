"""Imports mitmproxy once for this folder."""

from lab.quiet import import_mitmproxy

import_mitmproxy()
