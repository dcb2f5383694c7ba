"""The bond of life between trainer, boot and zygote; the rest is in test_process."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Callable

MAIN = "from ops.workers.isolated import boot\nboot.main"


def test_a_worker_whose_trainer_is_dead_already_ends(bare: Callable[[str], list[str]]) -> None:
    # Process 1 is there, and is not the parent: as if the trainer had died and another is now it.
    done = subprocess.run(bare(f"{MAIN}('1', '', '')"), timeout=60, check=False)
    assert done.returncode == 0


def test_without_a_descriptor_of_the_trainer_the_kernel_tells(
    bare: Callable[[str], list[str]],
) -> None:
    code = f"""
import json, signal, sys
from ops.workers.isolated import boot, system, zygote
def refuse(pid):
    raise OSError(38, "Function not implemented")
os.pidfd_open = refuse
zygote.main = lambda **settings: (print(json.dumps(settings), flush=True), signal.pause())
os.dup2(1, 3)  # in the place of the socket
boot.main({os.getpid()!r}, "math:cmath", "/a")
"""
    with subprocess.Popen(bare(code), stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        settings = json.loads(worker.stdout.readline())
        assert settings["preload"] == ["math", "cmath"]
        assert settings["libraries"] == ["/a"]
        assert settings["channel"] == 3
        assert settings["in_force"]["parent_death"] == "on"
        worker.terminate()
        assert worker.wait(timeout=60) == 0
        assert worker.stdout.read() == ""  # the zygote is gone too, and with it the pipe


def test_an_orphan_of_boot_ends(bare: Callable[[str], list[str]]) -> None:
    code = """
from ops.workers.isolated import boot
alive, our_life = os.pipe()
os.close(our_life)
boot._exit_if_orphan(alive)
print("survived")
"""
    done = subprocess.run(bare(code), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def test_old_kernels_close_descriptors_one_by_one(bare: Callable[[str], list[str]]) -> None:
    code = """
from ops.workers.isolated import boot
for number in (boot._CLOSE_RANGE, -1):
    boot._CLOSE_RANGE = number
    os.dup2(1, 30)
    boot._close_inherited()
    try:
        os.fstat(30)
    except OSError:
        print("closed")
"""
    done = subprocess.run(bare(code), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "closed\n" * 2


def test_a_worker_dies_by_the_death_of_its_trainer_not_of_a_thread(
    bare: Callable[[str], list[str]],
) -> None:
    worker = """
from ops.workers.isolated import boot, zygote
import signal
zygote.main = lambda **settings: (print("up", flush=True), signal.pause())
os.dup2(1, 3)  # in the place of the socket
boot.main(sys.argv[2], "", "")
"""
    code = f"""
import signal, subprocess, threading
command = {bare(worker)!r}
def spawn():
    global worker
    worker = subprocess.Popen([*command, str(os.getpid())], stdout=subprocess.PIPE, text=True)
    worker.stdout.readline()
thread = threading.Thread(target=spawn)
thread.start()
thread.join()
try:
    worker.wait(timeout=0.3)
except subprocess.TimeoutExpired:
    print(worker.pid, flush=True)
    signal.pause()
"""
    with subprocess.Popen(bare(code), stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        end = os.pidfd_open(int(trainer.stdout.readline()))
        trainer.kill()
        assert select.select([end], [], [], 60)[0]
        os.close(end)


def test_nothing_of_the_project_but_this_folder_is_loaded(
    bare: Callable[[str], list[str]],
) -> None:
    code = "import sys\nfrom ops.workers.isolated import boot\nprint(*sys.modules)"
    done = subprocess.run(bare(code), capture_output=True, text=True, timeout=60, check=True)
    ours = {name for name in done.stdout.split() if name.startswith(("ops", "reft"))}
    outside = {name for name in ours if not name.startswith("ops.workers.isolated")}
    assert outside == {"ops", "ops.status", "ops.workers"}
