"""Several machines: agents of torchrun that meet, one that is lost, and tasks of Slurm."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdet_dab import cli, console
from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.errors import ConfigError
from mmdet_dab.slurm import as_torchrun, first_host
from tests.helpers.commands import run_tool
from tests.helpers.paths import ROOT
from tests.helpers.processes import server, store
from tests.helpers.tiny_task import Task, make_task

# --- Two agents of torchrun on one machine stand for two machines


def agent(endpoint: str, arguments: list[str], folder: Path) -> None:
    """As ``torchrun`` on a machine: starts a process, and starts it again with those who are left."""
    os.setsid()  # a machine that is lost takes its processes along
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=2,
        nproc_per_node=1,
        run_id='machines',
        rdzv_backend='c10d',
        rdzv_endpoint=endpoint,
        # The place where they meet is kept by the test: its port cannot be taken by others.
        rdzv_configs=dict(is_host=False, last_call_timeout=3, keep_alive_interval=1, keep_alive_max_attempt=2),
        max_restarts=3,
        monitor_interval=0.2,
        start_method='fork',
        local_addr='127.0.0.1',
    )
    elastic_launch(config, worker)(arguments, str(folder))


def worker(arguments: list[str], folder: str) -> None:
    Config.pretty_text = 'the config'  # to format it takes longer than to train
    os.chdir(folder)
    log = os.open(f'log_{os.getpid()}.txt', os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = cli.main(arguments)
    if code:
        sys.exit(code)


@pytest.mark.slow
def test_training_goes_on_by_itself_after_a_machine_is_lost(tmp_path: Path):
    task = make_task(tmp_path)
    work_dir = tmp_path / 'work'
    overrides = [
        'train_cfg.max_epochs=30',
        'train_cfg.val_interval=100',
        'default_hooks.checkpoint.by_epoch=False',
        'default_hooks.checkpoint.interval=1',
        'default_hooks.checkpoint.max_keep_ckpts=-1',
        'default_hooks.checkpoint.save_best=None',
        'default_hooks.processes.interval=0.5',
    ]
    arguments = ['train', str(task.config), '--work-dir', str(work_dir), '--resume', '--launcher', 'pytorch']
    arguments += [*task.options, *overrides]
    meeting = store()
    endpoint = f'127.0.0.1:{meeting.port}'
    # Agents have children, which daemons may not.
    agents = [server().Process(target=agent, args=(endpoint, arguments, tmp_path), daemon=False) for _ in range(2)]
    try:
        for process in agents:
            process.start()
        until = time.monotonic() + 120
        while time.monotonic() < until and not (work_dir / 'iter_6.pth').exists():
            time.sleep(0.05)
        os.killpg(agents[1].pid, signal.SIGKILL)
        saved = max(int(path.stem[5:]) for path in work_dir.glob('iter_*.pth'))
        agents[0].join(180)
        assert agents[0].exitcode == 0
    finally:
        for process in agents:
            if process.pid and process.exitcode is None:
                os.killpg(process.pid, signal.SIGKILL)
    logs = [path.read_text() for path in sorted(tmp_path.glob('log_*.txt'))]
    last = next(text for text in logs if 'resumed epoch' in text)
    resumed = int(last.split('resumed epoch: ')[1].split('iter: ')[1].split()[0])
    assert saved - 1 <= resumed, 'a step that was saved is lost'
    end = read_checkpoint(max(work_dir.glob('iter_*.pth'), key=lambda path: int(path.stem[5:])))
    assert end['meta']['epoch'] == 30
    assert end['meta']['progress']['processes'] == 1
    assert any('1 × 2 images' in text for text in logs), 'fewer images in a step, and nobody says so'


def test_a_restarted_job_resumes_whatever_it_was_started_with(monkeypatch):
    from mmdet_dab.commands.train import was_restarted

    for name in ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'):
        assert not was_restarted()
        monkeypatch.setenv(name, '0')
        assert not was_restarted()
        monkeypatch.setenv(name, '1')
        assert was_restarted()
        monkeypatch.delenv(name)


# --- torchrun that leaves the last word to the processes


#: In a machine whose name leads nowhere: a laptop without its network, an address of yesterday.
NAMELESS = """
import socket
socket.getfqdn = lambda name='': 'nobody.invalid'
"""
FAILS = """
import os, sys, time
open('meets_at', 'w').write(f"{os.environ['MASTER_ADDR']} {os.environ['GLOO_SOCKET_IFNAME']}")
if os.environ['RANK'] == '1':
    sys.stderr.write('error: what is wrong\\n')
    sys.exit(3)
time.sleep(60)
"""
STOPS = """
import os, signal, sys, time
def save(number, frame):
    sys.stderr.write('saved\\n')
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, save)
if os.environ['RANK'] == '0':
    time.sleep(1)  # torchrun may still be starting the other one
    os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ('text', 'code', 'said'), [(FAILS, 3, {'error: what is wrong'}), (STOPS, 143, {'saved'})], ids=['fails', 'stops']
)
def test_the_exit_code_and_the_last_word_are_those_of_the_process(tmp_path: Path, text: str, code: int, said: set):
    script = tmp_path / 'script.py'
    script.write_text(text)
    (tmp_path / 'sitecustomize.py').write_text(NAMELESS)
    command = [sys.executable, '-m', 'mmdet_dab.torchrun', '--standalone', '--nproc_per_node=2', str(script)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'}
    environment.pop('GLOO_SOCKET_IFNAME', None)
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == code
    assert said <= set(result.stderr.splitlines())
    assert 'Traceback' not in result.stderr
    assert len(result.stderr.splitlines()) <= 4
    if text == FAILS:
        address, device = (tmp_path / 'meets_at').read_text().split()
        assert address == '127.0.0.1', 'they would look for the name of the machine'
        assert device.startswith('lo')


def test_processes_of_a_job_on_one_machine_complain_once(monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setattr(console.tempfile, 'gettempdir', lambda: str(tmp_path))
    for rank in ('0', '1', '2'):
        monkeypatch.setenv('RANK', rank)
        console.complain('error: no such file')
    console.complain('error: another one')
    assert capsys.readouterr().err.splitlines() == ['error: no such file', 'error: another one']
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    console.complain('error: no such file')
    monkeypatch.delenv('RANK')
    console.complain('error: no such file')
    console.complain('error: no such file')
    assert len(capsys.readouterr().err.splitlines()) == 3, 'another start, and single processes, speak for themselves'


# --- Slurm


@pytest.mark.parametrize(
    ('nodes', 'first'),
    [
        ('localhost', 'localhost'),
        ('gpu[03-05,09],big1', 'gpu03'),
        ('big1,gpu[03-05]', 'big1'),
        ('rack[1-2]node[07,09]', 'rack1node07'),
        ('gpu[7]-ib', 'gpu7-ib'),
        ('a-b.cluster.org,c', 'a-b.cluster.org'),
    ],
)
def test_the_first_machine_of_a_list(nodes: str, first: str):
    assert first_host(nodes) == first


def test_slurms_variables_in_the_words_of_torchrun():
    task = dict(SLURM_PROCID='5', SLURM_NTASKS='8', SLURM_LOCALID='1', SLURM_NODELIST='n[1-2]', SLURM_JOB_ID='123456')
    words = as_torchrun(task)
    assert words == dict(RANK='5', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='n1', MASTER_PORT=words['MASTER_PORT'])
    assert 20_000 <= int(words['MASTER_PORT']) < 30_000
    assert as_torchrun({**task, 'SLURM_PROCID': '0'})['MASTER_PORT'] == words['MASTER_PORT']
    assert as_torchrun({**task, 'SLURM_JOB_ID': '123457'})['MASTER_PORT'] != words['MASTER_PORT']
    assert as_torchrun({**task, 'MASTER_PORT': '7'})['MASTER_PORT'] == '7'
    with pytest.raises(ConfigError, match='SLURM_PROCID'):
        as_torchrun({})


#: Does what srun does on one machine, as far as we use it, and writes down what it was asked for.
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$SRUN_CALLED"
while [[ $1 == --* ]]; do
    [[ $1 != --ntasks=* ]] || tasks=${1#*=}
    shift
done
[[ -z ${SRUN_DRY:-} ]] || exit 0
export SLURM_NTASKS=$tasks SLURM_NODELIST=localhost SLURM_JOB_ID=$$ SLURM_STEP_ID=0
for ((task = 0; task < tasks; task++)); do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
done
code=0
for job in $(jobs -p); do wait "$job" || code=$?; done
exit $code
"""


@pytest.fixture
def srun(tmp_path: Path, monkeypatch) -> Path:
    """What it was called with, a line for an argument."""
    programs = tmp_path / 'programs'
    programs.mkdir()
    (programs / 'srun').write_text(SRUN)
    (programs / 'srun').chmod(0o755)
    monkeypatch.setenv('PATH', f'{programs}:{os.environ["PATH"]}')
    monkeypatch.setenv('SRUN_CALLED', str(tmp_path / 'called'))
    return tmp_path / 'called'


def test_slurm_is_asked_for_what_mmdetections_users_set(srun: Path, tmp_path: Path, monkeypatch):
    for name, value in dict(
        GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='7', SRUN_ARGS='--qos=high --time=1', SRUN_DRY='1', CHECK='0'
    ).items():
        monkeypatch.setenv(name, value)
    result = run_tool('slurm_train.sh', 'part', 'job', 'c.py', 'work', '--amp', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    called = srun.read_text().splitlines()
    assert {
        *('--job-name=job', '--partition=part', '--ntasks=16', '--ntasks-per-node=4', '--cpus-per-task=7'),
        *('--gres=gpu:4', '--kill-on-bad-exit=1', '--qos=high', '--time=1'),
    } <= set(called)
    assert called[-8:] == [
        *(str(ROOT / 'tools/train.py'), 'c.py', '--work-dir', 'work', '--amp'),
        *('--launcher', 'slurm', '--no-data-checks'),
    ]
    result = run_tool('slurm_test.sh', 'part', 'job', 'c.py', 'a.pth', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert srun.read_text().splitlines()[-6:-3] == [str(ROOT / 'tools/test.py'), 'c.py', 'a.pth']


def test_slurm_scripts_say_how_they_are_called(tmp_path: Path):
    for script in ('slurm_train.sh', 'slurm_test.sh'):
        result = run_tool(script, 'part', 'job', 'c.py', cwd=tmp_path)
        assert result.returncode == 2
        assert result.stderr.startswith('usage: ')


@pytest.mark.slow
def test_two_tasks_of_slurm_train_on_the_cpu(srun: Path, tmp_path: Path, monkeypatch):
    task: Task = make_task(tmp_path)
    monkeypatch.setenv('GPUS', '2')
    monkeypatch.setenv('GRES', '')
    result = run_tool('slurm_train.sh', '', 'job', task.config, 'two', *task.options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not any(line.startswith(('--partition', '--gres')) for line in srun.read_text().splitlines())
    assert read_checkpoint(tmp_path / 'two/epoch_1.pth')['meta']['progress']['processes'] == 2


def test_scripts_can_be_run():
    for script in (ROOT / 'tools').glob('*_*.sh'):
        assert script.stat().st_mode & stat.S_IXUSR, script
