"""The systemd unit says what the supervisor expects of whoever runs it."""

from __future__ import annotations

import configparser
import shlex

from typer.testing import CliRunner

from proxy.cli import app
from proxy.supervisor.supervisor import CONTROL_STOP_SECONDS, STOP_MARGIN_SECONDS
from tests.deploy.conftest import DEPLOY


def test_the_unit_runs_and_stops_it_as_it_must_be() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "systemd" / "weighbridge.service")
    service = unit["Service"]
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) >= 30 + STOP_MARGIN_SECONDS + CONTROL_STOP_SECONDS
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/weighbridge")
    asked = CliRunner().invoke(app, ["serve", "--help"])
    assert asked.exit_code == 0
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in asked.output
