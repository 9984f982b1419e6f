"""Peers are installed one by one, and one that fails keeps out no other."""

from __future__ import annotations

import subprocess

import pytest

from scripts.bench import install_peers


def test_one_that_fails_keeps_out_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def pip(command: list[str], input: str, **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(input)
        assert "--require-hashes" in command and "--no-deps" in command
        return subprocess.CompletedProcess(command, int(input.startswith("prox-tv")))

    monkeypatch.setattr(subprocess, "run", pip)
    install_peers.main()
    assert asked == install_peers.requirements() and all("--hash=sha256:" in entry for entry in asked)
    assert [entry.partition("==")[0] for entry in asked[-2:]] == ["prox-tv", "torchsort"]
    lines = capsys.readouterr().out.strip().split("\n")
    assert [line for line in lines if not line.endswith(" is installed")] == [
        "prox-tv did not install: it is compiled against LAPACK: on Debian, apt-get install liblapacke-dev "
        "libopenblas-dev"
    ]
