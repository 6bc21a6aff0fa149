"""A file is replaced whole, or stays as it was."""

import os

import pytest

from unseen.files import write_whole


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path) -> None:
    write_whole(tmp_path / "a", "one\n")
    write_whole(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two" and os.listdir(tmp_path) == ["a"]


def test_a_failure_before_the_rename_keeps_the_former(tmp_path, monkeypatch) -> None:
    write_whole(tmp_path / "a", "one")

    def full(handle: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "one"
