"""Exit status 0 if the worker of this container still polls for work; 1, with the reason, if not."""

import http.client
import os
import sys


def main() -> str | None:
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        return None  # a flow run that is alone in its container: it lives as long as its process
    host = os.environ.get("PREFECT_WORKER_WEBSERVER_HOST", "")
    port = int(os.environ.get("PREFECT_WORKER_WEBSERVER_PORT") or 8080)
    connection = http.client.HTTPConnection("127.0.0.1" if host in ("", "0.0.0.0") else host, port, timeout=8)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError as error:
        return f"no worker answers on port {port}: {error}"
    return None if status == http.HTTPStatus.OK else f"the worker has not polled for work lately (status {status})"


sys.exit(main())
