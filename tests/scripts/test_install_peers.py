"""Peers are installed one by one, and one that fails says why in a line."""

from __future__ import annotations

import subprocess

import pytest

from scripts.bench import install_peers


def test_the_line_that_says_the_most_is_the_reason() -> None:
    output = "cc -c a.c\na.c:1:1: fatal error: lapacke.h: No such file\nerror: command failed"
    assert install_peers.reason(output) == "fatal error: lapacke.h: No such file"
    assert (
        install_peers.reason("a\n      OSError: CUDA_HOME is not set.\nnote: b")
        == "OSError: CUDA_HOME is not set."
    )
    assert install_peers.reason("") == "pip failed without a word"


def test_one_that_fails_keeps_out_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def pip(command: list[str], input: str, **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(input)
        assert "--require-hashes" in command and "--no-deps" in command
        failed = input.startswith("prox-tv")
        return subprocess.CompletedProcess(command, int(failed), "", "a.c:1: fatal error: lapacke.h: missing")

    monkeypatch.setattr(subprocess, "run", pip)
    install_peers.main()
    assert asked == install_peers.requirements() and all("--hash=sha256:" in entry for entry in asked)
    assert [entry.partition("==")[0] for entry in asked[-2:]] == ["prox-tv", "torchsort"]
    lines = capsys.readouterr().out.strip().split("\n")
    assert [line for line in lines if not line.endswith("… installed")] == [
        "prox-tv … did not install: fatal error: lapacke.h: missing "
        "(it is compiled against LAPACK: on Debian, apt-get install liblapacke-dev libopenblas-dev)"
    ]
