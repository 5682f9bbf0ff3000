"""The device lease: one job per CUDA device, freed by death, and a scheduler's choice respected."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fne.utils import lease
from fne.utils.errors import UserError

TWO = ["GPU-aaaa", "GPU-bbbb"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two devices that torch can use, and no scheduler."""
    monkeypatch.setattr(lease, "installed_devices", lambda: list(TWO))
    for name in (*lease.SCHEDULERS, lease.LEASED, "CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # so that the end restores it as it was
        monkeypatch.delenv(name)
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True), __version__="0")
    monkeypatch.setitem(sys.modules, "torch", torch)
    return monkeypatch


def visible() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_two_leases_are_two_devices_and_are_given_back(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with lease.device("auto", folder=tmp_path) as first:
        assert first == "cuda" and visible() == TWO[0]
        machine.delenv("CUDA_VISIBLE_DEVICES")  # the second job starts from the environment of the first's parent
        with lease.device("cuda", folder=tmp_path):
            assert visible() == TWO[1]
    with lease.device("cuda", folder=tmp_path):
        assert visible() == TWO[0]
    assert visible() is None
    machine.setenv("CUDA_VISIBLE_DEVICES", "1")  # limits the choice
    with lease.device("cuda", folder=tmp_path):
        assert visible() == TWO[1]
    assert visible() == "1"


def test_two_jobs_in_one_allocation_take_two_devices_and_another_allocation_is_not_waited_for(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        for job, expected in (("7", TWO[0]), ("7", TWO[1]), ("8", TWO[0])):
            machine.setenv("SLURM_JOB_ID", job)
            machine.setenv("CUDA_VISIBLE_DEVICES", "0,1")
            assert held.enter_context(lease.device("auto", folder=tmp_path)) == "cuda" and visible() == expected


@pytest.mark.parametrize("scheduler", [{}, {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1"}])
def test_a_rank_takes_the_device_of_its_number(machine: pytest.MonkeyPatch, tmp_path: Path, scheduler: dict) -> None:
    for name, value in ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"} | scheduler).items():
        machine.setenv(name, value)
    with lease.device("auto", folder=tmp_path) as device:
        assert device == "cuda" and visible() == TWO[1]
    machine.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(UserError, match="got 3; allowed: 1 to 2"), lease.device("auto", folder=tmp_path):
        pass


def test_a_pod_uses_what_it_shows_and_a_rank_what_its_launcher_holds(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.setenv(lease.KUBERNETES, "10.0.0.1")
    with lease.devices("cuda", 2, folder=tmp_path) as held:
        assert held == TWO
        machine.setenv(lease.LEASED, "1")
        for name, expected in ((held[1], "cuda"), ("", "cpu")):
            machine.setenv("CUDA_VISIBLE_DEVICES", name)
            with lease.device("auto", folder=tmp_path) as device:  # no waiting for the locks above
                assert device == expected and visible() == name


@pytest.mark.parametrize(
    ("devices", "usable", "environment", "words"),
    [
        ([], True, {}, "there is none"),
        (TWO, False, {}, r"9\+cpu"),
        (TWO, True, {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' leaves none"),
        (TWO, True, {"SLURM_JOB_ID": "7"}, "SLURM_JOB_ID.* assigned none"),
    ],
)
def test_without_a_usable_device_auto_is_the_cpu_and_cuda_is_refused(
    machine: pytest.MonkeyPatch, tmp_path: Path, devices: list, usable: bool, environment: dict, words: str
) -> None:
    machine.setattr(lease, "installed_devices", lambda: devices)
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: usable), __version__="9+cpu")
    machine.setitem(sys.modules, "torch", torch)
    for name, value in environment.items():
        machine.setenv(name, value)
    for requested in ("auto", "cpu"):
        with lease.device(requested, folder=tmp_path) as device:
            assert device == "cpu"
    for _ in range(2):  # an error gives a device back
        with pytest.raises(UserError, match=words), lease.device("cuda", folder=tmp_path):
            pass


HOLDER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from fne.utils import lease
sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True), __version__="0")
lease.installed_devices = lambda: ["GPU-one"]
with lease.device("cuda", poll=0.02, folder=Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(folder: Path, seconds: float) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if k not in (*lease.SCHEDULERS, "CUDA_VISIBLE_DEVICES")}
    command = [sys.executable, "-c", HOLDER, str(folder), str(seconds)]
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root, env=environment
    )


def test_a_second_process_waits_and_a_kill_frees_the_device(tmp_path: Path) -> None:
    first = holder(tmp_path, 60)
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    second = holder(tmp_path, 0)
    assert second.stderr is not None
    waiting = second.stderr.readline()
    assert "waiting for 1 CUDA devices: of 1, 1 are leased" in waiting
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    out, err = second.communicate()
    assert second.returncode == 0 and out == "held\n" and err == "", "told once"
    first.stdout.close()
    assert first.stderr is not None
    first.stderr.close()


LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000000)
  MIG 1g.5gb      Device  0: (UUID: MIG-22222222-aaaa-bbbb-cccc-000000000000)
  MIG 1g.5gb      Device  1: (UUID: MIG-33333333-aaaa-bbbb-cccc-000000000000)
GPU 1: NVIDIA H200 (UUID: GPU-44444444-aaaa-bbbb-cccc-000000000000)
GPU 2: NVIDIA A100 (UUID: GPU-55555555-aaaa-bbbb-cccc-000000000000)
  MIG 7g.40gb     Device  0: (UUID: MIG-GPU-55555555-aaaa/7/0)
"""


def test_slices_stand_in_their_parents_place() -> None:
    assert [name[:12] for name in lease.parse_devices(LISTING)] == [
        "MIG-22222222", "MIG-33333333", "GPU-44444444", "MIG-GPU-5555"
    ]  # fmt: skip
    assert lease.parse_devices("No devices were found\n") == []


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, TWO), ("0", TWO[:1]), ("1,0", TWO[::-1]), ("", []), ("-1", []), ("0,7,1", TWO[:1]),
        ("GPU-b", TWO[1:]), ("GPU-", []), ("gpu-aaaa", TWO[:1]), (" 1 ", TWO[1:]), ("NoDevFiles", []),
    ],
)  # fmt: skip
def test_what_the_variable_leaves(variable: str | None, expected: list[str]) -> None:
    assert lease.allowed_devices(TWO, variable) == expected


@pytest.mark.gpu
def test_the_leased_device_is_the_only_one_torch_sees(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom fne.utils import lease\n"
        "with lease.device('cuda', folder=Path(sys.argv[1])) as device:\n"
        "    import torch\n    assert torch.cuda.device_count() == 1 and device == 'cuda'\n"
        "    torch.zeros(1, device=device)\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=root)
