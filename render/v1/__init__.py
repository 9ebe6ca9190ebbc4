"""Stubs generated from proto/render/v1; see CONTRIBUTING.md for the command."""
