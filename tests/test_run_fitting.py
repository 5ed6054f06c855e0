"""The command line: every subcommand is there, and mistakes end in one sentence and status 2."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

import run_fitting
from pose2d.console import progress

ROOT = Path(run_fitting.__file__).parent


@pytest.mark.parametrize("name", run_fitting.COMMANDS)
def test_every_subcommand_is_a_documented_dataclass_with_help(name, capsys):
    command = run_fitting._load(name)
    assert dataclasses.is_dataclass(command)
    assert callable(command.run)
    with pytest.raises(SystemExit) as stopped:
        run_fitting.main([*name.split(" "), "--help"])
    assert stopped.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(
        f"--{field.name.replace('_', '-')}" in said for field in dataclasses.fields(command) if field.name == "out"
    )
    assert command.__doc__.split(".")[0].split()[0] in said
    entry = run_fitting.COMMANDS[name]
    assert f"Example: run_fitting.py {name} {entry.example}" in said and "--quiet" in said and entry.kept in said


@pytest.mark.parametrize("name", run_fitting.COMMANDS)
def test_every_example_is_a_call_that_parses(name):
    words = run_fitting.COMMANDS[name].example.split(" ")
    command = tyro.cli(run_fitting._load(name), args=words)
    assert isinstance(command, run_fitting._load(name))


def test_help_names_every_subcommand_on_one_screen(capsys):
    assert run_fitting.main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name}" in said for name in run_fitting.COMMANDS)
    assert max(map(len, said.splitlines())) <= 120
    assert len(said.splitlines()) <= 36


@pytest.mark.parametrize(
    "words", [["--quiet", "networks", "--names", "x"], ["networks", "--names", "x", "--quiet"], ["networks", "-q"]]
)
def test_quiet_stands_anywhere(words, monkeypatch):
    progress.set_quiet(False)
    seen = []
    monkeypatch.setattr(
        "pose2d.commands.networks.Networks.run", lambda self: seen.append((progress.is_quiet(), self.names))
    )
    assert run_fitting.main(words) == 0
    assert seen[0][0] is True and "--quiet" not in seen[0][1]
    assert run_fitting.main(["networks"]) == 0
    assert seen[1][0] is False


COMPLETE = """
source {script}
COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}
$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/') && echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("cal", {"calibrate", "calibrate-file", "calibrate-start"}),
        ("calibrate-file a", {"apply"}),
        ("fit --weig", {"--weighting"}),
    ],
)
def test_the_shell_completes(line, offers, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/run-fitting"])
    assert run_fitting.main(["--completion", "bash"]) == 0
    script = tmp_path / "complete.sh"
    script.write_text(capsys.readouterr().out)
    code = COMPLETE.format(script=script, line=f"run-fitting {line}", program="run-fitting")
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == offers, done.stderr


def test_importing_the_command_line_is_light():
    # help must not wait for torch
    code = "import run_fitting, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["comparee"], "did you mean compare?"),
        (["calibrate-file", "aply"], "did you mean calibrate-file apply"),
        (["zzz"], "there are demo"),
        (["--completion", "fish"], "bash, zsh and tcsh"),
        (["convert-body", "none.pkl", "out/SMPL_MALE.npz"], "no such file: none.pkl"),
        (["train-pose", "--data", "none", "--out", "out", "--minutes", "-1"], "--minutes is -1.0: it must be above 0"),
        (["train-regressor", "--data", "none", "--out", "out", "--batch", "0"], "--batch is 0: it must be above 0"),
        (["report", "--run-dir", "none", "--pictures", "-1"], "--pictures must be 0 or more"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_fitting.main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_misspelt_flag_suggests_the_right_one(capsys):
    with pytest.raises(SystemExit) as stopped:
        run_fitting.main(["make-world", "--sizes", "small", "--out", "x"])
    assert stopped.value.code == 2
    assert "--size" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence(monkeypatch, capsys, tmp_path):
    import errno

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x.npz"))

    monkeypatch.setattr("fitting.commands.convert.ConvertBody.run", full)
    assert run_fitting.main(["convert-body", "a.pkl", "SMPL_MALE.npz"]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("fitting.commands.convert.ConvertBody.run", interrupt)
    assert run_fitting.main(["convert-body", "a.pkl", "SMPL_MALE.npz"]) == 130
    assert "run the same command again" in capsys.readouterr().err
