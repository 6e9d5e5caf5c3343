"""A Buildbot master listens for its workers with TLS; a worker connects, builds, and sends what it has built."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.applications import Applications, ssl_endpoint
from support.pki import PKI

pytestmark = pytest.mark.applications

#: One build when the master starts: the worker makes a file, the master fetches it.
MASTER = """
import os
from buildbot.plugins import schedulers, steps, util, worker
from buildbot.process.buildstep import BuildStep

MAKE = "open('made', 'wb').write(bytes(range(256)) * 8192)"

class Tell(BuildStep):
    def run(self):
        print("fetched", os.path.getsize("fetched"), flush=True)
        return util.SUCCESS

factory = util.BuildFactory([
    steps.ShellCommand(command=["python3", "-c", MAKE], haltOnFailure=True),
    steps.FileUpload(workersrc="made", masterdest="fetched", haltOnFailure=True),
    Tell(),
])
c = BuildmasterConfig = {
    "buildbotNetUsageData": None,
    "builders": [util.BuilderConfig(name="builder", workernames=["worker"], factory=factory)],
    "db": {"db_url": "sqlite:///state.sqlite"},
    "protocols": {"pb": {"port": os.environ["WORKER_PORT"]}},
    "schedulers": [schedulers.Periodic(name="once", builderNames=["builder"], periodicBuildTimer=1_000_000)],
    "workers": [worker.Worker("worker", "password")],
}
"""

#: What makes a service of each, for `twistd`.
MASTER_TAC = """
from buildbot.master import BuildMaster
from twisted.application.service import Application

application = Application("master")
BuildMaster(%r, "master.cfg").setServiceParent(application)
"""

WORKER_TAC = """
from buildbot_worker.bot import Worker
from twisted.application.service import Application

application = Application("worker")
worker = Worker("localhost", %d, "worker", "password", %r, keepalive=600, useTls=True)
worker.setServiceParent(application)
"""


def test_a_worker(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    buildbot, twistd = (Path(apps.python).with_name(name) for name in ("buildbot", "twistd"))
    serve = (twistd, "--nodaemon", "--pidfile=", "--python=service.tac")
    master_folder, worker_folder = tmp_path / "master", tmp_path / "worker"
    worker_folder.mkdir()
    apps.finish(buildbot, "create-master", "-q", master_folder, cwd=tmp_path)
    (master_folder / "master.cfg").write_text(MASTER)
    (master_folder / "service.tac").write_text(MASTER_TAC % str(master_folder))
    with apps.run(*serve, cwd=master_folder, WORKER_PORT=ssl_endpoint(pki)) as master:
        port = int(master.wait_for(r"\(TLS\) starting on (\d+)")[1])
        (worker_folder / "service.tac").write_text(WORKER_TAC % (port, str(worker_folder)))
        with apps.run(*serve, cwd=worker_folder) as worker:
            worker.wait_for("Connected to")
            master.wait_for(rf"fetched {256 * 8192}\b")
    assert (master_folder / "fetched").read_bytes() == bytes(range(256)) * 8192
