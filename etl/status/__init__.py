"""How every source stands: read once, for the terminal, the page and the metrics alike.

What is due comes from the configuration (`expected`), what was done from the ledger (`read`).
"""

from etl.status.document import document
from etl.status.facts import Expected, Run, SourceStatus, Status
from etl.status.reading import expected, read

__all__ = ["Expected", "Run", "SourceStatus", "Status", "document", "expected", "read"]
