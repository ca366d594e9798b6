"""The journal of a search is taken up again, whatever moment its process was killed at."""

import json

import pytest

from pyro_vae.runs.study import asked, opened, told, tried

optuna = pytest.importorskip("optuna")
ABOUT, GIVEN = {"search": ["size=1..9"]}, {"size": 7}


def take(study, count=1):
    for _ in range(count):
        trial = asked(study, seed=0)
        size = trial.suggest_int("size", 1, 9)
        told(study, trial, "trained" if size != 4 else "refused", float(size) if size != 4 else None)


def sizes(study):
    return [(trial.params["size"], trial.value) for trial in tried(study)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The file of six trials, and what they were."""
    file = tmp_path_factory.mktemp("undisturbed") / "study.jsonl"
    with opened(file, ABOUT, given=GIVEN) as study:
        take(study, 6)
        found = sizes(study)
    assert found[0] == (7, 7.0)
    return file, found


def test_a_journal_cut_at_any_byte_goes_on_to_the_same_trials(undisturbed, tmp_path):
    whole, found = undisturbed
    content = whole.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for cut in sorted({0, 1, *ends, *(end - 1 for end in ends), *(end + 9 for end in ends[:-1])}):
        file = tmp_path / f"{cut}.jsonl"
        file.write_bytes(content[:cut])
        with opened(file, ABOUT, given=GIVEN) as study:
            take(study, 6 - len(tried(study)))
            assert sizes(study) == found, cut
        assert [json.loads(line) for line in file.read_text().splitlines()]


def test_a_lock_that_a_killed_process_has_left_is_not_waited_for(undisturbed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.jsonl").write_bytes(undisturbed[0].read_bytes())
    (tmp_path / "study.jsonl.lock").symlink_to("elsewhere/study.jsonl")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits"))
    with opened(tmp_path / "study.jsonl", ABOUT, given=GIVEN) as study:
        take(study)
        assert len(tried(study)) == 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [*lines[:3], b"not JSON", *lines[3:]],
        lambda lines: [*lines[:3], b"\xff\xfe\x00", *lines[3:]],
        lambda lines: [*lines[:3], b"[1, 2]", *lines[3:]],
        lambda lines: [b"[" * 100_000, *lines],
        lambda lines: [line.replace(b'"op_code":4', b'"op_code":"4"') for line in lines],
    ],
)
def test_a_damaged_journal_is_refused_in_a_sentence(undisturbed, tmp_path, damage):
    file = tmp_path / "study.jsonl"
    file.write_bytes(b"\n".join(damage(undisturbed[0].read_bytes().splitlines())) + b"\n")
    text = r"Expected the journal of a search in .*; it is damaged: .*Choose another"
    with pytest.raises(ValueError, match=text), opened(file, ABOUT, given=GIVEN):
        pass


def test_a_full_disk_is_said_and_leaves_whole_lines(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    file = tmp_path / "study.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(file, ABOUT, given=GIVEN) as study:
        take(study, 2)
        found, size = sizes(study), file.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, before[1]))
        try:
            with pytest.raises(OSError, match=r"Expected to write .*study\.jsonl; got an error"):
                take(study)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.stat().st_size == size + 40
    with opened(file, ABOUT, given=GIVEN) as study:
        assert sizes(study) == found
        take(study)
        assert len(tried(study)) == 3
