from __future__ import annotations

import contextlib
import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scoring.errors import PublicationError
from scoring.storage.base import pending, write
from scoring.storage.local import LocalStorage, exclusive
from tests.s3_server import storage_for
from tests.scoring.factories import as_nobody, in_process

STORAGE = LocalStorage()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_are_found_by_pattern_in_the_order_of_their_names(tmp_path: Path):
    for name in ("b.csv", "a.csv", "c.txt", "deep/er/d.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.csv").mkdir()

    def found(pattern: str) -> list[tuple[str, int]]:
        return [
            (f.uri.removeprefix(f"{tmp_path}/"), f.bytes)
            for f in STORAGE.find(f"{tmp_path}/{pattern}")
        ]

    assert found("*.csv") == [("a.csv", 5), ("b.csv", 5)]
    assert found("**/*.csv") == [("a.csv", 5), ("b.csv", 5), ("deep/er/d.csv", 13)]
    assert found("[bc].*") == [("b.csv", 5), ("c.txt", 5)]
    assert found("c.txt") == [("c.txt", 5)]
    assert found("*.parquet") == []


def test_a_file_whose_name_looks_like_a_pattern_is_found(tmp_path: Path):
    path = tmp_path / "a[1].csv"
    path.write_text("x")
    assert [f.uri for f in STORAGE.find(str(path))] == [str(path)]


def test_an_object_is_read_whole_or_is_not_there(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert STORAGE.read(f"{tmp_path}/a") == b"abc"
    assert STORAGE.open(f"{tmp_path}/a").read() == b"abc"
    assert STORAGE.sha256(f"{tmp_path}/a") == hashlib.sha256(b"abc").hexdigest()
    assert STORAGE.read(f"{tmp_path}/b") is None
    assert STORAGE.sha256(f"{tmp_path}/b") is None
    with pytest.raises(FileNotFoundError):
        STORAGE.open(f"{tmp_path}/b")


def test_what_is_written_is_invisible_until_it_is_committed(tmp_path: Path):
    target = tmp_path / "new" / "a.parquet"
    with pending(STORAGE, str(target)) as new:
        new.write(b"ab")
        new.write(b"c")
        assert not target.exists()
        assert STORAGE.find(f"{tmp_path}/new/*") == []
        new.commit()
        assert target.read_bytes() == b"abc"
    assert (new.size, new.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
    assert new.closed
    assert names(target.parent) == ["a.parquet"]


def test_the_bytes_are_on_the_disk_before_they_get_their_name_and_then_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps: list[tuple[str, bool, int]] = []
    target, fsync, replace = tmp_path / "a", os.fsync, os.replace

    def noting_fsync(file: int) -> None:
        is_folder = os.path.samestat(os.fstat(file), tmp_path.stat())
        steps.append(("folder" if is_folder else "file", target.exists(), os.fstat(file).st_size))
        fsync(file)

    def noting_replace(source: str, target: str) -> None:
        steps.append(("rename", False, Path(source).stat().st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    write(STORAGE, str(target), b"abc")
    STORAGE.move(str(target), f"{tmp_path}/b")
    folder = tmp_path.stat().st_size
    assert steps == [
        ("file", False, 3),
        ("rename", False, 3),
        ("folder", True, folder),
        ("rename", False, 3),
        ("folder", False, folder),
    ]


def test_without_a_commit_the_old_object_stays_and_nothing_is_left(tmp_path: Path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pending(STORAGE, str(target)) as new:
        new.write(b"new")
    with contextlib.suppress(KeyError), pending(STORAGE, str(target)) as new:
        new.write(b"new")
        raise KeyError
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_where_the_target_is_a_folder_nothing_is_left(tmp_path: Path):
    (tmp_path / "a").mkdir()
    with pytest.raises(PublicationError, match="/a cannot be written: Is a directory"):
        write(STORAGE, f"{tmp_path}/a", b"new")
    assert names(tmp_path) == ["a"]


def test_a_reader_with_the_old_object_open_goes_on_reading_it(tmp_path: Path):
    uri = f"{tmp_path}/a"
    write(STORAGE, uri, b"old bytes")
    with STORAGE.open(uri) as reader:
        assert reader.read(3) == b"old"
        write(STORAGE, uri, b"NEW BYTES")
        assert reader.read() == b" bytes"
    assert STORAGE.read(uri) == b"NEW BYTES"


def test_moving_replaces_and_removing_what_is_not_there_is_not_an_error(tmp_path: Path):
    write(STORAGE, f"{tmp_path}/a", b"a")
    write(STORAGE, f"{tmp_path}/b", b"b")
    STORAGE.move(f"{tmp_path}/a", f"{tmp_path}/b")
    assert names(tmp_path) == ["b"]
    assert STORAGE.read(f"{tmp_path}/b") == b"a"
    STORAGE.remove(f"{tmp_path}/b")
    STORAGE.remove(f"{tmp_path}/b")
    write(STORAGE, f"{tmp_path}/deep/er/c", b"c")
    STORAGE.remove_tree(f"{tmp_path}/deep")
    STORAGE.remove_tree(f"{tmp_path}/deep")
    assert names(tmp_path) == []


def killed_writer(uri: str) -> int:
    """Begins to write ``uri`` in a process that is killed; returns how it ended."""

    def write_and_die() -> None:
        with pending(STORAGE, uri) as new:
            new.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    return in_process(write_and_die)


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path):
    assert killed_writer(f"{tmp_path}/a") == -signal.SIGKILL
    assert re.fullmatch(r"\.a\.[0-9a-f]{16}\.tmp", names(tmp_path)[0])
    write(STORAGE, f"{tmp_path}/a", b"whole")
    assert names(tmp_path) == ["a"]


def test_what_a_living_process_is_still_writing_is_left_to_it(tmp_path: Path):
    def write_too() -> None:
        write(STORAGE, f"{tmp_path}/a", b"theirs")

    with pending(STORAGE, f"{tmp_path}/a") as ours:
        ours.write(b"ours")
        assert in_process(write_too) == 0
        assert STORAGE.read(f"{tmp_path}/a") == b"theirs"
        ours.commit()
    assert STORAGE.read(f"{tmp_path}/a") == b"ours"


def test_what_others_are_still_writing_is_left_to_them(tmp_path: Path):
    killed_writer(f"{tmp_path}/ab")
    of_another_target = names(tmp_path)
    with pending(STORAGE, f"{tmp_path}/a") as slow:
        slow.write(b"slow")
        write(STORAGE, f"{tmp_path}/a", b"quick")
        slow.commit()
    assert STORAGE.read(f"{tmp_path}/a") == b"slow"
    assert names(tmp_path) == sorted([*of_another_target, "a"])


def test_where_a_folder_should_be_and_is_none_is_reported(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        PublicationError, match=r"file/a cannot be written: .*/file is not a folder"
    ):
        write(STORAGE, f"{tmp_path}/file/a", b"")
    with (
        pytest.raises(
            PublicationError, match=r"file/lock cannot be written: .*/file is not a folder"
        ),
        exclusive(f"{tmp_path}/file/lock", "sample 2013-02"),
    ):
        pass


def test_in_a_folder_that_is_read_only_nothing_changes(open_to_all: Path):
    target = open_to_all / "a"
    target.write_bytes(b"old")
    open_to_all.chmod(0o555)

    def try_to_write() -> None:
        with pytest.raises(PublicationError, match="/a cannot be written: Permission denied"):
            write(STORAGE, str(target), b"new")
        with (
            pytest.raises(PublicationError, match="/lock cannot be written: Permission denied"),
            exclusive(f"{open_to_all}/lock", "sample 2013-02"),
        ):
            pass

    assert as_nobody(try_to_write) == 0
    assert target.read_bytes() == b"old"
    assert names(open_to_all) == ["a"]


@pytest.mark.parametrize("size", [6_000, 600_000])  # fails when committed; fails when written
def test_when_the_disk_takes_no_more_the_old_object_stays_and_nothing_is_left(
    tmp_path: Path, size: int
):
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def write_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
        with pytest.raises(PublicationError, match="/a cannot be written: File too large"):
            write(STORAGE, str(target), bytes(size))

    assert in_process(write_too_much) == 0
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_only_one_process_holds_a_claim_and_the_other_is_reported(tmp_path: Path):
    lock = f"{tmp_path}/locks/month=2013-02"

    def claim_too() -> None:
        with (
            pytest.raises(PublicationError) as error,
            exclusive(lock, "sample 2013-02"),
        ):
            pass
        assert "sample 2013-02 is being written by another process" in str(error.value)
        assert lock in str(error.value)
        assert "nothing was changed by this one" in str(error.value)

    with exclusive(lock, "sample 2013-02"):
        assert in_process(claim_too) == 0
        claim_too()  # in this process neither
    with exclusive(lock, "sample 2013-02"):
        pass


def test_a_claim_ends_with_its_process_even_when_that_is_killed(tmp_path: Path):
    lock = f"{tmp_path}/lock"

    def claim_and_die() -> None:
        with exclusive(lock, "sample 2013-02"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_process(claim_and_die) == -signal.SIGKILL
    with exclusive(lock, "sample 2013-02"):
        pass


def test_the_storage_is_imported_without_arrow():
    code = "import sys, scoring.storage.local, scoring.storage.connections; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_plain_paths_are_in_the_file_system(tmp_path: Path):
    assert isinstance(storage_for(str(tmp_path)), LocalStorage)


# --- links and rights --------------------------------------------------------------------------


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    target = tmp_path / "out" / "predictions.parquet"
    target.parent.mkdir()
    target.symlink_to(elsewhere)
    write(STORAGE, str(target), b"new")
    assert (target.is_symlink(), target.read_bytes()) == (False, b"new")
    assert elsewhere.read_bytes() == b"precious"


def test_what_a_link_in_the_staging_leads_to_is_not_removed(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    staging = tmp_path / "_staging"
    (staging / "attempt").mkdir(parents=True)
    (staging / "attempt" / "link").symlink_to(elsewhere)
    (staging / "linked").symlink_to(elsewhere)
    STORAGE.remove_tree(str(staging / "attempt"))
    STORAGE.remove_tree(str(staging / "linked"))
    assert names(elsewhere) == ["precious"]
    assert not (staging / "attempt").exists()


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "lock").symlink_to(elsewhere)
    with (
        pytest.raises(PublicationError, match="cannot be written: Too many levels of symbolic"),
        exclusive(f"{tmp_path}/lock", "a month"),
    ):
        pass
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    ("umask", "open_to"),
    [(0, 0o755), (0o002, 0o755), (0o022, 0o755), (0o077, 0o700), (0o027, 0o750)],
)
def test_the_umask_says_who_may_read_and_others_may_never_write(
    tmp_path: Path, umask: int, open_to: int
):
    before = os.umask(umask)
    try:
        write(STORAGE, f"{tmp_path}/out/a/object", b"x")
        with exclusive(f"{tmp_path}/out/_locks/a", "a"):
            pass
    finally:
        os.umask(before)
    modes = {
        p.relative_to(tmp_path).as_posix(): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")
    }
    assert modes == {
        "out": open_to,
        "out/a": open_to,
        "out/_locks": open_to,
        "out/a/object": open_to & 0o666,
        "out/_locks/a": open_to & 0o644,
    }


def test_a_listing_is_of_a_prefix_and_without_what_is_being_written(tmp_path: Path):
    storage = LocalStorage()
    for name in ("out/a.json", "out/deep/b.json", "outer/c.json", "other.json"):
        write(storage, str(tmp_path / name), b"x")
    with pending(storage, str(tmp_path / "out/new.json")):
        found = storage.listing(str(tmp_path / "out"))
    names = [of.uri.removeprefix(f"{tmp_path}/") for of in found]
    assert names == ["out/a.json", "out/deep/b.json", "outer/c.json"]
    write(storage, str(tmp_path / "out/a.json"), b"y")
    again = storage.listing(str(tmp_path / "out/a"))
    assert again[0].etag != found[0].etag
    assert storage.listing(str(tmp_path / "nothing/")) == []
