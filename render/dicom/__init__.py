"""From files to volumes: source, series, pixels."""
