"""Processors that render: one package each behind the protocol in ``base``."""
