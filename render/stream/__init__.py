"""The stream: a protocol without sockets, its pacing, and the session that drives it."""
