"""A kit made here, measured under qemu in busybox's shell, and its results taken in."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.device import kit as kits
from bnn_compiler.errors import DeviceError
from bnn_compiler.tune import journal, kit, tuner
from bnn_compiler.tune.journal import Journal
from bnn_compiler.tune.network import Subject, export_candidates
from tests.device.conftest import ARM
from tests.kernels import kernel

DEVICE = targets.load(ARM)
TASKS = [kernel.task(32, 6, 32), kernel.task(3, 6, 32, dtype="float32")]


def measure(folder, kit_id, qemu, **variables):
    shell = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]
    return subprocess.run(
        [*shell, f"bnn-kit-{kit_id}/run.sh", "results.json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "RUNNER": qemu, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory, qemu):
    """(folder, kit, number of candidates) of an unpacked kit."""
    folder = tmp_path_factory.mktemp("kit")
    points = tuner.points_to_try(TASKS, DEVICE, folder / "none.jsonl", 3)
    assert len(points) == 6
    made = kit.export(points, DEVICE, folder / "kit.tar.gz")
    assert (made.candidates, made.failed) == (6, 0)
    with tarfile.open(made.path) as archive:
        archive.extractall(folder, filter="data")
    return folder, made


@pytest.fixture
def here(unpacked, tmp_path):
    """The same in a folder that a test may spoil."""
    folder, made = unpacked
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "results.json").unlink(missing_ok=True)
    return tmp_path, made


@pytest.fixture(scope="module")
def results(unpacked, qemu):
    folder, made = unpacked
    done = measure(folder, made.id, qemu)
    assert done.returncode == 0, done.stderr
    return (folder / "results.json").read_text()


def test_a_kit_and_its_results(unpacked, results, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(results)
    found = kit.load(path, TASKS, DEVICE)
    assert len(found.trials) == 6 and all(t.seconds and not t.error for t in found.trials)
    assert {t.task for t in found.trials} == set(TASKS)
    with Journal(tmp_path / "j.jsonl", DEVICE, found.board) as log:
        for trial in found.trials:
            log.add(trial)
        report = tuner.conclude(TASKS, DEVICE, log, tmp_path / "s.jsonl")
    best = {t.key: min(x.seconds for x in found.trials if x.task == t) for t in TASKS}
    read = records.read(tmp_path / "s.jsonl")
    assert {r.task.key: r.seconds for r in read.values()} == best and report.trials == 6


def test_an_interrupted_kit_goes_on(here, qemu):
    folder, made = here
    counting = folder / "count.sh"
    counting.write_text(f'#!/bin/sh\necho x >> {folder}/runs\nexec {qemu} "$@"\n')
    counting.chmod(0o755)
    # The power goes while the fourth result is being written.
    stop = folder / "stop.sh"
    stop.write_text(
        f'#!/bin/sh\n[ "$(wc -l < {folder}/runs)" -lt 3 ] && exec {counting} "$@"\n'
        "kill -KILL $PPID\n"
    )
    stop.chmod(0o755)
    (folder / "runs").write_text("")
    runner = folder / "runner"
    runner.symlink_to(stop)
    assert measure(folder, made.id, str(runner)).returncode == -9
    partial = folder / "results.json.partial"
    lines = partial.read_text()
    assert lines.count("\n") == 4 and not (folder / "results.json").exists()
    partial.write_text(lines[:-20])
    runner.unlink()
    runner.symlink_to(counting)
    assert measure(folder, made.id, str(runner)).returncode == 0
    assert not partial.exists()
    assert (folder / "runs").read_text().count("x") == 3 + 4
    assert len(kit.load(folder / "results.json", TASKS, DEVICE).trials) == 6


def test_a_crash_costs_one_trial(here, qemu):
    folder, made = here
    script = folder / "crash.sh"
    script.write_text(f'#!/bin/sh\ncase $1 in */1) kill -SEGV $$;; esac\nexec {qemu} "$@"\n')
    script.chmod(0o755)
    assert measure(folder, made.id, str(script)).returncode == 0
    trials = kit.load(folder / "results.json", TASKS, DEVICE).trials
    assert [t.error for t in trials] == ["", "crashed: SIGSEGV", "", "", "", ""]


def test_a_damaged_kit_is_not_run(here, qemu):
    folder, made = here
    program = next((folder / f"bnn-kit-{made.id}" / "programs").iterdir())
    program.write_bytes(program.read_bytes()[:-1])
    done = measure(folder, made.id, qemu)
    assert done.returncode == 2 and "this kit is damaged" in done.stderr


def test_another_machine_cannot_run_it(here):
    folder, made = here
    done = measure(folder, made.id, "")
    assert done.returncode == 2 and "this kit is for aarch64" in done.stderr
    done = measure(folder, made.id, "/none/emulator")
    assert done.returncode == 2 and "cannot run the kit's programs" in done.stderr


def edited(text, change):
    data = json.loads(text)
    change(data)
    return json.dumps(data)


def seconds(data):
    data["lines"][1]["output"]["seconds"] = [1e-9]


def other_point(data):
    data["manifest"]["candidates"][0]["point"]["pixels"] = 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "is cut short"),
        (lambda text: "", "is cut short"),
        (lambda text: "[]", "not what run.sh of a kit writes"),
        (lambda text: text.replace("e-0", "e-1", 1), "edited or damaged"),
        (lambda text: text.replace('"candidate": 1,', '"candidate": 2,', 1), "edited or damaged"),
        (lambda text: edited(text, seconds), "edited or damaged"),
        (lambda text: text.replace('"pixels": ', '"pixels": 1', 1), "of different kits"),
        (lambda text: text.replace('"code": "', '"code": "0', 1), "of different kits"),
    ],
)
def test_edited_results_are_refused(results, tmp_path, change, words):
    path = tmp_path / "results.json"
    path.write_text(change(results))
    with pytest.raises(DeviceError, match=rf"results\.json.*{words}"):
        kit.load(path, TASKS, DEVICE)


def signed_again(text, change):
    """The results with lines and manifest changed, and sums that fit."""
    data = json.loads(text)
    change(data)
    content = {k: v for k, v in data["manifest"].items() if k != "kit"}
    identifier = kits.identifier(content)
    data["manifest"]["kit"] = data["lines"][0]["kit"] = identifier
    lines = [json.dumps(line) for line in data["lines"]]
    told = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    body = ",\n".join(lines)
    manifest = json.dumps(data["manifest"])
    return f'{{"manifest":\n{manifest}\n, "lines": [\n{body}\n], "sha256": "{told}"}}\n'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["manifest"].pop("target"), "not what run.sh"),
        (lambda d: d["manifest"]["candidates"][0].update(task={}), "not what run.sh"),
        (lambda d: d["lines"][1].update(code="x"), "not what run.sh"),
        (lambda d: d["lines"][1]["output"].update(seconds=[1e-30]), "so fast"),
        (lambda d: d["lines"][1]["output"].update(seconds=[1e3]), "longer than the 10 s"),
        (lambda d: d["manifest"].update(format=2), "kit of format 2"),
    ],
)
def test_results_that_make_no_sense_are_refused(results, tmp_path, change, words):
    path = tmp_path / "results.json"
    path.write_text(signed_again(results, lambda data: None))
    assert len(kit.load(path, TASKS, DEVICE).trials) == 6
    path.write_text(signed_again(results, change))
    with pytest.raises(DeviceError, match=words):
        kit.load(path, TASKS, DEVICE)


def test_a_program_that_prints_no_measurement_is_a_failed_trial(here, qemu):
    folder, made = here
    (folder / "results.json.partial").write_text("")
    odd = folder / "odd.sh"
    odd.write_text(
        '#!/bin/sh\ncase $1 in */0) exit 0 ;; */1) echo "{no JSON}"; exit 0 ;; esac\n'
        f'exec {qemu} "$@"\n'
    )
    odd.chmod(0o755)
    done = measure(folder, made.id, str(odd))
    assert done.returncode == 0, done.stderr
    trials = kit.load(folder / "results.json", TASKS, DEVICE).trials
    assert [bool(t.seconds) for t in trials] == [False, False, *[True] * 4]


def test_results_of_others_are_refused(results, tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    with pytest.raises(DeviceError, match="cannot read the results"):
        kit.load(path, TASKS, DEVICE)
    path.write_text(results)
    with pytest.raises(DeviceError, match="is of another network: this one has no kernel"):
        kit.load(path, TASKS[:1], DEVICE)
    with pytest.raises(DeviceError, match="was measured for target cortex-a72"):
        kit.load(path, TASKS, targets.load("cortex-a76"))
    with monkeypatch.context() as patched:
        patched.setattr(families, "digest", lambda *_: "0" * 16)
        with pytest.raises(DeviceError, match="has changed since"):
            kit.load(path, TASKS, DEVICE)
    monkeypatch.setattr(journal, "code", lambda: "other")
    with pytest.raises(DeviceError, match="other kernels or another TVM"):
        kit.load(path, TASKS, DEVICE)


def test_where_no_kit_can_be_is_known_first(tmp_path):
    (tmp_path / "file").write_text("")
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "file" / "kit.tar", "cannot write")):
        with pytest.raises(DeviceError, match=words):
            export_candidates(Subject.of("no network.pt2", target=ARM), path)


def test_a_kit_that_cannot_be_written(tmp_path, qemu):
    (tmp_path / "file").write_text("")
    points = tuner.points_to_try(TASKS[:1], DEVICE, tmp_path / "none.jsonl", 1)
    with pytest.raises(DeviceError, match="cannot write"):
        kit.export(points, DEVICE, tmp_path / "file" / "kit.tar")
