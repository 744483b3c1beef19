"""The three platforms, with their quirks, over real HTTP on loopback; knows nothing of the rest.

A `World` holds what the platforms know and may change while it is served; a `Simulator` serves
it; `Quirks` say how the platforms behave where documents are silent; a `Fault` goes wrong on order.
"""

from etl.simulator.credentials import Credentials
from etl.simulator.faults import Fault
from etl.simulator.graphs import Job, Task
from etl.simulator.quality import Instance
from etl.simulator.quirks import Quirks
from etl.simulator.scripts import Host, HostRow, Record, Script
from etl.simulator.server import Logged, Simulator
from etl.simulator.service import environment, serve
from etl.simulator.world import World

__all__ = [
    "Credentials",
    "Fault",
    "Host",
    "HostRow",
    "Instance",
    "Job",
    "Logged",
    "Quirks",
    "Record",
    "Script",
    "Simulator",
    "Task",
    "World",
    "environment",
    "serve",
]
