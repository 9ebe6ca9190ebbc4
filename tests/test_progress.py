from __future__ import annotations

import io
import logging

from render.commands.progress import LogBeneath, Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_come_once_a_quarter_even_where_stages_overlap() -> None:
    out = io.StringIO()
    progress = Progress(out)
    progress("scanning")
    for done in range(101):
        progress("reading", done, 100)
        progress("compiling", done // 2, 100)
        progress("scanning")
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("reading")] == [f"reading {n}/100" for n in (0, 25, 50, 75, 100)]
    assert [line for line in lines if line.startswith("compiling")] == [f"compiling {n}/100" for n in (0, 25, 50)]
    assert lines.count("scanning") == 1


def test_a_terminal_gets_a_bar_that_is_redrawn_in_place() -> None:
    out = _Terminal()
    progress = Progress(out)
    progress("reading", 1, 4)
    progress("reading", 4, 4)
    progress("uploading")
    progress.close()
    first, second = out.getvalue().removesuffix("\n").split("\n")
    assert first.split("\r")[-1].endswith(f"reading [{'=' * 28}] 4/4")
    assert second == "\r\033[Kuploading"


def test_the_log_never_joins_the_line_of_a_bar() -> None:
    terminal = _Terminal()
    progress = Progress(terminal)
    logger = logging.Logger("test")
    logger.addHandler(LogBeneath(progress, terminal))
    logger.warning("before any bar")
    progress("scanning")
    logger.warning("one")
    logger.warning("two")
    progress("uploading", 1, 2)
    progress.close()
    progress.close()
    bar = f"uploading [{'=' * 14}{' ' * 14}] 1/2"
    assert terminal.getvalue() == f"before any bar\n\r\033[Kscanning\none\ntwo\n\r\033[K{bar}\n"


def test_the_log_is_as_it_was_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    progress = Progress(file)
    logger = logging.Logger("test")
    logger.addHandler(LogBeneath(progress, file))
    progress("scanning")
    logger.warning("one")
    progress.close()
    assert file.getvalue() == "scanning\none\n"
